"""Occlusion: what the prediction loses without an item."""

from __future__ import annotations

import numpy as np
import torch
from tqdm import tqdm

from recbole_ec4srec.data import ImportanceTable
from recbole_ec4srec.encoder.kernels.parallel import for_each
from recbole_ec4srec.explain.base import Explainer, in_parts
from recbole_ec4srec.model.collectives import add_up, of_this_rank


class Occlusion(Explainer):
    """The explained score of the sequence minus that with one item's embedding set to zero.

    The occluded position keeps its place, its position embedding and its part in the attention mask. The same as
    captum's ``Occlusion`` over the item embeddings with ``sliding_window_shapes=(1, d)`` and ``baselines=0``.
    """

    def attribute_batch(self, item_seq, item_seq_len, user, encoded, item):
        # Every position of a chunk of sequences is occluded at once, those of padding too.
        rows = max(1, self.batch_size // item_seq.shape[1])
        parts = in_parts(rows, item_seq, item_seq_len, user, item)
        return self.outcome(encoded, item).unsqueeze(1) - torch.cat([self._occluded(*part) for part in parts])

    def _occluded(self, item_seq, item_seq_len, user, item):
        """The outcome without each position, ``[R, L]``."""
        n, length = item_seq.shape
        kept = torch.eye(length, dtype=torch.bool, device=item_seq.device).logical_not()
        embedding = self.model.backbone.embed(item_seq).unsqueeze(1) * kept.unsqueeze(-1)  # (R, L occluded, L, d)
        given = (item_seq, item_seq_len, user, item)
        repeated = [None if tensor is None else tensor.repeat_interleave(length, 0) for tensor in given]
        return self.explained(embedding.flatten(0, 1), *repeated).view(n, length)

    def table(self, dataset, device, show_progress=False):
        """The importance of all instances, where the encoder is causal with the work of prefixes shared.

        An instance is a prefix of every longer one whose window starts at the same interaction, so one pass over the
        longest with an item occluded gives that item's effect on all of them.
        """
        if self.model.backbone.fast_encoder is None or dataset.history is None:
            return super().table(dataset, device, show_progress)
        lengths = dataset.item_seq_len
        next_item = dataset.inter_feat[dataset.iid_field]
        table = ImportanceTable(lengths, dataset.max_item_list_len)
        chunks = of_this_rank(list(self._chunks(lengths, dataset.window_start)))

        def explain(chunk):
            longest, rows, prefix = chunk
            item_seq = dataset.item_sequences(longest)[0][:, : int(lengths[longest[0]])]
            inside = rows >= 0
            chosen = torch.where(inside, next_item[rows], 0)
            scores = self._prefix_attributions(item_seq.to(device), chosen.to(device), prefix)
            table.set_rows(rows[inside], scores.cpu()[inside] if prefix else scores.cpu()[:, 0])

        with self.inference():
            done = for_each(explain, chunks, device)
            for _ in tqdm(done, total=len(chunks), ncols=100, desc="Explain    ", disable=not show_progress):
                pass
        add_up(table.values, device)
        return table

    def _chunks(self, lengths, window_start):
        """Sequences of one length, with the instances that are prefixes of them.

        Yields:
            ``(longest [n], rows, prefix)``: the instances with the longest windows; ``rows [n, w]`` the instances that
            are their prefixes of 1 … w items, or -1, and ``prefix`` true; or, for instances that share with no other,
            ``rows [n, 1]`` themselves and ``prefix`` false.
        """
        order = np.lexsort((lengths.numpy(), window_start.numpy()))
        start, length = window_start.numpy()[order], lengths.numpy()[order]
        first = np.flatnonzero(np.append(True, start[1:] != start[:-1]))
        end = np.append(first[1:], len(start))
        shared, width = end - first > 1, length[end - 1]
        for w in np.unique(width):
            for prefix in (True, False):
                groups = np.flatnonzero((width == w) & (shared == prefix))
                size = max(1, self.batch_size // int(w))
                for part in np.split(groups, range(size, len(groups), size)) if len(groups) else ():
                    longest = order[end[part] - 1]
                    if prefix:
                        rows = np.full((len(part), w), -1)
                        count = end[part] - first[part]
                        member = np.repeat(first[part] - np.cumsum(count) + count, count) + np.arange(count.sum())
                        rows[np.repeat(np.arange(len(part)), count), length[member] - 1] = order[member]
                    else:
                        rows = longest[:, None]
                    yield torch.from_numpy(longest), torch.from_numpy(rows), prefix

    def _prefix_attributions(self, item_seq, next_item, prefix):
        """Attributions ``[n, w, w]`` of the items (last dimension) to every prefix of ``item_seq [n, w]``; with
        ``prefix`` false ``[n, 1, w]``, to the whole alone. ``next_item`` is ``[n, w]`` or ``[n, 1]``."""
        backbone = self.model.backbone
        n, width = item_seq.shape
        prefixes = backbone.fast_encoder.PrefixPass(backbone.model, item_seq, last_only=not prefix)
        encoded = prefixes.states
        item = self.chosen_item(encoded.flatten(0, 1), next_item.flatten())

        def outcome(states, places):
            chosen = None if item is None else item.view(n, -1)[:, places].flatten()
            return self.outcome(states.flatten(0, 1), chosen).view(n, -1)

        whole = outcome(encoded, slice(None))
        scores = torch.zeros(n, whole.shape[1], width, device=item_seq.device)
        for position in reversed(range(width)):
            changed = slice(position, None) if prefix else slice(None)
            scores[:, changed, position] = whole[:, changed] - outcome(prefixes.without(position), changed)
        return scores
