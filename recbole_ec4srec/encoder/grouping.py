"""Encoding sequences in groups of similar length, so that little of the work is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

#: Costs, in units of one token in the projections and the feed-forward network of an encoder: what attention adds for
#: each token and position, and what one more group costs. Only their rough size matters.
ATTENTION_COST = 1 / 200
GROUP_COST = 400


class Group(NamedTuple):
    """Consecutive sequences, from row ``start`` to before row ``end``, that are all cut to ``width`` positions."""

    start: int
    end: int
    width: int

    @property
    def size(self) -> int:
        """How many sequences it has."""
        return self.end - self.start

    @property
    def tokens(self) -> int:
        """How many positions its sequences have together, padding included."""
        return self.size * self.width


def split(groups: Sequence[Group], *tensors: Tensor | None) -> Iterator[tuple]:
    """``(group, part, …)`` for every group: its rows of each tensor ``[N, …]``, or None for a tensor that is None."""
    sizes = [group.size for group in groups]
    return zip(groups, *([None] * len(groups) if tensor is None else tensor.split(sizes) for tensor in tensors))


def first_tokens(groups: Sequence[Group], device: torch.device) -> Tensor:
    """Where each sequence begins among the positions of all groups, one sequence after the other, ``[N]``."""
    first, before = [], 0
    for group in groups:
        first.append(torch.arange(group.size, device=device) * group.width + before)  # [n]
        before += group.tokens
    return torch.cat(first)


def group_bounds(lengths: np.ndarray) -> list[Group]:
    """Cut sequences, sorted by length, into groups, each as wide as its longest, at the least total cost.

    Args:
        lengths: ``[N]``, at least 1, in any order.

    Returns:
        the groups of the sorted sequences, in order.
    """
    count = np.bincount(lengths)
    widths = np.flatnonzero(count)
    before = np.concatenate([[0], np.cumsum(count[widths])])
    token = widths * (1 + widths * ATTENTION_COST)
    best, cut = np.zeros(len(widths) + 1), np.zeros(len(widths) + 1, dtype=np.int64)
    for end in range(1, len(widths) + 1):
        cost = best[:end] + (before[end] - before[:end]) * token[end - 1]
        cut[end] = cost.argmin()
        best[end] = cost[cut[end]] + GROUP_COST
    groups, end = [], len(widths)
    while end:
        groups.append(Group(int(before[cut[end]]), int(before[end]), int(widths[end - 1])))
        end = cut[end]
    return groups[::-1]
