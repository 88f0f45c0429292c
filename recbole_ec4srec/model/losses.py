"""The contrastive losses (Eq. 3, 4, 8 and section 4.4.1): tensors in, a scalar out.

All are means over the batch where the paper prints sums. ``temperature`` divides the similarity; Eq. 3, L_cl+ and L_cl-
are printed without one, which is 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def similarity(a: Tensor, b: Tensor, sim: str = "dot", temperature: float = 1.0) -> Tensor:
    """``sim(a_i, b_j) / temperature`` of all rows of ``a [N, d]`` and ``b [M, d]``, ``[N, M]``.

    ``sim`` is ``dot`` (inner product) or ``cos`` (cosine).
    """
    if sim == "cos":
        a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    return a @ b.T / temperature


def pair_loss(
    first: Tensor, second: Tensor, sim: str = "dot", temperature: float = 1.0, target: Tensor | None = None
) -> Tensor:
    """Eq. 3, in both directions, averaged: L_cl and L_cl+; twice this is L_sl and L_sl+ (Eq. 8).

    ``first[u]`` and ``second[u]`` ``[B, d]`` represent two views of instance u. Each is pulled to the other and pushed
    from both views of all other instances of the batch.

    Args:
        target: ``[B]``; where it is given, instances with equal targets are not each other's negatives
            (``mask_same_target``).
    """
    views = torch.cat([first, second])
    n = len(first)
    logits = similarity(views, views, sim, temperature)  # (2B, 2B)
    left_out = torch.eye(2 * n, dtype=torch.bool, device=views.device)
    partner = torch.arange(2 * n, device=views.device).roll(n)
    if target is not None:
        alike = torch.cat([target, target])
        alike = alike.unsqueeze(0) == alike.unsqueeze(1)
        column = torch.arange(2 * n, device=views.device)
        left_out = left_out | (alike & (column.unsqueeze(0) != partner.unsqueeze(1)))
    return F.cross_entropy(logits.masked_fill(left_out, -torch.inf), partner)


def supervised_loss(
    anchor: Tensor, retrieved: Tensor, sim: str = "dot", temperature: float = 1.0, target: Tensor | None = None
) -> Tensor:
    """L_sl and L_sl+ (Eq. 8): the sum of both directions, as printed; arguments as in :func:`pair_loss`."""
    return 2 * pair_loss(anchor, retrieved, sim, temperature, target)


def negative_loss(
    negative: Tensor, positives: Tensor, valid: Tensor, sim: str = "dot", temperature: float = 1.0
) -> Tensor:
    """L_cl- (section 4.4.1): every other negative view is a positive of a negative view, all positive views are its
    negatives.

    Args:
        negative: ``[B, d]``, the negative views.
        positives: ``[P, d]``, the positive views of all instances.
        valid: ``[B]`` bool; only these negative views take part. With fewer than two the loss is 0.
    """
    attracted = similarity(negative, negative, sim, temperature)  # (B, B)
    repelled = similarity(negative, positives, sim, temperature).logsumexp(1, keepdim=True)  # (B, 1)
    others = torch.eye(len(negative), dtype=torch.bool, device=negative.device).logical_not()
    pairs = valid.unsqueeze(0) & valid.unsqueeze(1) & others
    loss = torch.logaddexp(repelled, attracted) - attracted
    count = valid.sum()
    # The mean over u' of the mean over u, for M views that take part: a sum over M (M - 1) pairs.
    return torch.where(pairs, loss, 0.0).sum() / (count * (count - 1)).clamp(min=1)
