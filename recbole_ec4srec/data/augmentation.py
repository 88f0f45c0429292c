"""Views of sequences by crop, mask and reorder: random (section 3.2) and explanation guided (section 4.3).

Sequences are ``item_seq [B, L]`` (ids, padded on the right with 0) with ``item_seq_len [B]``. Every function gives an
``(item_seq, item_seq_len)`` of the same shape and never changes its input. A view keeps at least one item of its
sequence and has no padding between items; all but reorder and erord+ keep the order. All work is done on whole batches,
on the device of the input, without waiting for it.

Random numbers are given, not drawn: ``noise [B, L + 1]``, uniform in [0, 1), has one for each place and in its last
column one for the sequence. So a view depends on its noise alone, whatever the device.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from recbole_ec4srec.config.objective import ALL, CONTEXT

#: ``(item_seq [B, L], item_seq_len [B])``
Sequences = tuple[Tensor, Tensor]

_Lengths = TypeVar("_Lengths", Tensor, np.ndarray)
_Numbers = TypeVar("_Numbers", Tensor, np.ndarray)


class Importance(NamedTuple):
    """What guided operators are given.

    Attributes:
        scores: raw attributions, ``[B, L]``, 0 on padding.
        ranks: the rank of every item by its score, 0 the least important, ``[B, L]``; padding ranks last, and before it
            an item that is not ranked by its score.
        ranked: how many items are ranked by their scores, ``[B]``.
    """

    scores: Tensor
    ranks: Tensor
    ranked: Tensor

    @classmethod
    def of(cls, scores: Tensor, item_seq_len: Tensor, noise: Tensor | None = None, scope: str = ALL) -> Importance:
        """With the ranks of :func:`importance_ranks`, of all items or (``scope: context``) of all but the last."""
        ranked = ranked_count(item_seq_len, scope)
        return cls(scores, importance_ranks(scores, ranked, noise), ranked)


def ranked_count(item_seq_len: _Lengths, scope: str) -> _Lengths:
    """How many items of each sequence are ranked (``importance_scope``), ``[B]``, on the host or a device: with
    ``context`` all but the last, which is ranked where it is alone."""
    return (item_seq_len - 1).clip(min=1) if scope == CONTEXT else item_seq_len


def importance_ranks(scores: Tensor, ranked: Tensor, noise: Tensor | None = None) -> Tensor:
    """The rank of every item by its score, 0 the least important, ``[B, L]``.

    Of equally important items the one of less ``noise [B, L]``, uniform in [0, 1), ranks lower, or without noise the
    older one. Places from ``ranked [B]`` on rank after the others, in their order: padding, where that is the lengths.
    """
    place = _places(scores).double()
    noise = place / len(place) if noise is None else noise
    return ranks_of_keys(importance_keys(scores.float().double(), ranked, noise.double(), place))


def importance_keys(scores: _Numbers, ranked: _Numbers, noise: _Numbers, place: _Numbers) -> _Numbers:
    """Distinct numbers in the order of :func:`importance_ranks`, ``[B, L]``, on the host or a device.

    A double holds the noise below the digits of a score, which is a float. All but ``ranked`` are doubles; ``place
    [L]`` counts from 0.
    """
    inside = place < ranked[:, None]
    keys = scores + noise * (abs(scores) * 2**-25 + 2**-160)
    return keys * inside + place * 2.0**200 * ~inside  # a float is less than 2 ** 128


def ranks_of_keys(keys: Tensor) -> Tensor:
    """The rank of every key, 0 the least, ``[B, L]``."""
    return _inverse(argsort(keys), _places(keys))


def item_count(ratio: float, item_seq_len: _Lengths) -> _Lengths:
    """``floor(ratio * n)`` of every length n, ``[B]``, on the host or a device."""
    share = _fraction(ratio)
    return item_seq_len * share.numerator // share.denominator


@lru_cache
def _fraction(ratio):
    """The number that a ratio was written as: in binary 0.57 * 100 is 56.99999999999999."""
    return Fraction(ratio).limit_denominator(10**9)


def _but_one(ratio, of, item_seq_len):
    """:func:`item_count` of ``of [B]`` items, but fewer than ``item_seq_len [B]``, which is as many or more."""
    return item_count(ratio, of) if _fraction(ratio) < 1 else item_seq_len - 1


def argsort(keys: Tensor) -> Tensor:
    """The order of distinct keys in each row, ``[B, L]``; on the CPU by numpy, which sorts short rows faster."""
    if keys.device.type == "cpu":
        return torch.from_numpy(np.argsort(keys.numpy(), axis=1))
    return keys.argsort(dim=1)


def _inverse(order, place):
    """The place of each index in permutations ``[B, L]``: ranks, of an order."""
    return torch.empty_like(order).scatter_(1, order, place.expand_as(order))


def _places(item_seq):
    """The number of each place of a sequence, ``[L]``."""
    return torch.arange(item_seq.shape[1], device=item_seq.device)


def _close_up(item_seq, kept):
    """The items where ``kept [B, L]`` is true, closed up to the left; padding may be kept or not."""
    place = kept.cumsum(1)  # from 1; what is left out goes to place 0, which is cut off
    view = item_seq.new_zeros(len(item_seq), item_seq.shape[1] + 1).scatter_(1, place * kept, item_seq)
    return view.narrow(1, 1, item_seq.shape[1])


def keep(item_seq: Tensor, kept: Tensor) -> Sequences:
    """The items where ``kept [B, L]`` is true, which it may not be on padding, closed up to the left; their lengths."""
    return _close_up(item_seq, kept), kept.sum(1)


def _stretch(item_seq_len, size, noise):
    """Where a random contiguous sub-sequence of ``size [B]`` items begins and where it has ended, both ``[B, 1]``."""
    start = (noise.select(1, -1) * (item_seq_len - size + 1)).long()
    return start.unsqueeze(1), (start + size).unsqueeze(1)


def crop(item_seq: Tensor, item_seq_len: Tensor, ratio: float, noise: Tensor) -> Sequences:
    """A random contiguous sub-sequence of ``max(1, floor(ratio * n))`` items."""
    size, place = item_count(ratio, item_seq_len).clamp(min=1), _places(item_seq)
    start, end = _stretch(item_seq_len, size, noise)
    return _close_up(item_seq, (place >= start) & (place < end)), size


def mask(item_seq: Tensor, item_seq_len: Tensor, ratio: float, mask_id: int, noise: Tensor) -> Sequences:
    """``floor(ratio * n)`` random items, but never all, become ``mask_id``."""
    place = _places(item_seq)
    keys = torch.where(place < item_seq_len.unsqueeze(1), noise.narrow(1, 0, len(place)), place + 1.0)
    hidden = _inverse(argsort(keys), place) < _but_one(ratio, item_seq_len, item_seq_len).unsqueeze(1)
    return item_seq.masked_fill(hidden, mask_id), item_seq_len


def reorder(item_seq: Tensor, item_seq_len: Tensor, ratio: float, noise: Tensor) -> Sequences:
    """A random contiguous sub-sequence of ``floor(ratio * n)`` items is shuffled."""
    place = _places(item_seq)
    start, end = _stretch(item_seq_len, item_count(ratio, item_seq_len), noise)
    # In the sub-sequence all keys lie between its first place and the next one, in random order.
    keys = torch.where((place >= start) & (place < end), start + noise.narrow(1, 0, len(place)), place)
    return item_seq.gather(1, argsort(keys)), item_seq_len


# The guided operators. The items that they take are counted among those that are ranked. With ``importance_scope:
# context`` the last item ranks above all that are, so that what takes the least important items leaves it where it is;
# only emask- takes the most important ones, and takes it besides.


def ecrop_positive(
    item_seq: Tensor, item_seq_len: Tensor, importance: Importance, ratio: float, noise: Tensor | None = None
) -> Sequences:
    """ecrop+: the sequence without its ``k = floor(ratio * ranked)`` least important items (at least one stays)."""
    k = _but_one(ratio, importance.ranked, item_seq_len)
    return _close_up(item_seq, importance.ranks >= k.unsqueeze(1)), item_seq_len - k


def ecrop_negative(
    item_seq: Tensor, item_seq_len: Tensor, importance: Importance, ratio: float, noise: Tensor | None = None
) -> Sequences:
    """ecrop-: only the ``k = floor(ratio * ranked)`` least important items; the whole sequence where k = 0."""
    k = item_count(ratio, importance.ranked)
    k = torch.where(k > 0, k, item_seq_len)
    return _close_up(item_seq, importance.ranks < k.unsqueeze(1)), k


def emask_positive(
    item_seq: Tensor,
    item_seq_len: Tensor,
    importance: Importance,
    ratio: float,
    mask_id: int,
    noise: Tensor | None = None,
) -> Sequences:
    """emask+: the ``k = floor(ratio * ranked)`` least important items, but never all, become ``mask_id``."""
    k = _but_one(ratio, importance.ranked, item_seq_len)
    return item_seq.masked_fill(importance.ranks < k.unsqueeze(1), mask_id), item_seq_len


def emask_negative(
    item_seq: Tensor,
    item_seq_len: Tensor,
    importance: Importance,
    ratio: float,
    mask_id: int,
    noise: Tensor | None = None,
) -> Sequences:
    """emask-: the ``k = floor(ratio * ranked)`` most important items, but never all, become ``mask_id``, and with them
    an item that is not ranked."""
    first = importance.ranked - _but_one(ratio, importance.ranked, importance.ranked)
    hidden = (importance.ranks >= first.unsqueeze(1)) & (importance.ranks < item_seq_len.unsqueeze(1))
    return item_seq.masked_fill(hidden, mask_id), item_seq_len


def ereorder_positive(
    item_seq: Tensor, item_seq_len: Tensor, importance: Importance, ratio: float, noise: Tensor
) -> Sequences:
    """erord+: the ``k = floor(ratio * ranked)`` least important items are shuffled among their own positions."""
    rank, k = _places(item_seq), item_count(ratio, importance.ranked).unsqueeze(1)
    by_rank = torch.empty_like(item_seq).scatter_(1, importance.ranks, item_seq)
    source = argsort(torch.where(rank < k, noise.narrow(1, 0, len(rank)), rank))  # noise < 1 <= k, where k > 0
    return by_rank.gather(1, source).gather(1, importance.ranks), item_seq_len


# The lengths of views, by the lengths ``[B]`` of their sequences, as the host needs them to group by length; of guided
# views also by how many items are ranked, ``[B]``, which without it are all.


def same_length(item_seq_len: np.ndarray, ratio: float, ranked: np.ndarray | None = None) -> np.ndarray:
    """Of mask, reorder, emask and erord."""
    return item_seq_len


def crop_length(item_seq_len: np.ndarray, ratio: float) -> np.ndarray:
    """Of crop."""
    return np.maximum(item_count(ratio, item_seq_len), 1)


def ecrop_positive_length(item_seq_len: np.ndarray, ratio: float, ranked: np.ndarray | None = None) -> np.ndarray:
    """Of ecrop+."""
    k = item_count(ratio, item_seq_len if ranked is None else ranked)
    return item_seq_len - np.minimum(k, item_seq_len - 1)


def ecrop_negative_length(item_seq_len: np.ndarray, ratio: float, ranked: np.ndarray | None = None) -> np.ndarray:
    """Of ecrop-."""
    k = item_count(ratio, item_seq_len if ranked is None else ranked)
    return np.where(k > 0, k, item_seq_len)
