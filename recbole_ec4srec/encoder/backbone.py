"""RecBole's own sequential recommenders as sequence encoders with a mask item."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from logging import getLogger
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from recbole.config import Config
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.model.layers import FeedForward
from recbole.utils import get_model
from torch import Tensor, nn

from recbole_ec4srec.config.keys import SEQUENCES
from recbole_ec4srec.encoder.adapters import ADAPTERS, NO_ENCODERS, Adapter
from recbole_ec4srec.encoder.encoder import LENGTH, SEQUENCE, USER, Encoder, parameters_of
from recbole_ec4srec.encoder.grouping import Group, first_tokens, group_bounds, split
from recbole_ec4srec.encoder.kernels import sasrec
from recbole_ec4srec.encoder.kernels.cross_entropy import linear_cross_entropy
from recbole_ec4srec.encoder.kernels.dropout import use_fast_dropout
from recbole_ec4srec.encoder.kernels.linear import use_fast_linear
from recbole_ec4srec.encoder.prefixes import EmbeddingPass, PrefixPass, all_prefixes, check_causal
from recbole_ec4srec.errors import ConfigError

#: Backbones for which cutting the padding on the right changes no number.
PADDING_FREE = (
    *("SASRec", "GRU4Rec", "NARM", "BERT4Rec", "CORE", "S3Rec"),
    *("SASRecF", "GRU4RecF", "FDSA", "GCSAN", "SRGNN"),
)
#: Modules whose ``encode`` and ``PrefixPass`` compute a backbone, and what derives from it and gives the same, faster.
FAST_ENCODERS = {"SASRec": sasrec}


def backbone_class(name: str) -> type[SequentialRecommender]:
    """The class for ``backbone: name``: RecBole's, or one that ``register_model`` has made known.

    Raises:
        ConfigError: it is no sequential recommender, or cannot be used as an encoder; the message has the reason.
    """
    try:
        kind = get_model(name)
    except (ValueError, AttributeError, ImportError):
        raise ConfigError(
            f"backbone: got {name!r}, allowed is a sequential recommender of RecBole's, or your own (register_model)"
        ) from None
    if not issubclass(kind, SequentialRecommender):
        raise ConfigError(f"backbone: got {name!r}, which is no sequential recommender")
    if getattr(kind, "has_backbone", False):
        raise ConfigError(f"backbone: got {name!r}, which has a backbone itself")
    if name in NO_ENCODERS:
        raise ConfigError(f"backbone: got {name!r}, {NO_ENCODERS[name]}")
    known = (*SEQUENCE, *LENGTH, *USER, *ADAPTERS.get(name, Adapter()).arguments)
    parameters = parameters_of(kind)
    if any(parameter not in known for parameter in parameters):
        raise ConfigError(
            f"backbone: got {name!r}, whose forward({', '.join(parameters)}) is no encoder of (item_seq, item_seq_len) "
            "and perhaps the user"
        )
    return kind


def _close(a: Tensor, b: Tensor, tolerance: float = 1e-3) -> bool:
    # Relative to the largest: representations can be tiny at first, such as STAMP's of a short embedding.
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance / 10 * b.abs().max().item())


@contextmanager
def _large_weights(model: nn.Module) -> Iterator[None]:
    """``model`` with larger weights in its layers for a while: with the initial ones a layer changes its input too
    little to show a difference."""
    tables = {id(table.weight) for table in model.modules() if isinstance(table, nn.Embedding)}
    kept = [(weight, weight.clone()) for weight in model.parameters() if id(weight) not in tables]
    generator = torch.Generator().manual_seed(0)
    try:
        for weight, _ in kept:
            weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
        yield
    finally:
        for weight, value in kept:
            weight.copy_(value)


class _WithMaskItem:
    """A data set with one more item id, ``[m]``, so that RecBole's constructor makes a row for it."""

    def __init__(self, dataset: SequentialDataset):
        self._dataset = dataset

    def __getattr__(self, name):
        if name == "_dataset":  # not set yet, of a copy that is being made
            raise AttributeError(name)
        return getattr(self._dataset, name)

    @property
    def item_num(self) -> int:
        """The number of items, padding and ``[m]`` included."""
        return self._dataset.item_num + 1

    def num(self, field: str) -> int:
        """The number of ids of a field; of the item field with ``[m]``."""
        return self._dataset.num(field) + (field == self._dataset.iid_field)

    def get_item_feature(self) -> Interaction:
        """The features of all items, a row each; ``[m]`` has those of the padding: none."""
        features = self._dataset.get_item_feature()
        return Interaction({name: torch.cat([values, values[:1]]) for name, values in features.interaction.items()})


