"""Views of sequences by crop, mask and reorder: random (section 3.2) and explanation guided (section 4.3).

Sequences are ``item_seq [B, L]`` (ids, padded on the right with 0) with ``item_seq_len [B]``. Every function gives a
new ``(item_seq, item_seq_len)`` of the same shape and never changes its input. A view keeps the order of time, keeps
at least one item of its sequence, and has no padding between items. All work is done on whole batches, on the device of
the input, without waiting for it.

Random numbers are given, not drawn: ``noise [B, L + 1]``, uniform in [0, 1), has one for each place and in its last
column one for the sequence. So a view depends on its noise alone, whatever the device.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

#: ``(item_seq [B, L], item_seq_len [B])``
Sequences = tuple[Tensor, Tensor]

# floor(mu * n) in the decimal sense: 0.57 * 100 is 56.99999999999999 in binary.
_ROUNDING = 1e-9


class Importance(NamedTuple):
    """What guided operators are given.

    Attributes:
        scores: raw attributions, ``[B, L]``, 0 on padding.
        ranks: the rank of every item by its score, 0 the least important, ``[B, L]``; padding ranks last.
    """

    scores: Tensor
    ranks: Tensor

    @classmethod
    def of(cls, scores: Tensor, item_seq_len: Tensor, noise: Tensor | None = None) -> Importance:
        """With the ranks of :func:`importance_ranks`."""
        return cls(scores, importance_ranks(scores, item_seq_len, noise))


def importance_ranks(scores: Tensor, item_seq_len: Tensor, noise: Tensor | None = None) -> Tensor:
    """The rank of every item by its score, 0 the least important, ``[B, L]``; padding ranks last.

    Of equally important items the one of less ``noise [B, L]``, uniform in [0, 1), ranks lower, or without noise the
    older one.
    """
    place = _places(scores)
    noise = place / scores.shape[1] if noise is None else noise
    # One key: above, the bits of the score in the order of numbers; below, the noise. 0.0 makes -0 equal to 0.
    bits = (scores.float() + 0.0).view(torch.int32)
    bits = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    keys = (bits.long() << 32) + (noise * 2**32).long()
    keys = keys.masked_fill(place >= item_seq_len.unsqueeze(1), torch.iinfo(torch.long).max)
    return inverse(argsort(keys))


def item_count(ratio: float, item_seq_len: Tensor) -> Tensor:
    """``floor(ratio * n)`` for every length n, ``[B]``."""
    return (item_seq_len.double() * ratio + _ROUNDING).floor().long()


def argsort(keys: Tensor) -> Tensor:
    """The order of distinct keys in each row, ``[B, L]``; on the CPU by numpy, which sorts short rows faster."""
    if keys.device.type == "cpu":
        return torch.from_numpy(np.argsort(keys.numpy(), axis=1))
    return keys.argsort(dim=1)


def inverse(order: Tensor) -> Tensor:
    """The place of each index in permutations ``[B, L]``: ranks, of an order."""
    return torch.empty_like(order).scatter_(1, order, _places(order))


def _places(item_seq: Tensor) -> Tensor:
    return torch.arange(item_seq.shape[1], device=item_seq.device).expand_as(item_seq)


def keep(item_seq: Tensor, kept: Tensor) -> Sequences:
    """The items where ``kept [B, L]`` is true, closed up to the left, with their lengths."""
    place = kept.cumsum(1)  # from 1; what is left out goes to place 0, which is cut off
    view = item_seq.new_zeros(len(item_seq), item_seq.shape[1] + 1).scatter_(1, place * kept, item_seq)
    return view.narrow(1, 1, item_seq.shape[1]), place.select(1, -1)


def _stretch(item_seq, item_seq_len, size, noise):
    """Where a random contiguous sub-sequence of ``size [B]`` items is, ``[B, L]``."""
    free = item_seq_len - size + 1
    start = (noise.select(1, -1) * free).long().unsqueeze(1)
    place = _places(item_seq)
    return (place >= start) & (place < start + size.unsqueeze(1))


def _shuffle(item_seq, chosen, noise):
    """The items where ``chosen`` is true change places among themselves, uniformly at random."""
    place, count = _places(item_seq), chosen.cumsum(1)
    # First the chosen items in random order, then the others in their own.
    source = argsort(torch.where(chosen, noise.narrow(1, 0, item_seq.shape[1]), place + 1.0))
    number = torch.where(chosen, count - 1, count.narrow(1, item_seq.shape[1] - 1, 1) + place - count)
    return item_seq.gather(1, source.gather(1, number))


def crop(item_seq: Tensor, item_seq_len: Tensor, ratio: float, noise: Tensor) -> Sequences:
    """A random contiguous sub-sequence of ``max(1, floor(ratio * n))`` items."""
    size = item_count(ratio, item_seq_len).clamp(min=1)
    return keep(item_seq, _stretch(item_seq, item_seq_len, size, noise))


def mask(item_seq: Tensor, item_seq_len: Tensor, ratio: float, mask_id: int, noise: Tensor) -> Sequences:
    """``floor(ratio * n)`` random items, but never all, become ``mask_id``."""
    count = item_count(ratio, item_seq_len).minimum(item_seq_len - 1).unsqueeze(1)
    place = _places(item_seq)
    keys = torch.where(place < item_seq_len.unsqueeze(1), noise.narrow(1, 0, item_seq.shape[1]), place + 1.0)
    return torch.where(inverse(argsort(keys)) < count, mask_id, item_seq), item_seq_len.clone()


def reorder(item_seq: Tensor, item_seq_len: Tensor, ratio: float, noise: Tensor) -> Sequences:
    """A random contiguous sub-sequence of ``floor(ratio * n)`` items is shuffled."""
    chosen = _stretch(item_seq, item_seq_len, item_count(ratio, item_seq_len), noise)
    return _shuffle(item_seq, chosen, noise), item_seq_len.clone()


def ecrop_positive(
    item_seq: Tensor, item_seq_len: Tensor, importance: Importance, ratio: float, noise: Tensor | None = None
) -> Sequences:
    """ecrop+: the sequence without its ``k = floor(ratio * n)`` least important items (at least one stays)."""
    k = item_count(ratio, item_seq_len).minimum(item_seq_len - 1).unsqueeze(1)
    return keep(item_seq, (importance.ranks >= k) & (importance.ranks < item_seq_len.unsqueeze(1)))


def ecrop_negative(
    item_seq: Tensor, item_seq_len: Tensor, importance: Importance, ratio: float, noise: Tensor | None = None
) -> Sequences:
    """ecrop-: only the ``k = floor(ratio * n)`` least important items; the whole sequence where k = 0."""
    k = item_count(ratio, item_seq_len)
    k = torch.where(k > 0, k, item_seq_len).unsqueeze(1)
    return keep(item_seq, importance.ranks < k)


def emask_positive(
    item_seq: Tensor,
    item_seq_len: Tensor,
    importance: Importance,
    ratio: float,
    mask_id: int,
    noise: Tensor | None = None,
) -> Sequences:
    """emask+: the ``k = floor(ratio * n)`` least important items, but never all, become ``mask_id``."""
    k = item_count(ratio, item_seq_len).minimum(item_seq_len - 1).unsqueeze(1)
    return torch.where(importance.ranks < k, mask_id, item_seq), item_seq_len.clone()


def emask_negative(
    item_seq: Tensor,
    item_seq_len: Tensor,
    importance: Importance,
    ratio: float,
    mask_id: int,
    noise: Tensor | None = None,
) -> Sequences:
    """emask-: the ``k = floor(ratio * n)`` most important items, but never all, become ``mask_id``."""
    length = item_seq_len.unsqueeze(1)
    k = item_count(ratio, item_seq_len).minimum(item_seq_len - 1).unsqueeze(1)
    chosen = (importance.ranks >= length - k) & (importance.ranks < length)
    return torch.where(chosen, mask_id, item_seq), item_seq_len.clone()


def ereorder_positive(
    item_seq: Tensor, item_seq_len: Tensor, importance: Importance, ratio: float, noise: Tensor
) -> Sequences:
    """erord+: the ``k = floor(ratio * n)`` least important items are shuffled among their own positions."""
    k = item_count(ratio, item_seq_len).unsqueeze(1)
    return _shuffle(item_seq, importance.ranks < k, noise), item_seq_len.clone()


# The lengths of views, by the lengths ``[B]`` of their sequences, as the host needs them to group by length.


def same_length(item_seq_len: np.ndarray, ratio: float) -> np.ndarray:
    """Of mask, reorder, emask and erord."""
    return item_seq_len


def _count(ratio, item_seq_len):
    return np.floor(item_seq_len * ratio + _ROUNDING).astype(np.int64)


def crop_length(item_seq_len: np.ndarray, ratio: float) -> np.ndarray:
    """Of crop."""
    return np.maximum(_count(ratio, item_seq_len), 1)


def ecrop_positive_length(item_seq_len: np.ndarray, ratio: float) -> np.ndarray:
    """Of ecrop+."""
    return item_seq_len - np.minimum(_count(ratio, item_seq_len), item_seq_len - 1)


def ecrop_negative_length(item_seq_len: np.ndarray, ratio: float) -> np.ndarray:
    """Of ecrop-."""
    k = _count(ratio, item_seq_len)
    return np.where(k > 0, k, item_seq_len)
