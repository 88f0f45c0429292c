"""Attention: how much the last position looks at each item, and how much it gets from it."""

from __future__ import annotations

import torch.nn.functional as F
from recbole.model.layers import MultiHeadAttention, TransformerEncoder
from torch import Tensor, nn

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
        """The scores ``[B, L]``; weights sum to 1 where the backbone sees the items alone."""
        with self.inference():
            parts = [self._scores(*part) for part in in_parts(self.batch_size, item_seq, item_seq_len, user)]
        return self._inside(parts, item_seq_len)

    def _scores(self, item_seq: Tensor, item_seq_len: Tensor, user: Tensor | None) -> Tensor:
        backbone = self.model.backbone
        layer = [module for module in backbone.modules() if isinstance(module, MultiHeadAttention)][-1]
        seen: dict[nn.Module, Tensor] = {}  # what the parts of the layer gave last
        handles = [
            part.register_forward_hook(lambda part, inputs, output: seen.update({part: output}))
            for part in (layer.softmax, layer.value)
        ]
        try:
            backbone(item_seq, item_seq_len, user=user)
        finally:
            for handle in handles:
                handle.remove()
        weights = seen[layer.softmax]  # [B, heads, L, L]
        last = (item_seq_len - 1).view(-1, 1, 1, 1).expand(-1, weights.shape[1], 1, weights.shape[3])
        return backbone.at_items(self._of_layer(weights.gather(2, last).squeeze(2), seen[layer.value], layer))

    @staticmethod
    def _of_layer(weights: Tensor, values: Tensor, layer: MultiHeadAttention) -> Tensor:
        """The scores ``[B, L]`` from the weights ``[B, heads, L]`` of the last position and the values ``[B, L, d]`` of
        all heads, one after the other."""
        return weights.mean(1)


class AttentionNorm(Attention):
    """How much the last position gets from each item in the last layer: the norm of the values of all heads, each
    weighted by its attention, projected by the output matrix and added up ("Attention is Not Only a Weight", Kobayashi
    et al. 2020).

    The residual path, which adds the last position to itself, and the bias of the projection, which comes from no
    item, are left out.
    """

    @staticmethod
    def _of_layer(weights: Tensor, values: Tensor, layer: MultiHeadAttention) -> Tensor:
        by_head = values.unflatten(2, (weights.shape[1], -1))  # [B, L, heads, d / heads]
        weighted = weights.transpose(1, 2).unsqueeze(3) * by_head
        return F.linear(weighted.flatten(2), layer.dense.weight).norm(dim=2)
