"""Retrieval of sequences with the same next item: rtrl (section 3.2) and ertrl+ (section 4.3)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recbole_ec4srec.data.importance import ImportanceTable, normalise

# Pairs of sequences compared, and cells of the table of scores, at a time: small enough that the allocator reuses the
# memory. The result does not depend on them.
_PAIRS_PER_CHUNK = 1 << 13
_TABLE_CELLS = 1 << 20


class SameTargetIndex:
    """Finds, for every instance, the instances of other users with the same next item.

    Sorted by next item and then by user, the instances with one next item are a block, and those of one user a block
    within it; so the candidates of an instance are its item's block without its user's, and drawing one is arithmetic.

    Args:
        next_item: ``[N]``.
        user: ``[N]``.
    """

    def __init__(self, next_item: Tensor, user: Tensor):
        item, user = next_item.numpy(), user.numpy()
        order = np.lexsort((user, item))
        item, user = item[order], user[order]
        new_item = np.ones(len(order), dtype=bool)
        new_item[1:] = item[1:] != item[:-1]
        new_user = new_item.copy()
        new_user[1:] |= user[1:] != user[:-1]
        self._order = torch.from_numpy(order)

        def blocks(new):
            """Start and size of the block that each instance lies in, in the order of the instances."""
            start = np.flatnonzero(new)
            size = np.diff(np.append(start, len(new)))
            block = np.cumsum(new) - 1
            back = np.empty(len(order), dtype=np.int64)
            back[order] = block
            return torch.from_numpy(start)[back], torch.from_numpy(size)[back]

        self._item_start, item_size = blocks(new_item)
        self._user_start, self._user_size = blocks(new_user)
        self.n_candidates = item_size - self._user_size
        """How many candidates each instance has, ``[N]``."""

    def candidate(self, rows: Tensor, number: Tensor) -> Tensor:
        """The instance that is candidate ``number`` of each of ``rows``, ``0 <= number < n_candidates``; shapes
        broadcast. For an instance without candidates the answer means nothing."""
        before = self._user_start[rows] - self._item_start[rows]
        skip = torch.where(number >= before, self._user_size[rows], 0)
        return self._order[(self._item_start[rows] + number + skip).clamp(max=len(self._order) - 1)]

    def by_target(self) -> Tensor:
        """All instances, those with one next item together, ``[N]``."""
        return self._order


class RandomRetrieval:
    """rtrl: a uniform draw among the candidates; the instance itself where it has none.

    Args:
        index: the candidates.
    """

    def __init__(self, index: SameTargetIndex):
        self.index = index

    def draw(self, rows: Tensor, generator=None) -> Tensor:
        """One retrieved instance for each of ``rows``, ``[R]``."""
        count = self.index.n_candidates[rows]
        uniform = torch.rand(len(rows), generator=generator, dtype=torch.double)
        return torch.where(count > 0, self.index.candidate(rows, (uniform * count).long()), rows)


class GuidedRetrieval:
    """ertrl+: a draw with probability proportional to a candidate's utility.

    With A the set of items of the anchor and B that of the candidate (section 4.3),

        util = |A and B| / |A or B| * sum of score(v) over v in A and B,

    where score is Eq. 5's and an item that occurs several times has the sum of its scores. Where all utilities of an
    instance are 0 the draw is uniform; where it has no candidates it is the instance itself.

    The distributions are built once, when the object is made. Of an instance with more than ``max_candidates``
    candidates an evenly spread sample of that size, with a random start, takes part.

    Args:
        index: the candidates.
        item_sequences: gives ``(item_seq [R, L], item_seq_len [R])`` of instances.
        importance: raw attributions of all instances.
        n_items: the number of item ids, the padding included.
        score: whose scores are summed, ``anchor`` or ``candidate``.
        max_candidates: bounds time and memory; 4 bytes are kept per instance and candidate.
        generator: for the samples.
    """

    def __init__(
        self,
        index: SameTargetIndex,
        item_sequences,
        importance: ImportanceTable,
        n_items: int,
        score: str = "anchor",
        max_candidates: int = 100,
        generator=None,
    ):
        self.index, self._item_sequences, self._importance = index, item_sequences, importance
        self._score_of = score
        total = index.n_candidates
        count = total.clamp(max=max_candidates)
        self._stride = total.div(count.clamp(min=1), rounding_mode="floor")
        uniform = torch.rand(len(total), generator=generator, dtype=torch.double)
        self._first = torch.where(total > count, (uniform * total).long(), 0)
        self._offsets = torch.zeros(len(count) + 1, dtype=torch.long)
        torch.cumsum(count, 0, out=self._offsets[1:])
        self._cumulative = torch.zeros(int(self._offsets[-1]))  # of the utilities of one instance's candidates
        self._repeats = self._find_repeats()

        rows = index.by_target()
        rows = rows[count[rows] > 0]
        pairs_before = torch.cumsum(count[rows], 0) - count[rows]
        rows_per_chunk = max(1, _TABLE_CELLS // n_items)
        start = 0
        while start < len(rows):
            end = int(torch.searchsorted(pairs_before, pairs_before[start] + _PAIRS_PER_CHUNK))
            end = max(start + 1, min(end, start + rows_per_chunk))
            self._fill(rows[start:end], n_items)
            start = end

    def _find_repeats(self):
        """Cells of the windows that repeat an earlier item of the same window, ``[N, L]``; None if there are none."""
        found, any_repeat = [], False
        for rows in torch.arange(len(self._first)).split(_PAIRS_PER_CHUNK):
            repeats = repeated_items(self._item_sequences(rows)[0])
            any_repeat = any_repeat or bool(repeats.any())
            found.append(repeats)
        return torch.cat(found) if any_repeat else None

    def _sets(self, rows):
        """The windows of ``rows`` with each item once (0 elsewhere), all items, and the sizes of the sets."""
        item_seq, item_seq_len = self._item_sequences(rows)
        width = int(item_seq_len.max())
        item_seq = item_seq[:, :width]
        if self._repeats is None:
            return item_seq, item_seq, item_seq_len, item_seq_len
        distinct = item_seq.masked_fill(self._repeats[rows, :width], 0)
        return distinct, item_seq, (distinct > 0).sum(1), item_seq_len

    def _fill(self, rows, n_items):
        """Compute the cumulative utilities of the candidates of ``rows``."""
        count = self._offsets[rows + 1] - self._offsets[rows]
        anchor = torch.repeat_interleave(torch.arange(len(rows)), count)
        number = torch.arange(len(anchor)) - (torch.cumsum(count, 0) - count)[anchor]
        candidates = self.candidate(rows[anchor], number)

        a_set, a_items, a_size, a_len = self._sets(rows)
        a_score = normalise(self._importance.rows(rows)[:, : a_items.shape[1]], a_len)
        # A row of the table holds 1 + score(v) for the items v of one anchor and 0 for all others; in double precision,
        # so that small scores are not lost beside the 1.
        a_score = a_score.double()
        table = torch.zeros(len(rows), n_items, dtype=torch.double)
        table.scatter_add_(1, a_items, a_score).scatter_add_(1, a_set, torch.ones_like(a_score))
        table[:, 0] = 0
        b_set, b_items, b_size, b_len = self._sets(candidates)
        found = table.view(-1)[b_set + (anchor * n_items).unsqueeze(1)]
        overlap = (found > 0).sum(1)
        if self._score_of == "anchor":
            score = found.sum(1) - overlap
        else:
            b_score = normalise(self._importance.rows(candidates)[:, : b_items.shape[1]], b_len)
            score = torch.where(table.view(-1)[b_items + (anchor * n_items).unsqueeze(1)] > 0, b_score, 0.0).sum(1)
        utility = (overlap / (a_size[anchor] + b_size - overlap) * score.clamp(min=0)).double()

        total = torch.zeros(len(rows), dtype=torch.double).index_add_(0, anchor, utility)
        utility = torch.where(total[anchor] > 0, utility / total[anchor], 1 / count[anchor])
        cumulative = torch.cumsum(utility, 0)
        before = torch.cat([cumulative.new_zeros(1), cumulative])[torch.cumsum(count, 0) - count]
        self._cumulative[self._offsets[rows][anchor] + number] = (cumulative - before[anchor]).float()

    def candidate(self, rows: Tensor, number: Tensor) -> Tensor:
        """The instance that is candidate ``number`` of each of ``rows`` among those that take part."""
        spread = self._first[rows] + number * self._stride[rows]
        return self.index.candidate(rows, spread % self.index.n_candidates[rows].clamp(min=1))

    def draw(self, rows: Tensor, generator=None) -> Tensor:
        """One retrieved instance for each of ``rows``, ``[R]``."""
        start, end = self._offsets[rows], self._offsets[rows + 1]
        has_candidates = end > start
        last = torch.where(has_candidates, end - 1, 0)
        uniform = torch.rand(len(rows), generator=generator, dtype=torch.double)
        if len(self._cumulative) == 0:
            return rows.clone()
        goal = uniform * self._cumulative[last]
        # The first candidate whose cumulative utility exceeds the goal, by bisection in each row's own stretch.
        low, high = torch.where(has_candidates, start, 0), last
        for _ in range(int((end - start).max()).bit_length()):
            middle = (low + high) // 2
            beyond = self._cumulative[middle] > goal
            low, high = torch.where(beyond, low, (middle + 1).minimum(high)), torch.where(beyond, middle, high)
        return torch.where(has_candidates, self.candidate(rows, low - start), rows)


def repeated_items(item_seq: Tensor) -> Tensor:
    """Which cells hold an item that occurs earlier in the same sequence, ``[R, L]``; padding counts as no item."""
    order = item_seq.argsort(dim=1, stable=True)
    ordered = item_seq.gather(1, order)
    same = torch.zeros_like(ordered, dtype=torch.bool)
    same[:, 1:] = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] > 0)
    return torch.zeros_like(same).scatter_(1, order, same)
