"""How faithful an explanation is: whether the prediction depends on the items that it calls important.

The most important items are removed (their embeddings set to zero), or only they are kept. Measured is the probability
of the item that the model ranks first for the whole sequence, relative to its probability for the whole sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_ec4srec.data.augmentation import importance_ranks
from recbole_ec4srec.encoder.backbone import Backbone
from recbole_ec4srec.explain.base import Explainer, in_parts

#: The shares of the items that are removed or kept.
SHARES = tuple(step / 10 for step in range(11))
#: The shares that ERASER (DeYoung et al., ACL 2020) averages over, without those too small for short sequences.
ERASER_SHARES = (0.1, 0.2, 0.5)


@dataclass(frozen=True)
class Faithfulness:
    """The measures of one explanation, means over sequences.

    Attributes:
        deletion: ``[11]``: the relative probability without the most important items, for :data:`SHARES` of them.
        insertion: ``[11]``: that with the most important items alone.
        comprehensiveness: the mean over :data:`ERASER_SHARES` of 1 - deletion; more is more faithful.
        sufficiency: the mean over :data:`ERASER_SHARES` of 1 - insertion; less is more faithful.
    """

    deletion: Tensor
    insertion: Tensor
    comprehensiveness: float
    sufficiency: float

    @property
    def deletion_area(self) -> float:
        """The area under ``deletion`` over the share, by trapezoids; less is more faithful."""
        return torch.trapezoid(self.deletion, dx=1 / (len(SHARES) - 1)).item()

    @property
    def insertion_area(self) -> float:
        """The area under ``insertion``; more is more faithful."""
        return torch.trapezoid(self.insertion, dx=1 / (len(SHARES) - 1)).item()


def measure(
    explainer: Explainer, importance: Tensor, item_seq: Tensor, item_seq_len: Tensor, user: Tensor | None = None
) -> Faithfulness:
    """Measure ``importance [B, L]`` of the items of ``item_seq [B, L]`` to the model of ``explainer``.

    Of n items ``ceil(share * n)`` are removed or kept; equally important items are in random order.
    """
    noise = torch.rand(item_seq.shape, generator=torch.Generator().manual_seed(0)).to(item_seq.device)
    rank = item_seq_len.unsqueeze(1) - 1 - importance_ranks(importance, item_seq_len, noise)  # 0: most important
    curves = torch.zeros(2, len(SHARES))
    with explainer.inference():
        for seq, lengths, ranks, users in in_parts(1024, item_seq, item_seq_len, rank, user):
            whole = explainer.model.backbone.encode(seq, lengths, user=users)
            item = explainer.best_item(whole)
            before = explainer.log_probability(whole, item)
            for column, share in enumerate(SHARES):
                chosen = ranks < (lengths * share - 1e-6).ceil().unsqueeze(1)
                padding = ranks < 0  # which stays as it is
                for curve, kept in zip(curves, (chosen.logical_not() | padding, chosen)):
                    encoded = _encode_kept(explainer.model.backbone, kept, seq, lengths, users)
                    curve[column] += (explainer.log_probability(encoded, item) - before).exp().sum().cpu()
    deletion, insertion = curves / len(item_seq)
    at = [SHARES.index(share) for share in ERASER_SHARES]
    return Faithfulness(deletion, insertion, 1 - deletion[at].mean().item(), 1 - insertion[at].mean().item())


def _encode_kept(
    backbone: Backbone, kept: Tensor, item_seq: Tensor, item_seq_len: Tensor, user: Tensor | None
) -> Tensor:
    """Representations ``[B, d]`` of sequences in which all items but those ``kept [B, L]`` have zero embeddings."""
    embedding = backbone.embed(item_seq) * kept.unsqueeze(-1)
    return backbone.encode(item_seq, item_seq_len, item_embedding=embedding, user=user)
