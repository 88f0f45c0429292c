"""Rows of different lengths, one after the other."""

from __future__ import annotations

import numpy as np


def ranges(begin: np.ndarray, count: np.ndarray) -> np.ndarray:
    """``begin``, ``begin + 1``, …, ``count`` numbers for each of ``begin [R]`` and ``count [R]``, one range after the
    other, ``[sum of count]``."""
    return np.arange(count.sum()) + np.repeat(begin - np.cumsum(count) + count, count)
