"""Saliency: how steeply the prediction changes with an item's embedding."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_ec4srec.explain.base import Explainer


class Saliency(Explainer):
    """The sum over the dimensions of the absolute gradient of the explained score (section 4.2, before Eq. 5)."""

    def attribute_batch(
        self, item_seq: Tensor, item_seq_len: Tensor, user: Tensor | None, encoded: Tensor, item: Tensor | None
    ) -> Tensor:
        """By one backward pass: no sequence of a batch depends on another."""
        embedding = self.model.backbone.embed(item_seq)
        with self.gradients():
            embedding.requires_grad_()
            score = self.outcome_of(embedding, item_seq, item_seq_len, user, item)
            (gradient,) = torch.autograd.grad(score.sum(), embedding)
        return gradient.abs().sum(-1)
