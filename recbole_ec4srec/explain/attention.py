"""Attention: how much the last position looks at each item."""

from __future__ import annotations

from recbole.model.layers import MultiHeadAttention, TransformerEncoder
from torch import Tensor

from recbole_ec4srec.encoder.backbone import Backbone
from recbole_ec4srec.explain.base import Explainer, in_parts


class Attention(Explainer):
    """The attention weights of the last layer for the last position, averaged over the heads.

    They do not depend on what is predicted, so ``target`` and ``output`` have no effect.
    """

    @classmethod
    def refusal(cls, backbone: Backbone) -> str | None:
        """The backbone needs one stack of RecBole's attention layers."""
        encoders = [module for module in backbone.modules() if isinstance(module, TransformerEncoder)]
        if len(encoders) != 1:
            return f"which needs the one stack of RecBole's MultiHeadAttention layers that {backbone.name} has not"
        return None

    def attribute(
        self, item_seq: Tensor, item_seq_len: Tensor, next_item: Tensor | None = None, user: Tensor | None = None
    ) -> Tensor:
        """The weights ``[B, L]``, which sum to 1 where the backbone sees the items alone."""
        with self.inference():
            parts = [self._weights(*part) for part in in_parts(self.batch_size, item_seq, item_seq_len, user)]
        return self._inside(parts, item_seq_len)

    def _weights(self, item_seq: Tensor, item_seq_len: Tensor, user: Tensor | None) -> Tensor:
        backbone = self.model.backbone
        softmaxes: list[Tensor] = []  # [B, heads, L, L] each
        layer = [module for module in backbone.modules() if isinstance(module, MultiHeadAttention)][-1]
        handle = layer.softmax.register_forward_hook(lambda module, inputs, weights: softmaxes.append(weights))
        try:
            backbone(item_seq, item_seq_len, user=user)
        finally:
            handle.remove()
        last = (item_seq_len - 1).view(-1, 1, 1).expand(-1, 1, item_seq.shape[1])  # [B, 1, L]
        return backbone.at_items(softmaxes[-1].mean(1).gather(1, last).squeeze(1))
