"""Views of sequences by crop, mask and reorder: random (section 3.2) and explanation guided (section 4.3).

Sequences are ``item_seq [B, L]`` (ids, padded on the right with 0) with ``item_seq_len [B]``. Every function gives a
new ``(item_seq, item_seq_len)`` of the same shape and never changes its input. A view keeps the order of time, keeps
at least one item of its sequence, and has no padding between items. All work is done on whole batches, on the device of
the input; random numbers come from ``generator``, which must live on that device.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

#: ``(item_seq [B, L], item_seq_len [B])``
Sequences = tuple[Tensor, Tensor]

# floor(mu * n) in the decimal sense: 0.57 * 100 is 56.99999999999999 in binary.
_ROUNDING = 1e-9


def item_count(ratio: float, item_seq_len: Tensor) -> Tensor:
    """``floor(ratio * n)`` for every length n, ``[B]``."""
    return (item_seq_len.double() * ratio + _ROUNDING).floor().long()


def _rand(item_seq: Tensor, generator: Generator | None) -> Tensor:
    return torch.rand(item_seq.shape, generator=generator, device=item_seq.device)


def _positions(item_seq: Tensor) -> Tensor:
    return torch.arange(item_seq.shape[1], device=item_seq.device).expand_as(item_seq)


def _ranks(keys: Tensor) -> Tensor:
    """The rank, from 0, of every key in its row; of equal keys the first is lower."""
    order = keys.argsort(dim=1, stable=True)
    return torch.empty_like(order).scatter_(1, order, torch.arange(keys.shape[1], device=keys.device).expand_as(order))


def _random_ranks(item_seq, item_seq_len, generator):
    keys = _rand(item_seq, generator)
    return _ranks(torch.where(_positions(item_seq) < item_seq_len.unsqueeze(1), keys, 2.0))


def importance_ranks(importance: Tensor, item_seq_len: Tensor, generator: Generator | None = None) -> Tensor:
    """The rank of every item by importance, 0 the least important, ``[B, L]``; padding ranks last.

    Of equally important items a random one ranks lower, or without ``generator`` the older one.
    """
    inside = _positions(importance) < item_seq_len.unsqueeze(1)
    keys = torch.where(inside, importance, torch.inf)
    if generator is None:
        return _ranks(keys)
    shuffled = _rand(importance, generator).argsort(dim=1)
    ranks = _ranks(keys.gather(1, shuffled))
    ranks = torch.empty_like(ranks).scatter_(1, shuffled, ranks)
    return torch.where(inside, ranks, _positions(ranks))


def keep(item_seq: Tensor, kept: Tensor) -> Sequences:
    """The items where ``kept [B, L]`` is true, closed up to the left, with their lengths."""
    order = (~kept).to(torch.uint8).argsort(dim=1, stable=True)
    lengths = kept.sum(1)
    view = item_seq.gather(1, order)
    return torch.where(_positions(item_seq) < lengths.unsqueeze(1), view, 0), lengths


def _stretch(item_seq, item_seq_len, size, generator):
    """Where a random contiguous sub-sequence of ``size [B]`` items is, ``[B, L]``."""
    free = item_seq_len - size + 1
    draw = torch.rand(len(item_seq), generator=generator, device=item_seq.device, dtype=torch.double)
    start = (draw * free).long().clamp(max=free - 1).unsqueeze(1)
    position = _positions(item_seq)
    return (position >= start) & (position < start + size.unsqueeze(1))


def crop(item_seq: Tensor, item_seq_len: Tensor, ratio: float, generator: Generator | None = None) -> Sequences:
    """A random contiguous sub-sequence of ``max(1, floor(ratio * n))`` items."""
    size = item_count(ratio, item_seq_len).clamp(min=1)
    return keep(item_seq, _stretch(item_seq, item_seq_len, size, generator))


def mask(
    item_seq: Tensor, item_seq_len: Tensor, ratio: float, mask_id: int, generator: Generator | None = None
) -> Sequences:
    """``floor(ratio * n)`` random items, but never all, become ``mask_id``."""
    count = item_count(ratio, item_seq_len).minimum(item_seq_len - 1).unsqueeze(1)
    masked = _random_ranks(item_seq, item_seq_len, generator) < count
    return torch.where(masked, mask_id, item_seq), item_seq_len.clone()


def reorder(item_seq: Tensor, item_seq_len: Tensor, ratio: float, generator: Generator | None = None) -> Sequences:
    """A random contiguous sub-sequence of ``floor(ratio * n)`` items is shuffled."""
    chosen = _stretch(item_seq, item_seq_len, item_count(ratio, item_seq_len), generator)
    return _shuffle(item_seq, chosen, generator), item_seq_len.clone()


def _shuffle(item_seq, chosen, generator):
    """The items where ``chosen`` is true change places among themselves, uniformly at random."""
    position = _positions(item_seq)
    others = item_seq.shape[1] + position
    place = torch.where(chosen, position, others).argsort(dim=1)
    source = torch.where(chosen, _rand(item_seq, generator), others.float()).argsort(dim=1)
    return torch.zeros_like(item_seq).scatter_(1, place, item_seq.gather(1, source))


def ecrop_positive(
    item_seq: Tensor, item_seq_len: Tensor, importance: Tensor, ratio: float, generator: Generator | None = None
) -> Sequences:
    """ecrop+: the sequence without its ``k = floor(ratio * n)`` least important items (at least one stays)."""
    k = item_count(ratio, item_seq_len).minimum(item_seq_len - 1).unsqueeze(1)
    rank = importance_ranks(importance, item_seq_len, generator)
    return keep(item_seq, (rank >= k) & (rank < item_seq_len.unsqueeze(1)))


def ecrop_negative(
    item_seq: Tensor, item_seq_len: Tensor, importance: Tensor, ratio: float, generator: Generator | None = None
) -> Sequences:
    """ecrop-: only the ``k = floor(ratio * n)`` least important items; the whole sequence where k = 0."""
    k = item_count(ratio, item_seq_len)
    k = torch.where(k > 0, k, item_seq_len).unsqueeze(1)
    return keep(item_seq, importance_ranks(importance, item_seq_len, generator) < k)


def emask_positive(
    item_seq: Tensor,
    item_seq_len: Tensor,
    importance: Tensor,
    ratio: float,
    mask_id: int,
    generator: Generator | None = None,
) -> Sequences:
    """emask+: the ``k = floor(ratio * n)`` least important items, but never all, become ``mask_id``."""
    k = item_count(ratio, item_seq_len).minimum(item_seq_len - 1).unsqueeze(1)
    return torch.where(
        importance_ranks(importance, item_seq_len, generator) < k, mask_id, item_seq
    ), item_seq_len.clone()


def emask_negative(
    item_seq: Tensor,
    item_seq_len: Tensor,
    importance: Tensor,
    ratio: float,
    mask_id: int,
    generator: Generator | None = None,
) -> Sequences:
    """emask-: the ``k = floor(ratio * n)`` most important items, but never all, become ``mask_id``."""
    length = item_seq_len.unsqueeze(1)
    k = item_count(ratio, item_seq_len).minimum(item_seq_len - 1).unsqueeze(1)
    rank = importance_ranks(importance, item_seq_len, generator)
    return torch.where((rank >= length - k) & (rank < length), mask_id, item_seq), item_seq_len.clone()


def ereorder_positive(
    item_seq: Tensor, item_seq_len: Tensor, importance: Tensor, ratio: float, generator: Generator | None = None
) -> Sequences:
    """erord+: the ``k = floor(ratio * n)`` least important items are shuffled among their own positions."""
    k = item_count(ratio, item_seq_len).unsqueeze(1)
    return _shuffle(
        item_seq, importance_ranks(importance, item_seq_len, generator) < k, generator
    ), item_seq_len.clone()
