"""RecBole's own sequential recommenders as sequence encoders with a mask item."""

from __future__ import annotations

import inspect
import sys
from contextlib import contextmanager, redirect_stdout, suppress
from logging import getLogger

import numpy as np
import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.model.layers import FeedForward
from recbole.utils import get_model
from torch import Tensor, nn

from recbole_ec4srec.encoder.adapters import ADAPTERS, NO_ENCODERS, Adapter
from recbole_ec4srec.encoder.grouping import group_bounds
from recbole_ec4srec.encoder.kernels import sasrec
from recbole_ec4srec.encoder.kernels.cross_entropy import linear_cross_entropy
from recbole_ec4srec.encoder.kernels.dropout import use_fast_dropout
from recbole_ec4srec.encoder.kernels.linear import linear, use_fast_linear
from recbole_ec4srec.encoder.prefixes import all_prefixes, check_causal
from recbole_ec4srec.config.keys import SEQUENCES
from recbole_ec4srec.errors import ConfigError

#: Backbones for which cutting the padding on the right changes no number.
PADDING_FREE = (
    "SASRec",
    "GRU4Rec",
    "NARM",
    "BERT4Rec",
    "CORE",
    "S3Rec",
    "SASRecF",
    "GRU4RecF",
    "FDSA",
    "GCSAN",
    "SRGNN",
)
#: Backbones whose own modules are run in a faster order, by ``encode`` and ``PrefixPass`` of a module. Those derived
#: from them are, too, where that gives the same.
FAST_ENCODERS = {"SASRec": sasrec}
# What RecBole's models call the arguments of ``forward``.
_SEQUENCE, _LENGTH, _USER = ("item_seq", "seq_item"), ("item_seq_len", "seq_item_len"), ("user",)


def backbone_class(name: str) -> type:
    """The class for ``backbone: name``: RecBole's, or one that ``register_model`` has made known.

    Raises:
        ConfigError: it is no sequential recommender, or cannot be used as an encoder; the reason is told.
    """
    try:
        found = get_model(name)
    except (ValueError, AttributeError, ImportError):
        raise ConfigError(
            f"backbone: got {name!r}, allowed is a sequential recommender of RecBole's, or your own (register_model)"
        ) from None
    if not issubclass(found, SequentialRecommender):
        raise ConfigError(f"backbone: got {name!r}, which is no sequential recommender")
    if getattr(found, "has_backbone", False):
        raise ConfigError(f"backbone: got {name!r}, which has a backbone itself")
    if name in NO_ENCODERS:
        raise ConfigError(f"backbone: got {name!r}, {NO_ENCODERS[name]}")
    known = (*_SEQUENCE, *_LENGTH, *_USER, *ADAPTERS.get(name, Adapter()).arguments)
    parameters = _parameters(found)
    if any(parameter not in known for parameter in parameters):
        raise ConfigError(
            f"backbone: got {name!r}, whose forward({', '.join(parameters)}) is no encoder of (item_seq, item_seq_len) "
            "and perhaps the user"
        )
    return found


def _parameters(model_class):
    return list(inspect.signature(model_class.forward).parameters)[1:]


def _close(a, b, tolerance=1e-3):
    # Relative to what is there: representations can be tiny at first, STAMP's of a short embedding are.
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance / 10 * b.abs().max().item())


