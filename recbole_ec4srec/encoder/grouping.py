"""Encoding sequences in groups of similar length, so that little of the work is padding."""

from __future__ import annotations

import numpy as np

# Costs in units of one token in the projections and the feed-forward network of an encoder: what attention adds per
# token and position, and what starting another group costs. Only their rough size matters.
_ATTENTION_COST = 1 / 200
_GROUP_COST = 400


def group_bounds(lengths: np.ndarray) -> list[tuple[int, int, int]]:
    """Cut sequences, sorted by length, into groups that are each padded to their longest, at least total cost.

    Args:
        lengths: ``[N]``, at least 1, in any order.

    Returns:
        ``(start, end, width)`` for each group of the sorted sequences, in order.
    """
    count = np.bincount(lengths)
    widths = np.flatnonzero(count)
    before = np.concatenate([[0], np.cumsum(count[widths])])
    token = widths * (1 + widths * _ATTENTION_COST)
    best, cut = np.zeros(len(widths) + 1), np.zeros(len(widths) + 1, dtype=np.int64)
    for end in range(1, len(widths) + 1):
        cost = best[:end] + (before[end] - before[:end]) * token[end - 1]
        cut[end] = cost.argmin()
        best[end] = cost[cut[end]] + _GROUP_COST
    groups, end = [], len(widths)
    while end:
        groups.append((int(before[cut[end]]), int(before[end]), int(widths[end - 1])))
        end = cut[end]
    return groups[::-1]
