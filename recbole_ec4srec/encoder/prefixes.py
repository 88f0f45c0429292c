"""The representations of all prefixes of a sequence in one pass, of encoders in which no item sees a later one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor

from recbole_ec4srec.errors import ConfigError

if TYPE_CHECKING:
    from recbole_ec4srec.encoder.backbone import Backbone

_TOLERANCE = 1e-4  # relative to the largest value


@contextmanager
def all_prefixes(model: SequentialRecommender, cell: Tensor | None = None) -> Iterator[None]:
    """For a while, let RecBole's ``model`` go on with the states of all prefixes of each sequence, not of the last.

    RecBole's encoders give a state for each place and choose one by ``gather_indexes(states [B, L, d], place [B])``.
    Here that gives the states at all ``B * L`` places, ``[B * L, d]``, or those at ``cell [P]`` of them, ``[P, d]``.
    """

    def gather_indexes(states: Tensor, _: Tensor) -> Tensor:
        states = states.flatten(0, 1)
        return states if cell is None else states.index_select(0, cell)

    model.gather_indexes = gather_indexes
    try:
        yield
    finally:
        del model.gather_indexes  # the method of the class is behind it


def check_causal(name: str, alone: Callable, together: Callable, n_items: int, length: int) -> None:
    """See to it that what follows a prefix does not change its representation.

    Args:
        name: of the encoder.
        alone: gives ``[N, d]`` of sequences ``[N, length]`` and their lengths ``[N]``.
        together: gives ``[P, d]`` of all prefixes of such sequences, sequence by sequence.

    Raises:
        ConfigError: it does, or the encoder has no state for each place.
    """
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([1, 1 + length // 2, length])
    item_seq = torch.randint(1, n_items, (3, length), generator=generator)
    item_seq = item_seq * (torch.arange(length) < lengths.unsqueeze(1))
    prefixes = torch.cat([row.repeat(n, 1).tril() for row, n in zip(item_seq, lengths.tolist())])
    try:
        expected = alone(prefixes, torch.cat([torch.arange(1, n + 1) for n in lengths.tolist()]))
        difference = (together(item_seq, lengths) - expected).abs().max() / expected.abs().max()
        reason = "" if difference < _TOLERANCE else "what follows a prefix changes its representation"
    except Exception as error:  # RecBole's models have no errors of their own
        reason = f"it has no state for each place ({type(error).__name__}: {error})"
    if reason:
        raise ConfigError(f"train_on: got 'sequences', allowed is prefixes with {name}: {reason}")


class PrefixPass(Protocol):
    """One pass over whole sequences for all their prefixes, and again with one item occluded.

    Attributes:
        states: ``[n, w, d]``, that of the first j + 1 items at j; ``[n, 1, d]`` of whole sequences alone.
    """

    states: Tensor

    def without(self, position: int) -> Tensor:
        """Representations of the prefixes that contain ``position``, with the embedding there set to zero, ``[n, w -
        position, d]``, or ``[n, 1, d]``. Positions have to be asked for from the last to the first."""


class EmbeddingPass:
    """A :class:`PrefixPass` for any causal encoder whose item embeddings can be given: one pass for each position.

    Args:
        encoder: the backbone.
        item_seq: ``[n, w]``, without padding.
        last_only: give the representations of whole sequences alone.
    """

    def __init__(self, encoder: Backbone, item_seq: Tensor, last_only: bool):
        self._encoder, self._item_seq, self._last_only = encoder, item_seq, last_only
        self._embedding = encoder.embed(item_seq)  # [n, w, d]
        self.states = self._encode(self._embedding, 0)

    def without(self, position: int) -> Tensor:
        """See :class:`PrefixPass`."""
        embedding = self._embedding.clone()
        embedding[:, position] = 0
        return self._encode(embedding, position)

    def _encode(self, embedding, first):
        n, width = self._item_seq.shape
        lengths = torch.full((n,), width, device=embedding.device)
        if self._last_only:
            return self._encoder(self._item_seq, lengths, embedding).unsqueeze(1)
        with all_prefixes(self._encoder.model):
            states = self._encoder(self._item_seq, lengths, embedding)
        return states.view(n, width, -1)[:, first:]