@contextmanager
def _far_from_initial(model):
    """``model`` with other weights in its layers for a while: at first a layer adds too little to tell two apart."""
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
    """A data set with one item id more, ``[m]``, so that RecBole's constructor makes a row for it."""

    def __init__(self, dataset):
        self._dataset = dataset

    def __getattr__(self, name):
        if name == "_dataset":  # of a copy that is being made
            raise AttributeError(name)
        return getattr(self._dataset, name)

    @property
    def item_num(self):
        return self._dataset.item_num + 1

    def num(self, field):
        return self._dataset.num(field) + (field == self._dataset.iid_field)

    def get_item_feature(self):
        """The mask item has the features of the padding: none."""
        features = self._dataset.get_item_feature()
        return Interaction({name: torch.cat([values, values[:1]]) for name, values in features.interaction.items()})


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
        self._parameters_of_forward = _parameters(backbone_class(name))
        self._adapter = ADAPTERS.get(name, Adapter())
        try:
            with redirect_stdout(sys.stderr):  # FEARec prints; stdout is for results
                self.model = backbone_class(name)(config, _WithMaskItem(dataset))
        except Exception as error:  # whatever a model of RecBole's makes of settings and data that it cannot use
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(f"backbone: got {name!r}, which RecBole cannot build here ({reason})") from error
        for table in ("item_embedding", self._adapter.table):
            table = getattr(self.model, table, None)
            if not isinstance(table, nn.Embedding) or table.num_embeddings <= self.n_items:
                raise ConfigError(f"backbone: got {name!r}, which has no item embedding with a row for every item")
        self.padding_free = name in PADDING_FREE
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
        with _far_from_initial(self.model):
            check_causal(self.name, alone, together, self.n_items, self.model.max_seq_length)
        self.model.train(training)

    @torch.no_grad()
    def _compare_with_recbole(self, dataset):
        """Refuse a backbone whose scores are not ours, and run one that its fast encoder does not encode without it."""
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
            self._runs_as = self._may_run_as(item_seq, lengths)
        except Exception as error:  # RecBole's models have no errors of their own
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(f"backbone: got {self.name!r}, which is no encoder for EC4SRec ({reason})") from error
        finally:
            model.train(training)

    def _follows_embeddings(self, encoded, item_seq, item_seq_len, user):
        """Whether ``item_embedding`` can be given, as most explanations need: its own embeddings give ``encoded``, and
        others something else."""
        embedding = self.embed(item_seq)
        try:
            own, none = (self(item_seq, item_seq_len, given, user) for given in (embedding, embedding * 0))
        except (RuntimeError, IndexError):  # it looks other things up than a sequence
            return False
        return _close(own, encoded) and not _close(none, encoded)

    def _may_run_as(self, item_seq, item_seq_len):
        """Which of :data:`FAST_ENCODERS` encodes as RecBole does, or None, with a warning where one should."""
        theirs = [kind for kind in type(self.model).__mro__ if kind.__module__.startswith("recbole.")]
        written_for = next((kind for kind in theirs if kind.__name__ in FAST_ENCODERS), None)
        if written_for is None:
            return None
        # In training a forward of its own may do what the comparison, which is in evaluation, does not see.
        if type(self.model).forward is written_for.forward:
            encode = FAST_ENCODERS[written_for.__name__].encode
            one_by_one = [(row, row + 1, width) for row, width in enumerate(item_seq_len.tolist())]
            together = [(0, len(item_seq), item_seq.shape[1])]
            with _far_from_initial(self.model), suppress(Exception):  # what has other modules fails in its own way
                expected = self(item_seq, item_seq_len)
                encoded = (encode(self.model, item_seq, item_seq_len, groups) for groups in (one_by_one, together))
                if all(_close(found, expected, tolerance=1e-4) for found in encoded):
                    return written_for.__name__
        getLogger().warning(
            f"backbone: {self.name} differs from the {written_for.__name__} that the fast encoder was written for, and "
            "is run without it"
        )
        return None

    @property
    def takes_user(self) -> bool:
        """Whether the user is encoded with the sequence."""
        return any(name in self._parameters_of_forward for name in _USER)

    @property
    def fast_encoder(self):
        """The module that runs this backbone faster, or None."""
        return FAST_ENCODERS.get(self._runs_as)

    def forward(
        self, item_seq: Tensor, item_seq_len: Tensor, item_embedding: Tensor | None = None, user: Tensor | None = None
    ) -> Tensor:
        """Encode ``item_seq [B, L]`` as it is padded.

        Args:
            item_embedding: ``[B, L, d]``; taken in the place of the embeddings of ``item_seq``, which still tells
                where the padding is.
            user: ``[B]``; what :attr:`takes_user` needs it.

        Raises:
            ValueError: the user is needed and not given.
        """
        ids = self._adapter.inputs(self.model, item_seq, item_seq_len)
        arguments = dict(self._adapter.arguments)
        for names, value in ((_SEQUENCE, ids), (_LENGTH, item_seq_len.clone()), (_USER, user)):
            arguments.update({name: value for name in names if name in self._parameters_of_forward})
        if self.takes_user and user is None:
            raise ValueError(f"{self.name} encodes the user with the sequence: user is needed")
        if item_embedding is None:
            states = self.model(**arguments)
        else:
            handle = self.model.item_embedding.register_forward_hook(
                lambda _, looked_up, found: self._adapter.embedded(self.model, looked_up[0], found, item_embedding)
            )
            try:
                states = self.model(**arguments)
            finally:
                handle.remove()
        return states if states.dim() == 2 else self.model.gather_indexes(states, item_seq_len - 1)

    def encode(
        self,
        item_seq: Tensor,
        item_seq_len: Tensor,
        host_lengths=None,
        item_embedding: Tensor | None = None,
        user: Tensor | None = None,
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
                return self(item_seq, item_seq_len, item_embedding, user)
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
            users = [None] * len(groups) if user is None else user.index_select(0, order).split(counts)
            parts = zip(item_seq.split(counts), item_seq_len.split(counts), embeddings, users, groups)
            encoded = torch.cat(
                [
                    self(seq.narrow(1, 0, width), lengths, emb if emb is None else emb.narrow(1, 0, width), of)
                    for seq, lengths, emb, of, (_, _, width) in parts
                ]
            )
        return encoded.index_select(0, order.argsort())

    def encode_prefixes(
        self, item_seq: Tensor, item_seq_len: Tensor, host_lengths: np.ndarray, user: Tensor | None = None
    ) -> Tensor:
        """The representations of all prefixes of ``item_seq [C, L]`` in one pass, sequence by sequence, ``[P, d]``.

        Args:
            host_lengths: ``item_seq_len [C]`` as a numpy array; ``P`` is its sum.
        """
        order = np.argsort(host_lengths, kind="stable")
        groups = group_bounds(host_lengths) if self.padding_free else [(0, len(order), item_seq.shape[1])]
        rows = torch.from_numpy(order).to(item_seq.device)
        item_seq, item_seq_len = item_seq.index_select(0, rows), item_seq_len.index_select(0, rows)
        user = None if user is None else user.index_select(0, rows)
        states = []
        for start, end, width in groups:
            cell = (np.arange(width) < host_lengths[order[start:end], None]).reshape(-1).nonzero()[0]
            with all_prefixes(self.model, torch.from_numpy(cell).to(item_seq.device)):
                of = None if user is None else user.narrow(0, start, end - start)
                sequences = item_seq.narrow(0, start, end - start).narrow(1, 0, width)
                states.append(self(sequences, item_seq_len.narrow(0, start, end - start), user=of))
        # From the order of lengths to that of the sequences.
        before = np.empty(len(order), dtype=np.int64)
        before[order] = np.cumsum(host_lengths[order]) - host_lengths[order]
        place = np.arange(host_lengths.sum()) + np.repeat(before - np.cumsum(host_lengths) + host_lengths, host_lengths)
        return torch.cat(states).index_select(0, torch.from_numpy(place).to(item_seq.device))

    def embed(self, items: Tensor) -> Tensor:
        """Embeddings of item ids, ``[…]`` to ``[…, d]``, as a sequence has them."""
        return self.model.item_embedding(items)

    def at_items(self, values: Tensor) -> Tensor:
        """What belongs to the places that the model sees, as what belongs to the items of the sequence, ``[B, L]``."""
        return self._adapter.at_items(values)

    def item_vectors(self, first: int = 0, count: int | None = None) -> Tensor:
        """What representations are multiplied with to score items, ``[n_items, d]`` with the padding and without
        ``[m]``; or that of the ``count`` items from ``first`` on."""
        weight = getattr(self.model, self._adapter.table).weight
        return self._adapter.item_vectors(
            self.model, weight.narrow(0, first, self.n_items - first if count is None else count)
        )

    def score_all(self, encoded: Tensor, first: int = 0, count: int | None = None) -> Tensor:
        """Scores of all items, the padding included and ``[m]`` not, ``[B, d]`` to ``[B, n_items]``; or of the
        ``count`` items from ``first`` on."""
        vectors, bias = self.item_vectors(first, count), self._adapter.item_bias(self.model)
        return linear(encoded, vectors, None if bias is None else bias.narrow(0, first, len(vectors)))

    def cross_entropy(self, encoded: Tensor, items: Tensor) -> Tensor:
        """The mean cross-entropy (Eq. 2) of :meth:`score_all` and the true next items ``[B]``, a scalar."""
        vectors, bias = self.item_vectors(), self._adapter.item_bias(self.model)
        if bias is not None:  # one dimension more, which is 1 in every representation
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
