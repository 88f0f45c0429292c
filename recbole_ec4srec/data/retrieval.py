"""Retrieval of sequences with the same next item: rtrl (section 3.2) and ertrl+ (section 4.3)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Generator, Tensor

from recbole_ec4srec.data.importance import ImportanceTable, normalise

# How many pairs of sequences are compared, and instances read, at a time. The result does not depend on it.
_CHUNK = 1 << 15


class SameTargetIndex:
    """Finds, for every instance, the instances of other users with the same next item.

    Sorted by next item and then by user, the instances with one next item are a block, and those of one user a block
    within it; so the candidates of an instance are its item's block without its user's, and drawing one is arithmetic.

    Args:
        next_item: ``[N]``.
        user: ``[N]``.
    """

    def __init__(self, next_item: Tensor, user: Tensor):
        order = np.lexsort((user.numpy(), next_item.numpy()))
        item, of_user = next_item.numpy()[order], user.numpy()[order]
        new_item = np.ones(len(order), dtype=bool)
        new_item[1:] = item[1:] != item[:-1]
        new_user = new_item.copy()
        new_user[1:] |= of_user[1:] != of_user[:-1]
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

    def draw(self, rows: Tensor, generator: Generator | None = None) -> Tensor:
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
        item_sequences: Callable[[Tensor], tuple[Tensor, Tensor]],
        importance: ImportanceTable,
        n_items: int,
        score: str = "anchor",
        max_candidates: int = 100,
        generator: Generator | None = None,
    ):
        self.index = index
        self._score_of = score
        total = index.n_candidates
        count = total.clamp(max=max_candidates)
        self._stride = total.div(count.clamp(min=1), rounding_mode="floor")
        uniform = torch.rand(len(total), generator=generator, dtype=torch.double)
        self._first = torch.where(total > count, (uniform * total).long(), 0)
        self._offsets = torch.zeros(len(count) + 1, dtype=torch.long)
        torch.cumsum(count, 0, out=self._offsets[1:])
        self._cumulative = torch.zeros(int(self._offsets[-1]))  # of the utilities of one instance's candidates

        scores = self._scores(item_sequences, importance, n_items)
        rows = index.by_target()
        rows = rows[count[rows] > 0]
        pairs = torch.cumsum(count[rows], 0)
        cuts = torch.searchsorted(pairs, torch.arange(_CHUNK, max(_CHUNK, len(self._cumulative)), _CHUNK))
        for chunk in rows.tensor_split(cuts.unique()):
            if len(chunk):
                self._fill(chunk, scores)

    @staticmethod
    def _scores(item_sequences, importance, n_items):
        """Eq. 5's scores of the items of all instances, ``[N, n_items]``, sparse."""
        items, scores = [], []
        for rows in torch.arange(len(importance)).split(_CHUNK):
            item_seq, item_seq_len = item_sequences(rows)
            width = item_seq.shape[1]
            inside = torch.arange(width) < item_seq_len.unsqueeze(1)
            items.append(item_seq[inside].int())
            scores.append(normalise(importance.rows(rows)[:, :width], item_seq_len)[inside])
        parts = torch.cat(scores).numpy(), torch.cat(items).numpy(), importance.offsets.numpy()
        matrix = csr_matrix(parts, shape=(len(importance), n_items))
        matrix.sum_duplicates()
        return matrix

    def _fill(self, rows, scores):
        """Compute the cumulative utilities of the candidates of ``rows``."""
        count = self._offsets[rows + 1] - self._offsets[rows]
        anchor = torch.repeat_interleave(torch.arange(len(rows)), count)
        number = torch.arange(len(anchor)) - (torch.cumsum(count, 0) - count)[anchor]
        a, b = scores[rows.numpy()], scores[self.candidate(rows[anchor], number).numpy()]
        a_size, b_size = (torch.from_numpy(np.diff(part.indptr)) for part in (a, b))
        # One side has 1 + score(v) for its items and the other 1, so that the product has an entry for every item that
        # both hold; in double precision, so that small scores are not lost beside the 1.
        scored, plain = (a, b) if self._score_of == "anchor" else (b, a)
        scored.data = scored.data.astype(np.float64) + 1
        plain.data = np.ones(len(plain.data))
        both = a[anchor.numpy()].multiply(b)
        overlap = torch.from_numpy(both.getnnz(1))
        score = torch.from_numpy(np.asarray(both.sum(1))[:, 0]) - overlap
        utility = overlap / (a_size[anchor] + b_size - overlap) * score.clamp(min=0)

        total = torch.zeros(len(rows), dtype=torch.double).index_add_(0, anchor, utility)
        utility = torch.where(total[anchor] > 0, utility / total[anchor], 1 / count[anchor])
        cumulative = torch.cumsum(utility, 0)
        before = torch.cat([cumulative.new_zeros(1), cumulative])[torch.cumsum(count, 0) - count]
        self._cumulative[self._offsets[rows][anchor] + number] = (cumulative - before[anchor]).float()

    def candidate(self, rows: Tensor, number: Tensor) -> Tensor:
        """The instance that is candidate ``number`` of each of ``rows`` among those that take part."""
        spread = self._first[rows] + number * self._stride[rows]
        return self.index.candidate(rows, spread % self.index.n_candidates[rows].clamp(min=1))

    def draw(self, rows: Tensor, generator: Generator | None = None) -> Tensor:
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