class Backbone(Encoder):
    """An encoder with a mask item, computed with little padding, and as fast as it can be.

    The item embedding has ``n_items + 1`` rows: row 0 is the padding, row ``n_items`` the learned mask item ``[m]``,
    which is never scored.

    Args:
        config: RecBole's; ``backbone`` names the class, whose own settings are read from it.
        dataset: RecBole's.

    Raises:
        ConfigError: the backbone cannot take part.
    """

    def __init__(self, config: Config, dataset: SequentialDataset):
        name: str = config["backbone"]
        kind = backbone_class(name)
        try:
            with redirect_stdout(sys.stderr):  # FEARec prints; stdout is for results
                model = kind(config, _WithMaskItem(dataset))
        except Exception as error:  # RecBole's models raise anything for settings and data that they cannot use
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(f"backbone: got {name!r}, which RecBole cannot build here ({reason})") from error
        super().__init__(name, model, dataset.item_num)
        for name_of_table in ("item_embedding", self._adapter.table):
            table = getattr(self.model, name_of_table, None)
            if not isinstance(table, nn.Embedding) or table.num_embeddings <= self.n_items:
                raise ConfigError(f"backbone: got {name!r}, which has no item embedding with a row for every item")
        self.padding_free = name in PADDING_FREE
        self._is_causal = False  # as far as is known
        use_fast_dropout(self)
        use_fast_linear(self)
        for module in self.modules():
            if isinstance(module, FeedForward) and config["hidden_act"] == "gelu":
                module.intermediate_act_fn = F.gelu  # the same function, in one kernel
        self.to(config["device"])
        self._compare_with_recbole(dataset)
        if config["train_on"] == SEQUENCES:
            self._check_prefixes(dataset)

    @torch.no_grad()
    def _check_prefixes(self, dataset):
        """Refuse a backbone in which what follows a prefix changes its representation."""
        training, device = self.model.training, next(self.parameters()).device
        user = torch.full((self.model.max_seq_length * 3,), dataset.num(self.model.USER_ID) - 1, device=device)

        def alone(item_seq, item_seq_len):
            return self(item_seq.to(device), item_seq_len.to(device), user=user[: len(item_seq)]).cpu()

        def together(item_seq, item_seq_len):
            lengths, of = item_seq_len.numpy(), user[: len(item_seq)]
            return self.encode_prefixes(item_seq.to(device), item_seq_len.to(device), lengths, of).cpu()

        self.model.eval()
        with _large_weights(self.model):
            check_causal(self.name, alone, together, self.n_items, self.model.max_seq_length)
        self.model.train(training)
        self._is_causal = True

    @torch.no_grad()
    def _compare_with_recbole(self, dataset: SequentialDataset) -> None:
        """Refuse a backbone whose scores differ from ours, and find out how the others can be run."""
        model, training = self.model, self.model.training
        generator, length = torch.Generator().manual_seed(0), model.max_seq_length
        lengths = torch.tensor([1, 1 + length // 2, length])
        item_seq = torch.randint(1, self.n_items, (3, length), generator=generator)
        item_seq = item_seq * (torch.arange(length) < lengths.unsqueeze(1))
        user = torch.full((3,), dataset.num(model.USER_ID) - 1)
        batch = Interaction({model.ITEM_SEQ: item_seq, model.ITEM_SEQ_LEN: lengths, model.USER_ID: user})
        batch = batch.to(next(self.parameters()).device)
        item_seq, lengths, user = batch[model.ITEM_SEQ], batch[model.ITEM_SEQ_LEN], batch[model.USER_ID]
        model.eval()
        try:
            theirs = model.full_sort_predict(batch)
            encoded = self(item_seq, lengths, user=user)
            ours = self.score_all(encoded)
            if theirs.shape[1] < self.n_items or not _close(theirs.narrow(1, 0, self.n_items), ours):
                raise ValueError("its scores are not products of a representation of the sequence and vectors of items")
            self.takes_embeddings = self._follows_embeddings(encoded, item_seq, lengths, user)
            self._fast_encoder = self._find_fast_encoder(item_seq, lengths)
        except Exception as error:  # RecBole's models have no errors of their own
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(f"backbone: got {self.name!r}, which is no encoder for EC4SRec ({reason})") from error
        finally:
            model.train(training)

    def _follows_embeddings(self, encoded, item_seq, item_seq_len, user):
        """Whether ``item_embedding`` can be given, as most explainers need: with its own embeddings the result is
        ``encoded``, with others it is not."""
        embedding = self.embed(item_seq)
        try:
            own, none = (self(item_seq, item_seq_len, given, user) for given in (embedding, embedding * 0))
        except (RuntimeError, IndexError):  # it looks other things up than a sequence
            return False
        return _close(own, encoded) and not _close(none, encoded)

    def _find_fast_encoder(self, item_seq: Tensor, item_seq_len: Tensor) -> str | None:
        """The name in :data:`FAST_ENCODERS` of the one that gives RecBole's numbers, or None; there is a warning if one
        was written for this backbone and differs."""
        theirs: list = [kind for kind in type(self.model).__mro__ if kind.__module__.startswith("recbole.")]
        written_for = next((kind for kind in theirs if kind.__name__ in FAST_ENCODERS), None)
        if written_for is None:
            return None
        # In training a forward of its own may do what the comparison, which is in evaluation, does not see.
        if type(self.model).forward is written_for.forward:
            encode = FAST_ENCODERS[written_for.__name__].encode
            one_by_one = [Group(row, row + 1, width) for row, width in enumerate(item_seq_len.tolist())]
            together = [Group(0, len(item_seq), item_seq.shape[1])]
            with _large_weights(self.model), suppress(Exception):  # a model of other modules can raise anything
                expected = self(item_seq, item_seq_len)
                encoded = (encode(self.model, item_seq, item_seq_len, groups) for groups in (one_by_one, together))
                if all(_close(representations, expected, tolerance=1e-4) for representations in encoded):
                    return written_for.__name__
        getLogger().warning(
            f"backbone: {self.name} differs from the {written_for.__name__} that the fast encoder was written for, and "
            "is run without it"
        )
        return None

    @property
    def fast_encoder(self) -> ModuleType | None:
        """The module of :data:`FAST_ENCODERS` for this backbone, or None."""
        # By its name, since a model that holds a module cannot be copied.
        return None if self._fast_encoder is None else FAST_ENCODERS[self._fast_encoder]

    def encode(
        self,
        item_seq: Tensor,
        item_seq_len: Tensor,
        host_lengths: np.ndarray | None = None,
        item_embedding: Tensor | None = None,
        user: Tensor | None = None,
    ) -> Tensor:
        """The representations ``[B, d]`` of :meth:`forward`, computed with less padding where that changes nothing.

        Sequences are sorted by length and encoded in groups, each cut to its longest. Where the padding matters (not in
        :data:`PADDING_FREE`) or the lengths are unknown, all are one group of the whole width.

        Args:
            host_lengths: ``item_seq_len`` as a numpy array; without it sequences on a GPU are not cut, since asking for
                their lengths would wait for the GPU.
        """
        if host_lengths is None and item_seq_len.device.type == "cpu":
            host_lengths = item_seq_len.numpy()
        if host_lengths is None or not self.padding_free:
            whole = Group(0, len(item_seq), item_seq.shape[1])
            return self._encode_groups([whole], item_seq, item_seq_len, item_embedding, user)
        order = item_seq_len.argsort(stable=True)  # [B]
        item_seq, item_seq_len = item_seq.index_select(0, order), item_seq_len.index_select(0, order)
        item_embedding = None if item_embedding is None else item_embedding.index_select(0, order)
        user = None if user is None else user.index_select(0, order)
        encoded = self._encode_groups(group_bounds(host_lengths), item_seq, item_seq_len, item_embedding, user)
        return encoded.index_select(0, order.argsort())

    def _encode_groups(
        self,
        groups: list[Group],
        item_seq: Tensor,
        item_seq_len: Tensor,
        item_embedding: Tensor | None,
        user: Tensor | None,
    ) -> Tensor:
        """Representations ``[B, d]`` of sequences in the order of ``groups``, by the fast encoder if there is one."""
        if self.fast_encoder is not None:
            return self.fast_encoder.encode(self.model, item_seq, item_seq_len, groups, item_embedding)
        encoded = []
        for group, seq, lengths, embedding, users in split(groups, item_seq, item_seq_len, item_embedding, user):
            seq = seq.narrow(1, 0, group.width)  # [n, w]
            embedding = None if embedding is None else embedding.narrow(1, 0, group.width)  # [n, w, d]
            encoded.append(self(seq, lengths, embedding, users))
        return torch.cat(encoded)

    def encode_prefixes(
        self, item_seq: Tensor, item_seq_len: Tensor, host_lengths: np.ndarray, user: Tensor | None = None
    ) -> Tensor:
        """The representations of all prefixes of ``item_seq [C, L]`` in one pass, sequence by sequence, ``[P, d]``.

        Args:
            host_lengths: ``item_seq_len [C]`` as a numpy array; ``P`` is its sum.
        """
        groups = group_bounds(host_lengths) if self.padding_free else [Group(0, len(item_seq), item_seq.shape[1])]
        order = item_seq_len.argsort(stable=True)  # [C]
        sorted_seq, sorted_len = item_seq.index_select(0, order), item_seq_len.index_select(0, order)
        if self.fast_encoder is not None:
            states = self.fast_encoder.encode_all(self.model, sorted_seq, groups)  # [tokens, d]
        else:
            with all_prefixes(self.model):
                states = self._encode_groups(
                    groups, sorted_seq, sorted_len, None, None if user is None else user.index_select(0, order)
                )
        first = first_tokens(groups, item_seq.device).index_select(0, order.argsort())  # [C]
        count = int(host_lengths.sum())
        # Of each prefix: its sequence, and its place in it.
        number = torch.arange(len(item_seq), device=item_seq.device)
        row = torch.repeat_interleave(number, item_seq_len, output_size=count)  # [P]
        before = item_seq_len.cumsum(0) - item_seq_len  # [C]
        place = torch.arange(count, device=item_seq.device) - before.index_select(0, row)  # [P]
        return states.index_select(0, first.index_select(0, row) + place)

    @property
    def shares_prefixes(self) -> bool:
        """Whether :meth:`prefix_pass` is there: for a fast encoder, and with ``train_on: sequences`` for others whose
        item embeddings can be given."""
        return self.fast_encoder is not None or (self._is_causal and self.takes_embeddings)

    def prefix_pass(self, item_seq: Tensor, last_only: bool = False) -> PrefixPass:
        """One pass over ``item_seq [n, w]``, without padding, for all prefixes; and again with one item occluded."""
        if self.fast_encoder is not None:
            return self.fast_encoder.PrefixPass(self.model, item_seq, last_only)
        return EmbeddingPass(self, item_seq, last_only)

    def embed(self, items: Tensor) -> Tensor:
        """The embeddings ``[…, d]`` that items ``[…]`` have in a sequence."""
        return self.model.item_embedding(items)

    def at_items(self, values: Tensor) -> Tensor:
        """``values [B, L]`` of the positions that the model sees, moved to the positions of the sequence's items."""
        return self._adapter.at_items(values)

    def cross_entropy(self, encoded: Tensor, items: Tensor) -> Tensor:
        """The mean cross-entropy (Eq. 2) of :meth:`score_all` and the true next items ``[B]``, a scalar."""
        vectors, bias = self.item_vectors(), self._adapter.item_bias(self.model)
        if bias is not None:  # one more dimension, which is 1 in every representation
            vectors = torch.cat([vectors, bias.narrow(0, 0, self.n_items).unsqueeze(1)], 1)
            encoded = torch.cat([encoded, torch.ones_like(encoded.narrow(1, 0, 1))], 1)
        return linear_cross_entropy(encoded, vectors, items)

    def score(self, encoded: Tensor, items: Tensor) -> Tensor:
        """The scores of items for each row: ``[B, d]`` and ``[B]`` to ``[B]``, or ``[B, k]`` to ``[B, k]``."""
        vectors = self._adapter.item_vectors(self.model, getattr(self.model, self._adapter.table)(items))
        bias = self._adapter.item_bias(self.model)
        if items.dim() == 1:
            scores = (encoded * vectors).sum(-1)
        else:
            scores = torch.bmm(vectors, encoded.unsqueeze(2)).squeeze(2)
        return scores if bias is None else scores + bias.take(items)
