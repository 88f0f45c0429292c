"""What RecBole's sequential recommenders do differently when they encode a sequence and score items.

Most need no word: ``forward`` of the sequence (and its length, and its user) gives the representation, and scores are
its products with the rows of ``item_embedding``. :class:`Adapter` is that; the others are told apart by name. Whether
it holds for a backbone is not assumed: :class:`~recbole_ec4srec.encoder.backbone.Backbone` compares its scores with
RecBole's when it is built.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor


class Adapter:
    """A recommender that scores by the products of its representation and its item embeddings."""

    #: The module with a row for every item that is scored.
    table = "item_embedding"
    #: Arguments of ``forward`` beside the sequence, its length and its user.
    arguments: ClassVar = {}

    def inputs(self, model, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """The ids ``[B, L]`` that ``forward`` is to see."""
        return item_seq

    def embedded(self, model, ids: Tensor, found: Tensor, given: Tensor) -> Tensor:
        """What :meth:`inputs` makes of the embeddings ``given [B, L, d]``; ``found`` are those of ``ids``."""
        return given

    def at_items(self, values: Tensor) -> Tensor:
        """``values [B, L]`` of the places of :meth:`inputs`, moved to the items that stand there."""
        return values

    def item_vectors(self, model, rows: Tensor) -> Tensor:
        """What a representation is multiplied with, from ``rows`` of the table, ``[…, d]``."""
        return rows

    def item_bias(self, model) -> Tensor | None:
        """What is added to the scores, ``[n_items]`` or longer."""
        return None


class BERT4Rec(Adapter):
    """A token of its own (not ``[m]``) is put after the last item, and predicted there.

    As in RecBole the sequence moves one place to the left for it, so that its first item is not seen.
    """

    def inputs(self, model, item_seq, item_seq_len):
        longer = F.pad(item_seq, (0, 1)).scatter(1, item_seq_len.unsqueeze(1), model.mask_token)
        return longer.narrow(1, 1, item_seq.shape[1])

    def embedded(self, model, ids, found, given):
        moved = F.pad(given, (0, 0, 0, 1)).narrow(1, 1, given.shape[1])
        return torch.where((ids == model.mask_token).unsqueeze(-1), found, moved)

    def at_items(self, values):
        return F.pad(values, (1, 0)).narrow(1, 0, values.shape[1])

    def item_bias(self, model):
        return model.output_bias


class CORE(Adapter):
    """Scores are cosines over a temperature; in training items are dropped out of the table too."""

    def item_vectors(self, model, rows):
        return F.normalize(model.item_dropout(rows), dim=-1) / model.temperature


class HGN(Adapter):
    """Items are scored by embeddings of their own."""

    table = "item_embedding_for_prediction"


class HRM(Adapter):
    """The sequence is moved to the right end of its places."""

    def embedded(self, model, ids, found, given):
        place = torch.arange(ids.shape[1], device=ids.device) - (ids == 0).sum(1, keepdim=True)
        moved = given.gather(1, place.clamp(min=0).unsqueeze(-1).expand_as(given))
        return torch.where((place >= 0).unsqueeze(-1), moved, found)


class NPE(Adapter):
    """Item embeddings are rectified before they are scored."""

    def item_vectors(self, model, rows):
        return model.relu(rows)


class S3Rec(Adapter):
    """Fine-tuning reads from left to right. The pre-training of its own is not part of EC4SRec."""

    arguments: ClassVar = {"bidirectional": False}


ADAPTERS = {cls.__name__: cls() for cls in (BERT4Rec, CORE, HGN, HRM, NPE, S3Rec)}

_CPR = "whose softmax mixes several representations of a sequence (softmax-CPR)"
#: Recommenders that are refused for a reason that trying them does not show.
NO_ENCODERS = {"GRU4RecCPR": _CPR, "SASRecCPR": _CPR}
