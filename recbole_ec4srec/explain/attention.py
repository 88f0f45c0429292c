"""Attention: how much the last position looks at each item."""

from __future__ import annotations

from recbole.model.layers import MultiHeadAttention, TransformerEncoder

from recbole_ec4srec.explain.base import Explainer, in_parts


class Attention(Explainer):
    """The attention weights of the last layer for the last position, averaged over the heads.

    The same whatever is predicted, so ``target`` and ``output`` have no part in it.
    """

    @classmethod
    def refusal(cls, backbone):
        encoders = [module for module in backbone.modules() if isinstance(module, TransformerEncoder)]
        if len(encoders) != 1:
            return f"which needs the one stack of RecBole's MultiHeadAttention layers that {backbone.name} has not"
        return None

    def attribute(self, item_seq, item_seq_len, next_item=None, user=None):
        with self.inference():
            parts = [self._weights(*part) for part in in_parts(self.batch_size, item_seq, item_seq_len, user)]
        return self._inside(parts, item_seq_len)

    def _weights(self, item_seq, item_seq_len, user):
        backbone, seen = self.model.backbone, []
        layer = [module for module in backbone.modules() if isinstance(module, MultiHeadAttention)][-1]
        handle = layer.softmax.register_forward_hook(lambda module, inputs, weights: seen.append(weights))
        try:
            backbone(item_seq, item_seq_len, user=user)
        finally:
            handle.remove()
        last = (item_seq_len - 1).view(-1, 1, 1).expand(-1, 1, item_seq.shape[1])
        return backbone.at_items(seen[-1].mean(1).gather(1, last).squeeze(1))
