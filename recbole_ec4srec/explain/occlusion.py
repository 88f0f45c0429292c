"""Occlusion: what the prediction loses without an item."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from tqdm import tqdm

from recbole_ec4srec.data import EC4SRecDataset, ImportanceTable
from recbole_ec4srec.encoder.kernels.parallel import for_each
from recbole_ec4srec.explain.base import Explainer, in_parts
from recbole_ec4srec.model.collectives import add_up, of_this_rank


class Occlusion(Explainer):
    """The explained score of the sequence minus that with one item's embedding set to zero.

    The occluded position keeps its position embedding and stays in the attention mask. The same as captum's
    ``Occlusion`` over the item embeddings with ``sliding_window_shapes=(1, d)`` and ``baselines=0``.
    """

    def attribute_batch(
        self, item_seq: Tensor, item_seq_len: Tensor, user: Tensor | None, encoded: Tensor, item: Tensor | None
    ) -> Tensor:
        """Every position of some sequences is occluded at once, padding included."""
        rows = max(1, self.batch_size // item_seq.shape[1])
        parts = in_parts(rows, item_seq, item_seq_len, user, item)
        return self.outcome(encoded, item).unsqueeze(1) - torch.cat([self._occluded(*part) for part in parts])

    def _occluded(self, item_seq: Tensor, item_seq_len: Tensor, user: Tensor | None, item: Tensor | None) -> Tensor:
        """The outcome without each position, ``[n, L]``."""
        n, length = item_seq.shape
        kept = torch.eye(length, dtype=torch.bool, device=item_seq.device).logical_not()
        embedding = self.model.backbone.embed(item_seq).unsqueeze(1) * kept.unsqueeze(-1)  # [n, L occluded, L, d]
        item_seq, item_seq_len = (tensor.repeat_interleave(length, 0) for tensor in (item_seq, item_seq_len))
        user, item = (None if tensor is None else tensor.repeat_interleave(length, 0) for tensor in (user, item))
        return self.outcome_of(embedding.flatten(0, 1), item_seq, item_seq_len, user, item).view(n, length)

    def table(self, dataset: EC4SRecDataset, device: torch.device, show_progress: bool = False) -> ImportanceTable:
        """The importance of all instances; where the encoder is causal, the work of prefixes is shared.

        Instances whose windows start at the same interaction are prefixes of the longest of them. One pass over the
        longest, with one item occluded, gives the effect of that item on all of them.
        """
        if not self.model.backbone.shares_prefixes or dataset.history is None:
            return super().table(dataset, device, show_progress)
        lengths = dataset.item_seq_len
        next_item = dataset.inter_feat[dataset.iid_field]
        table = ImportanceTable(lengths, dataset.max_item_list_len)
        chunks = of_this_rank(list(self._chunks(lengths, dataset.window_start)))

        def explain(chunk: tuple[Tensor, Tensor]) -> None:
            longest, prefixes = chunk
            item_seq = dataset.item_sequences(longest)[0][:, : int(lengths[longest[0]])]  # [n, w]
            is_instance = prefixes >= 0  # [n, w] or [n, 1]
            items = torch.where(is_instance, next_item[prefixes], 0)
            scores = self._prefix_attributions(item_seq.to(device), items.to(device)).cpu()
            table.set_rows(prefixes[is_instance], scores[is_instance])

        with self.inference():
            done = for_each(explain, chunks, device)
            for _ in tqdm(done, total=len(chunks), ncols=100, desc="Explain    ", disable=not show_progress):
                pass
        add_up(table.values, device)
        return table

    def _chunks(self, lengths: Tensor, window_start: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """All instances, in chunks of sequences of one length that are explained together.

        Yields:
            ``longest [n]``, of each window start the instance with the longest window, w items; and ``prefixes
            [n, w]``, the instance that is the first j + 1 items of it at j, or -1. An instance that shares its window
            start with no other needs no prefixes: then ``prefixes [n, 1]`` is ``longest`` itself.
        """
        _, window, members = window_start.unique(return_inverse=True, return_counts=True)  # [N], [windows], [windows]
        order = lengths.argsort(stable=True)
        order = order[window[order].argsort(stable=True)]  # [N]: window by window, the longest of each last
        longest = order[members.cumsum(0) - 1]  # [windows]
        width, is_shared = lengths[longest], members > 1  # [windows]

        shared = is_shared[window].nonzero().squeeze(1)  # the instances that share their window start
        row = is_shared.cumsum(0) - 1  # of a shared window in prefixes_of
        prefixes_of = torch.full((int(is_shared.sum()), int(lengths.max())), -1)  # [shared windows, L]
        prefixes_of[row[window[shared]], lengths[shared] - 1] = shared

        for w in width.unique().tolist():
            for windows in ((width == w) & is_shared, (width == w) & ~is_shared):
                for part in windows.nonzero().squeeze(1).split(max(1, self.batch_size // w)):
                    if len(part):
                        prefixes = prefixes_of[row[part], :w] if is_shared[part[0]] else longest[part].unsqueeze(1)
                        yield longest[part], prefixes

    def _prefix_attributions(self, item_seq: Tensor, next_item: Tensor) -> Tensor:
        """Attributions ``[n, w, w]`` of the items (last dimension) to every prefix of ``item_seq [n, w]``, with next
        items ``[n, w]``; or, with next items ``[n, 1]``, to the whole sequences only, ``[n, 1, w]``."""
        (n, width), last_only = item_seq.shape, next_item.shape[1] == 1
        prefixes = self.model.backbone.prefix_pass(item_seq, last_only)
        item = self.chosen_item(prefixes.states.flatten(0, 1), next_item.flatten())

        def outcome(states: Tensor, columns: slice) -> Tensor:
            chosen = None if item is None else item.view(n, -1)[:, columns].flatten()
            return self.outcome(states.flatten(0, 1), chosen).view(n, -1)

        whole = outcome(prefixes.states, slice(None))  # [n, w] or [n, 1]
        scores = torch.zeros(n, whole.shape[1], width, device=item_seq.device)
        for position in reversed(range(width)):
            changed = slice(None) if last_only else slice(position, None)  # the prefixes that contain it
            scores[:, changed, position] = whole[:, changed] - outcome(prefixes.without(position), changed)
        return scores
