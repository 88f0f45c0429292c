"""The importance of every item of every training instance, as the explainer left it."""

from __future__ import annotations

import numpy as np
import torch


class ImportanceTable:
    """Raw attributions of all instances, kept without padding.

    Args:
        lengths: the number of items of each instance, ``[N]``.
        max_length: the width ``L`` of the rows that :meth:`rows` gives.
    """

    def __init__(self, lengths: torch.Tensor, max_length: int):
        self.max_length = max_length
        self.offsets = torch.zeros(len(lengths) + 1, dtype=torch.long)
        torch.cumsum(lengths, 0, out=self.offsets[1:])
        self.values = torch.zeros(int(self.offsets[-1]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def set_rows(self, rows: torch.Tensor, scores: torch.Tensor) -> None:
        """Store the scores ``[R, W]`` of instances ``rows``; what lies beyond an instance's length is dropped."""
        start = self.offsets[rows].unsqueeze(1)
        cell = torch.arange(scores.shape[1])
        inside = cell < self.offsets[rows + 1].unsqueeze(1) - start
        self.values[(start + cell)[inside]] = scores.float()[inside]

    def rows(self, rows: torch.Tensor | np.ndarray) -> torch.Tensor:
        """Raw attributions ``[R, L]`` of instances ``rows``, 0 on padding."""
        return torch.from_numpy(self.host_rows(rows))

    def host_rows(self, rows: torch.Tensor | np.ndarray) -> np.ndarray:
        """:meth:`rows` as an array."""
        offsets, values, rows = self.offsets.numpy(), self.values.numpy(), np.asarray(rows)
        start, cell = offsets[rows][:, None], np.arange(self.max_length)
        inside = cell < offsets[rows + 1][:, None] - start
        return np.where(inside, values[np.where(inside, start + cell, 0)], np.float32(0))

    def top_items(self) -> torch.Tensor:
        """The position of the most important item of each instance, ``[N]``; of equals the last one."""
        instance = torch.repeat_interleave(torch.arange(len(self)), self.offsets.diff())
        highest = torch.full((len(self),), -torch.inf).scatter_reduce_(0, instance, self.values, "amax")
        position = torch.arange(len(self.values)) - self.offsets[instance]
        top = torch.where(self.values == highest[instance], position, -1)
        return torch.full((len(self),), -1).scatter_reduce_(0, instance, top, "amax")

    def last_on_top_share(self) -> float | None:
        """The share of instances of two or more items, in [0, 1], whose last item is the most important one; None
        without such instances."""
        lengths = self.offsets.diff()
        several = lengths > 1
        on_top = (self.top_items() == lengths - 1)[several]
        return on_top.float().mean().item() if len(on_top) else None

    def not_finite(self) -> int:
        """The number of instances with a score that is no finite number."""
        instance = torch.repeat_interleave(torch.arange(len(self)), self.offsets.diff())
        return len(instance[~self.values.isfinite()].unique())

    def changed_share(self, earlier: ImportanceTable) -> float:
        """The share of instances, in [0, 1], whose most important item is another one than in ``earlier``."""
        return (self.top_items() != earlier.top_items()).float().mean().item()


def normalise(importance: torch.Tensor, item_seq_len: torch.Tensor) -> torch.Tensor:
    """Scores of Eq. 5 from raw attributions: non-negative, summing to 1 over a sequence's items, 0 on padding.

    Negative attributions count as 0; where nothing is positive the items share equally.

    Args:
        importance: ``[B, L]``, raw.
        item_seq_len: ``[B]``.
    """
    inside = torch.arange(importance.shape[1], device=importance.device) < item_seq_len.unsqueeze(1)
    positive = torch.where(inside, importance.clamp(min=0), 0.0)
    total = positive.sum(1, keepdim=True)
    return torch.where(total > 0, positive / total, inside / item_seq_len.unsqueeze(1).clamp(min=1))
