"""What all explainers have in common: what is explained, and the table of all training instances."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from recbole_ec4srec.data import EC4SRecDataset, ImportanceTable
from recbole_ec4srec.encoder.backbone import Backbone
from recbole_ec4srec.model.collectives import add_up, of_this_rank
from recbole_ec4srec.model.ec4srec import EC4SRec

# Scores of all items are computed for this many sequences and items at a time: on a CPU few enough to be reduced while
# they are in a cache, which halves the time.
_CPU_TILE, _GPU_TILE = 512, 4096
# The best item is looked for in the best block of this many items.
_BLOCK = 32


class Explainer:
    """Attributes a model's prediction to the items of the sequence.

    Args:
        model: an :class:`~recbole_ec4srec.EC4SRec`.
        target: whose score is explained: ``predicted``, the item that the model ranks first for the unperturbed
            sequence; ``next``, the true next item; ``max``, whichever item has the highest score after each
            perturbation.
        output: what is explained of it: its ``logit``, or its ``probability`` under the softmax over all items.
        batch_size: how many sequences, every perturbed copy counted, are encoded at a time; no result depends on it.
    """

    def __init__(self, model: EC4SRec, target: str = "predicted", output: str = "logit", batch_size: int = 4096):
        self.model, self.target, self.output, self.batch_size = model, target, output, batch_size

    #: How many copies of a sequence are encoded at once, for the memory.
    perturbations = 1

    @classmethod
    def refusal(cls, backbone: Backbone) -> str | None:
        """Why this explainer cannot explain a backbone, or None."""
        if backbone.takes_embeddings:
            return None
        return f"which changes the embeddings of items one by one, where {backbone.name} looks them up otherwise"

    def check(self, dataset: EC4SRecDataset) -> None:
        """Refuse a data set that cannot be explained, by a ConfigError; called before training starts."""

    def state_dict(self) -> dict:
        """What the next update depends on beside the model and the data, as tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Continue from :meth:`state_dict`."""

    def attribute(
        self, item_seq: Tensor, item_seq_len: Tensor, next_item: Tensor | None = None, user: Tensor | None = None
    ) -> Tensor:
        """Raw attributions ``[B, L]`` of the items of ``item_seq [B, L]``, 0 on padding.

        Dropout is off, no gradient is kept, and the model is left as it was found.

        Args:
            next_item: ``[B]``, the true next items; needed for ``target: next`` only.
            user: ``[B]``; needed for backbones that encode the user only.
        """
        parts, size = [], max(1, 4 * self.batch_size // (item_seq.shape[1] * self.perturbations))
        with self.inference():
            for seq, lengths, true_item, users in in_parts(size, item_seq, item_seq_len, next_item, user):
                encoded = self.model.backbone.encode(seq, lengths, user=users)
                item = self.chosen_item(encoded, true_item)
                parts.append(self.attribute_batch(seq, lengths, users, encoded, item))
        return self._inside(parts, item_seq_len)

    def attribute_batch(
        self, item_seq: Tensor, item_seq_len: Tensor, user: Tensor | None, encoded: Tensor, item: Tensor | None
    ) -> Tensor:
        """The attributions ``[B, L]`` of a part of the sequences, with any values on padding: a method of your own
        computes them here. ``encoded [B, d]`` are the representations and ``item [B]`` is from :meth:`chosen_item`."""
        raise NotImplementedError

    @staticmethod
    def _inside(parts: list[Tensor], item_seq_len: Tensor) -> Tensor:
        """The parts of ``[B, L]`` together, 0 on padding."""
        scores = torch.cat(parts)
        inside = torch.arange(scores.shape[1], device=scores.device) < item_seq_len.unsqueeze(1)
        return torch.where(inside, scores, 0.0)

    def table(self, dataset: EC4SRecDataset, device: torch.device, show_progress: bool = False) -> ImportanceTable:
        """The importance of all instances of ``dataset``; several processes divide the work, and all get the whole."""
        lengths = dataset.item_seq_len
        table = ImportanceTable(lengths, dataset.max_item_list_len)
        batches = of_this_rank(lengths.argsort(stable=True).split(max(1, self.batch_size // 8)))
        for rows in tqdm(batches, ncols=100, desc="Explain    ", disable=not show_progress):
            item_seq, *others = dataset.instances(rows)
            if self.model.backbone.padding_free:
                item_seq = item_seq[:, : int(lengths[rows[-1]])]
            scores = self.attribute(*(tensor.to(device) for tensor in (item_seq, *others)))
            table.set_rows(rows, scores.cpu())
        add_up(table.values, device)
        return table

    def chosen_item(self, encoded: Tensor, next_item: Tensor | None) -> Tensor | None:
        """The item ``[B]`` whose score is explained, from the unperturbed ``encoded [B, d]``; None for ``max``."""
        if self.target == "predicted":
            return self.best_item(encoded)
        if self.target == "next" and next_item is None:
            raise ValueError("explain_target: next needs next_item, the true next item of every sequence")
        return next_item if self.target == "next" else None

    def outcome_of(
        self, embedding: Tensor, item_seq: Tensor, item_seq_len: Tensor, user: Tensor | None, item: Tensor | None
    ) -> Tensor:
        """:meth:`outcome` of sequences whose items have the embeddings ``[B, L, d]``."""
        encoded = self.model.backbone.encode(item_seq, item_seq_len, item_embedding=embedding, user=user)
        return self.outcome(encoded, item)

    def outcome(self, encoded: Tensor, item: Tensor | None) -> Tensor:
        """What is explained, by ``target`` and ``output``, ``[B]``: the score or probability of ``item [B]``, which is
        from :meth:`chosen_item`, for representations ``[B, d]``."""
        if item is None:
            score = self._over_items(encoded, lambda scores: scores.amax(1, keepdim=True)).amax(1)
        else:
            score = self.model.backbone.score(encoded, item)
        return score if self.output == "logit" else (score - self._log_total(encoded)).exp()

    def log_probability(self, encoded: Tensor, item: Tensor) -> Tensor:
        """The logarithm of the softmax over all items, ``[B]``, at ``item [B]``."""
        return self.model.backbone.score(encoded, item) - self._log_total(encoded)

    def _log_total(self, encoded: Tensor) -> Tensor:
        return self._over_items(encoded, lambda scores: scores.logsumexp(1, keepdim=True)).logsumexp(1)

    def best_item(self, encoded: Tensor) -> Tensor:
        """The item ``[B]`` that is ranked first for representations ``[B, d]``, the first of equals.

        To find a maximum is several times as fast as to find where it is, so that is done in the best block only.
        """
        backbone = self.model.backbone

        def block_maxima(scores: Tensor) -> Tensor:
            if missing := -scores.shape[1] % _BLOCK:  # in the last tile
                scores = F.pad(scores, (0, missing), value=-torch.inf)
            return scores.unflatten(1, (-1, _BLOCK)).amax(2)

        best = []
        for rows in encoded.split(_side(encoded.device)):
            first = self._over_items(rows, block_maxima).argmax(1, keepdim=True) * _BLOCK + 1
            items = (first + torch.arange(_BLOCK, device=rows.device)).clamp(max=backbone.n_items - 1)
            best.append(items.gather(1, backbone.score(rows, items).argmax(1, keepdim=True)).squeeze(1))
        return torch.cat(best)

    def _over_items(self, encoded: Tensor, reduce: Callable[[Tensor], Tensor]) -> Tensor:
        """``reduce``, ``[b, w]`` to ``[b, k]``, of tiles of the scores of all items, ``[B, tiles * k]``."""
        backbone, side = self.model.backbone, _side(encoded.device)
        end = backbone.n_items
        return torch.cat(
            [
                torch.cat([reduce(backbone.score_all(rows, i, min(side, end - i))) for i in range(1, end, side)], 1)
                for rows in encoded.split(side)
            ]
        )

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Runs the model without dropout and gradients; the mode of every module is restored afterwards."""
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            for module, training in modes:
                module.training = training

    @contextmanager
    def gradients(self) -> Iterator[None]:
        """Gradients within :meth:`inference`; without cuDNN, which has none for recurrent layers in evaluation."""
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            yield


def _side(device: torch.device) -> int:
    return _CPU_TILE if device.type == "cpu" else _GPU_TILE


def in_parts(size: int, *tensors: Tensor | None) -> Iterator[tuple]:
    """``size`` rows at a time of all ``tensors``; any but the first may be None, and its parts are then None."""
    assert tensors[0] is not None
    count = -(-len(tensors[0]) // size)
    return zip(*([None] * count if tensor is None else tensor.split(size) for tensor in tensors))
