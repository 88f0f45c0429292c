"""RecBole's own sequential recommenders as sequence encoders with a mask item."""

from __future__ import annotations

import inspect

import torch
import torch.nn.functional as F
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.model.layers import FeedForward
from recbole.utils import get_model
from torch import Tensor, nn

from recbole_ec4srec.config import ConfigError
from recbole_ec4srec.model import sasrec
from recbole_ec4srec.model.cross_entropy import linear_cross_entropy
from recbole_ec4srec.model.dropout import use_fast_dropout
from recbole_ec4srec.model.grouping import group_bounds

#: Backbones for which cutting the padding on the right changes no number: what stands at a position depends on
#: earlier positions alone.
PADDING_FREE = ("SASRec", "GRU4Rec")
#: Backbones whose own modules are run in a faster order, by ``encode`` and ``PrefixPass`` of a module.
FAST_ENCODERS = {"SASRec": sasrec}


def backbone_class(name: str) -> type:
    """RecBole's class for ``backbone: name``.

    Raises:
        ConfigError: it is no sequential recommender of RecBole's, or cannot be used as an encoder; the reason is told.
    """
    try:
        found = get_model(name)
    except (ValueError, AttributeError, ImportError):
        raise ConfigError(f"backbone: got {name!r}, allowed is a sequential recommender of RecBole's") from None
    if not issubclass(found, SequentialRecommender) or not found.__module__.startswith("recbole.model."):
        raise ConfigError(f"backbone: got {name!r}, which is not one of RecBole's sequential recommenders")
    parameters = list(inspect.signature(found.forward).parameters)[1:]
    if parameters != ["item_seq", "item_seq_len"]:
        raise ConfigError(
            f"backbone: got {name!r}, whose forward({', '.join(parameters)}) is no encoder of (item_seq, item_seq_len)"
        )
    return found


class _WithMaskItem:
    """A data set with one item id more, ``[m]``, so that RecBole's constructor makes a row for it."""

    def __init__(self, dataset):
        self._dataset = dataset

    def __getattr__(self, name):
        return getattr(self._dataset, name)

    @property
    def item_num(self):
        return self._dataset.item_num + 1

    def num(self, field):
        return self._dataset.num(field) + (field == self._dataset.iid_field)


class Backbone(nn.Module):
    """An encoder of item sequences, ``[B, L]`` ids to ``[B, d]``, and the scores of items for what it gives.

    The item embedding has ``n_items + 1`` rows: row 0 is the padding, row ``n_items`` the learned mask item ``[m]``,
    which is never scored.

    Args:
        config: RecBole's; ``backbone`` names the class, whose own settings are read from it.
        dataset: RecBole's.

    Raises:
        ConfigError: the backbone cannot take part.
    """

    def __init__(self, config, dataset):
        super().__init__()
        self.name = name = config["backbone"]
        self.n_items = dataset.item_num
        try:
            self.model = backbone_class(name)(config, _WithMaskItem(dataset))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"backbone: got {name!r}, which RecBole cannot build here: {error}") from error
        table = getattr(self.model, "item_embedding", None)
        if not isinstance(table, nn.Embedding) or table.num_embeddings != self.n_items + 1:
            raise ConfigError(f"backbone: got {name!r}, which has no item embedding with a row for every item")
        self.padding_free = name in PADDING_FREE
        use_fast_dropout(self)
        for module in self.modules():
            if isinstance(module, FeedForward) and config["hidden_act"] == "gelu":
                module.intermediate_act_fn = F.gelu  # the same function, in one kernel

    @property
    def fast_encoder(self):
        """The module that runs this backbone faster, or None."""
        return FAST_ENCODERS.get(self.name)

    def forward(self, item_seq: Tensor, item_seq_len: Tensor, item_embedding: Tensor | None = None) -> Tensor:
        """Encode ``item_seq [B, L]`` as it is padded.

        Args:
            item_embedding: ``[B, L, d]``; taken in the place of the embeddings of ``item_seq``, which still tells
                where the padding is.
        """
        if item_embedding is None:
            return self.model(item_seq, item_seq_len)
        handle = self.model.item_embedding.register_forward_hook(lambda *_: item_embedding)
        try:
            return self.model(item_seq, item_seq_len)
        finally:
            handle.remove()

    def encode(
        self, item_seq: Tensor, item_seq_len: Tensor, host_lengths=None, item_embedding: Tensor | None = None
    ) -> Tensor:
        """Encode ``item_seq [B, L]`` in groups of similar length, each cut to its longest, where that changes nothing.

        Args:
            host_lengths: ``item_seq_len`` as a numpy array; without it sequences on a GPU are encoded as they are
                padded, since asking for their lengths would wait for the GPU.
        """
        if host_lengths is None and item_seq_len.device.type == "cpu":
            host_lengths = item_seq_len.numpy()
        if host_lengths is None or not self.padding_free:
            if self.fast_encoder is None:
                return self(item_seq, item_seq_len, item_embedding)
            everything = [(0, len(item_seq), item_seq.shape[1])]
            return self.fast_encoder.encode(self.model, item_seq, item_seq_len, everything, item_embedding)
        order = item_seq_len.argsort(stable=True)
        item_seq, item_seq_len = item_seq.index_select(0, order), item_seq_len.index_select(0, order)
        if item_embedding is not None:
            item_embedding = item_embedding.index_select(0, order)
        groups = group_bounds(host_lengths)
        if self.fast_encoder is not None:
            encoded = self.fast_encoder.encode(self.model, item_seq, item_seq_len, groups, item_embedding)
        else:
            counts = [end - start for start, end, _ in groups]
            embeddings = [None] * len(groups) if item_embedding is None else item_embedding.split(counts)
            parts = zip(item_seq.split(counts), item_seq_len.split(counts), embeddings, groups)
            encoded = torch.cat(
                [
                    self(seq.narrow(1, 0, width), lengths, emb if emb is None else emb.narrow(1, 0, width))
                    for seq, lengths, emb, (_, _, width) in parts
                ]
            )
        return encoded.index_select(0, order.argsort())

    def embed(self, items: Tensor) -> Tensor:
        """Embeddings of item ids, ``[…]`` to ``[…, d]``."""
        return self.model.item_embedding(items)

    def score_all(self, encoded: Tensor, first: int = 0, count: int | None = None) -> Tensor:
        """Scores of all items, the padding included and ``[m]`` not, ``[B, d]`` to ``[B, n_items]``; or of the
        ``count`` items from ``first`` on."""
        count = self.n_items - first if count is None else count
        return encoded @ self.model.item_embedding.weight.narrow(0, first, count).T

    def cross_entropy(self, encoded: Tensor, items: Tensor) -> Tensor:
        """The mean cross-entropy (Eq. 2) of :meth:`score_all` and the true next items ``[B]``, a scalar."""
        return linear_cross_entropy(encoded, self.model.item_embedding.weight.narrow(0, 0, self.n_items), items)

    def score(self, encoded: Tensor, items: Tensor) -> Tensor:
        """The score of one item for each row: ``[B, d]`` and ``[B]`` to ``[B]``."""
        return (encoded * self.embed(items)).sum(-1)
