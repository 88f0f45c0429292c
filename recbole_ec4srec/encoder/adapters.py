"""What RecBole's sequential recommenders do differently when they encode a sequence and score items.

For most, ``forward`` of the sequence (and its length, and its user) gives the representation, and scores are its
products with the rows of ``item_embedding``: :class:`Adapter`. The others have an adapter of their name. That it is
right is not assumed: :class:`~recbole_ec4srec.encoder.backbone.Backbone` compares its scores with RecBole's when it is
built.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor


class Adapter:
    """A recommender that scores by the products of its representation and its item embeddings."""

    #: The module with a row for every item that is scored.
    table = "item_embedding"
    #: Arguments of ``forward`` beside the sequence, its length and its user.
    arguments: ClassVar[dict[str, bool]] = {}

    def inputs(self, model: SequentialRecommender, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """The ids ``[B, L]`` that ``forward`` is given for ``item_seq [B, L]``."""
        return item_seq

    def embedded(self, model: SequentialRecommender, ids: Tensor, own: Tensor, given: Tensor) -> Tensor:
        """The embeddings ``[B, L, d]`` that ``forward`` is to see: ``given``, of the items of the sequence, at the
        positions where :meth:`inputs` has them, and elsewhere ``own``, the model's own embeddings of ``ids``."""
        return given

    def at_items(self, values: Tensor) -> Tensor:
        """``values [B, L]`` of the positions of :meth:`inputs`, moved to where their items are in the sequence."""
        return values

    def item_vectors(self, model: SequentialRecommender, rows: Tensor) -> Tensor:
        """What a representation is multiplied with, from ``rows`` of the table, ``[…, d]``."""
        return rows

    def item_bias(self, model: SequentialRecommender) -> Tensor | None:
        """What is added to the scores, ``[n_items]`` or longer."""
        return None


class BERT4Rec(Adapter):
    """A token of its own (not ``[m]``) is put after the last item, and predicted there.

    As in RecBole the sequence moves one position to the left for it, so that its first item is not seen.
    """

    def inputs(self, model: SequentialRecommender, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Without the first item, with the token after the last."""
        longer = F.pad(item_seq, (0, 1)).scatter(1, item_seq_len.unsqueeze(1), model.mask_token)  # [B, L + 1]
        return longer.narrow(1, 1, item_seq.shape[1])

    def embedded(self, model: SequentialRecommender, ids: Tensor, own: Tensor, given: Tensor) -> Tensor:
        """One position to the left, with the model's own for the token."""
        moved = F.pad(given, (0, 0, 0, 1)).narrow(1, 1, given.shape[1])
        return torch.where((ids == model.mask_token).unsqueeze(-1), own, moved)

    def at_items(self, values: Tensor) -> Tensor:
        """One position to the right; 0 for the first item."""
        return F.pad(values, (1, 0)).narrow(1, 0, values.shape[1])

    def item_bias(self, model: SequentialRecommender) -> Tensor:
        """A learned bias for each item."""
        return model.output_bias


class CORE(Adapter):
    """Scores are cosines over a temperature; in training items are dropped out of the table too."""

    def item_vectors(self, model: SequentialRecommender, rows: Tensor) -> Tensor:
        """Normalised, after dropout, over the temperature."""
        return F.normalize(model.item_dropout(rows), dim=-1) / model.temperature


class HGN(Adapter):
    """Items are scored by embeddings of their own."""

    table = "item_embedding_for_prediction"


class HRM(Adapter):
    """The sequence is moved to the right, so that its last item is at the last position."""

    def embedded(self, model: SequentialRecommender, ids: Tensor, own: Tensor, given: Tensor) -> Tensor:
        """As far to the right as the model moves the ids."""
        position = torch.arange(ids.shape[1], device=ids.device) - (ids == 0).sum(1, keepdim=True)  # [B, L]
        moved = given.gather(1, position.clamp(min=0).unsqueeze(-1).expand_as(given))
        return torch.where((position >= 0).unsqueeze(-1), moved, own)


class NPE(Adapter):
    """Item embeddings are rectified before they are scored."""

    def item_vectors(self, model: SequentialRecommender, rows: Tensor) -> Tensor:
        """Rectified."""
        return model.relu(rows)


class S3Rec(Adapter):
    """Fine-tuning reads from left to right. The pre-training of its own is not part of EC4SRec."""

    arguments: ClassVar[dict[str, bool]] = {"bidirectional": False}


ADAPTERS = {cls.__name__: cls() for cls in (BERT4Rec, CORE, HGN, HRM, NPE, S3Rec)}

_CPR = "whose softmax mixes several representations of a sequence (softmax-CPR)"
#: Recommenders that are refused, and why; the comparison of scores would not show it.
NO_ENCODERS = {"GRU4RecCPR": _CPR, "SASRecCPR": _CPR}
