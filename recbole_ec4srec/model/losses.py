"""The contrastive losses (Eq. 3, 4, 8 and section 4.4.1): tensors in, a scalar out.

All are means over the batch where the paper prints sums. ``temperature`` divides the similarity; Eq. 3, L_cl+ and L_cl-
are printed without one, which is 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_ec4srec.config.objective import IGNORED


def similarity(a: Tensor, b: Tensor, sim: str = "dot", temperature: float = 1.0) -> Tensor:
    """``sim(a_i, b_j) / temperature`` of all rows of ``a [N, d]`` and ``b [M, d]``, ``[N, M]``.

    ``sim`` is ``dot`` (inner product) or ``cos`` (cosine).
    """
    if sim == "cos":
        a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    return a @ b.T / temperature


def pair_loss(
    first: Tensor,
    second: Tensor,
    sim: str = "dot",
    temperature: float = 1.0,
    target: Tensor | None = None,
    same_target: str = IGNORED,
    further: Tensor | None = None,
) -> Tensor:
    """Eq. 3, in both directions, averaged: L_cl and L_cl+; twice this is L_sl and L_sl+ (Eq. 8).

    ``first[u]`` and ``second[u]`` ``[B, d]`` represent two views of instance u. Each is pulled to the other and pushed
    from both views of all other instances of the batch.

    With ``same_target: positive`` a view is pulled to both views of every instance with its target as well: the loss is
    the mean, over these positives, of the negative logarithm of each one's share among all other views (L_out of
    "Supervised Contrastive Learning", Khosla et al. 2020). Without another instance of that target it is Eq. 3. All
    positives have the same share, in L_sl+ too: ertrl+'s utilities are known on the host, for the candidates that it
    samples and of one process only, and they decide already whose sequence ``second`` has.

    Args:
        target: ``[B]``; where it is given, instances with equal targets are not each other's negatives.
        same_target: what they are: ``ignored`` or ``positive``.
        further: ``[2B, M]``, the similarities of the first and then the second views to further negatives, divided by
            their temperature; minus infinity for one that takes no part.
    """
    views = torch.cat([first, second])
    n = len(first)
    logits = similarity(views, views, sim, temperature)  # (2B, 2B)
    itself = torch.eye(2 * n, dtype=torch.bool, device=views.device)
    partner = torch.arange(2 * n, device=views.device).roll(n)
    left_out, positives = itself, None
    if target is not None:
        alike = torch.cat([target, target])
        alike = alike.unsqueeze(0) == alike.unsqueeze(1)
        if same_target == IGNORED:
            column = torch.arange(2 * n, device=views.device)
            left_out = itself | (alike & (column.unsqueeze(0) != partner.unsqueeze(1)))
        else:
            positives = alike & itself.logical_not()
    logits = logits.masked_fill(left_out, -torch.inf)
    logits = logits if further is None else torch.cat([logits, further], 1)  # (2B, 2B + M)
    if positives is None:
        return F.cross_entropy(logits, partner)
    share = logits.log_softmax(1).narrow(1, 0, 2 * n)
    return -(torch.where(positives, share, 0.0).sum(1) / positives.sum(1)).mean()


def supervised_loss(
    anchor: Tensor,
    retrieved: Tensor,
    sim: str = "dot",
    temperature: float = 1.0,
    target: Tensor | None = None,
    same_target: str = IGNORED,
) -> Tensor:
    """L_sl and L_sl+ (Eq. 8): the sum of both directions, as printed; arguments as in :func:`pair_loss`."""
    return 2 * pair_loss(anchor, retrieved, sim, temperature, target, same_target)


def hard_pair_loss(
    first: Tensor,
    second: Tensor,
    negative: Tensor,
    valid: Tensor,
    sim: str = "dot",
    temperature: float = 1.0,
    temperature_negative: float = 1.0,
    target: Tensor | None = None,
    same_target: str = IGNORED,
) -> Tensor:
    """L_cl+ with the guided negative views of all instances, their own among them, as further negatives
    (``guided_negatives: hard``).

    Args:
        negative: ``[B, d]``, the negative views.
        valid: ``[B]`` bool; only these negative views take part. Without any the loss is :func:`pair_loss`.
        temperature_negative: divides the similarities to negative views (``tau_neg``).
    """
    further = similarity(torch.cat([first, second]), negative, sim, temperature_negative)  # (2B, B)
    further = further.masked_fill(valid.logical_not(), -torch.inf)
    return pair_loss(first, second, sim, temperature, target, same_target, further)


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
