"""What all explainers share: what is explained, and the table of all training instances."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager

import torch
from torch import Tensor
from tqdm import tqdm

from recbole_ec4srec.data import ImportanceTable

# Bounds the memory where an outcome needs the scores of all items; small enough to stay in a cache.
_SCORES_AT_A_TIME = 1 << 19


class Explainer(ABC):
    """Attributes a model's prediction to the items of the sequence.

    Args:
        model: an :class:`~recbole_ec4srec.EC4SRec`.
        target: whose score is explained: ``predicted``, the item that the model ranks first for the unperturbed
            sequence; ``next``, the true next item; ``max``, whichever item has the highest score after each
            perturbation.
        output: what is explained of it: its ``logit``, or its ``probability`` under the softmax over all items.
        batch_size: how many sequences, perturbed ones counted singly, are encoded at a time; the result does not
            depend on it.
    """

    def __init__(self, model, target: str = "predicted", output: str = "logit", batch_size: int = 4096):
        self.model, self.target, self.output, self.batch_size = model, target, output, batch_size

    @abstractmethod
    def attribute(self, item_seq: Tensor, item_seq_len: Tensor, next_item: Tensor | None = None) -> Tensor:
        """Raw attributions ``[B, L]`` of the items of ``item_seq [B, L]``, 0 on padding.

        Dropout is off, no gradient is kept, and the model is left as it was found.

        Args:
            next_item: ``[B]``, the true next items; needed for ``target: next`` only.
        """

    def table(self, dataset, device, show_progress: bool = False) -> ImportanceTable:
        """The importance of all instances of ``dataset``."""
        lengths = dataset.item_seq_len
        table = ImportanceTable(lengths, dataset.max_item_list_len)
        batches = lengths.argsort(stable=True).split(max(1, self.batch_size // 8))
        for rows in tqdm(batches, ncols=100, desc="Explain    ") if show_progress else batches:
            item_seq, item_seq_len = dataset.item_sequences(rows)
            item_seq = item_seq[:, : int(item_seq_len[-1])]
            next_item = dataset.inter_feat[dataset.iid_field][rows]
            scores = self.attribute(item_seq.to(device), item_seq_len.to(device), next_item.to(device))
            table.set_rows(rows, scores.cpu())
        return table

    def chosen_item(self, encoded: Tensor, next_item: Tensor | None) -> Tensor | None:
        """The item ``[B]`` whose score is explained, from the unperturbed ``encoded [B, d]``; None for ``max``."""
        if self.target == "predicted":
            return self._over_all_items(encoded, lambda scores, _: _argmax(scores) + 1)
        if self.target == "next" and next_item is None:
            raise ValueError("explain_target: next needs next_item, the true next item of every sequence")
        return next_item if self.target == "next" else None

    def outcome(self, encoded: Tensor, item: Tensor | None) -> Tensor:
        """The explained quantity ``[B]`` for representations ``[B, d]`` and the items that :meth:`chosen_item` gave."""
        if self.output == "logit" and item is not None:
            return self.model.backbone.score(encoded, item)

        def explained(scores, rows):
            scores = scores.softmax(1) if self.output == "probability" else scores
            return scores.amax(1) if item is None else scores.gather(1, rows.unsqueeze(1) - 1).squeeze(1)

        return self._over_all_items(encoded, explained, item)

    def _over_all_items(self, encoded, reduce, item=None):
        """``reduce(scores [b, n_items - 1], item [b])`` for chunks of rows that bound the memory of the scores."""
        backbone = self.model.backbone
        size = max(1, _SCORES_AT_A_TIME // backbone.n_items)
        chunks = encoded.split(size)
        items = [None] * len(chunks) if item is None else item.split(size)
        real = backbone.n_items - 1  # without the padding
        return torch.cat([reduce(backbone.score_all(h).narrow(1, 1, real), v) for h, v in zip(chunks, items)])

    @contextmanager
    def inference(self):
        """The model without dropout and gradients; the mode of every module comes back afterwards."""
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            for module, training in modes:
                module.training = training


def _argmax(scores: Tensor, block: int = 64) -> Tensor:
    """``scores.argmax(1)``, first of equals, for long rows: finding a maximum is several times as fast as its place."""
    width = scores.shape[1] - scores.shape[1] % block
    blocks, rest = scores.split([width, scores.shape[1] - width], 1)
    if width == 0 or rest.shape[1] == 0:
        return scores.argmax(1)
    best = blocks.unflatten(1, (-1, block)).amax(2).argmax(1, keepdim=True) * block
    best = best + blocks.gather(1, best + torch.arange(block, device=scores.device)).argmax(1, keepdim=True)
    last = rest.argmax(1, keepdim=True)
    return torch.where(rest.gather(1, last) > blocks.gather(1, best), last + width, best).squeeze(1)
