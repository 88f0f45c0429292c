"""Saliency: how steeply the prediction changes with an item's embedding."""

from __future__ import annotations

import torch

from recbole_ec4srec.explain.base import Explainer


class Saliency(Explainer):
    """The sum over the dimensions of the absolute gradient of the explained score (section 4.2, before Eq. 5).

    One backward pass serves all sequences of a batch, since none depends on another.
    """

    def attribute_batch(self, item_seq, item_seq_len, user, encoded, item):
        embedding = self.model.backbone.embed(item_seq)
        with self.gradients():
            embedding.requires_grad_()
            score = self.explained(embedding, item_seq, item_seq_len, user, item)
            (gradient,) = torch.autograd.grad(score.sum(), embedding)
        return gradient.abs().sum(-1)
