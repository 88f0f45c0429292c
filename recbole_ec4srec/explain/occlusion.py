"""Occlusion: what the prediction loses without an item."""

from __future__ import annotations

import torch

from recbole_ec4srec.explain.base import Explainer


class Occlusion(Explainer):
    """The explained score of the sequence minus that with one item's embedding set to zero.

    The occluded position keeps its place, its position embedding and its part in the attention mask. The same as
    captum's ``Occlusion`` over the item embeddings with ``sliding_window_shapes=(1, d)`` and ``baselines=0``.
    """

    def attribute(self, item_seq, item_seq_len, next_item=None):
        backbone = self.model.backbone
        length = item_seq.shape[1]
        with self.inference():
            encoded = backbone.encode(item_seq, item_seq_len)
            item = self.chosen_item(encoded, next_item)
            whole = self.outcome(encoded, item)
            scores = torch.zeros(item_seq.shape, device=item_seq.device, dtype=whole.dtype)
            # Every position of a chunk of sequences is occluded at once; positions of padding come out as 0 below.
            rows = max(1, self.batch_size // length)
            for start in range(0, len(item_seq), rows):
                part = slice(start, start + rows)
                scores[part] = whole[part].unsqueeze(1) - self._occluded(
                    item_seq[part], item_seq_len[part], None if item is None else item[part]
                )
        inside = torch.arange(length, device=item_seq.device) < item_seq_len.unsqueeze(1)
        return torch.where(inside, scores, 0.0)

    def _occluded(self, item_seq, item_seq_len, item):
        """The outcome without each position, ``[R, L]``."""
        backbone = self.model.backbone
        n, length = item_seq.shape
        kept = ~torch.eye(length, dtype=torch.bool, device=item_seq.device)
        embedding = backbone.embed(item_seq).unsqueeze(1) * kept.unsqueeze(-1)  # (R, L occluded, L, d)
        encoded = backbone.encode(
            item_seq.repeat_interleave(length, 0),
            item_seq_len.repeat_interleave(length, 0),
            item_embedding=embedding.flatten(0, 1),
        )
        if item is not None:
            item = item.repeat_interleave(length, 0)
        return self.outcome(encoded, item).view(n, length)
