"""Retrieval of sequences with the same next item: rtrl (section 3.2) and ertrl+ (section 4.3).

Everything here is on the host, in numpy: instances are drawn before their sequences go to the device of the model.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ec4srec.data.importance import ImportanceTable, normalise
from recbole_ec4srec.data.ragged import ranges

# How many pairs of sequences are compared at a time, and for how many scores are read; the result depends on neither.
_CHUNK, _READ = 1 << 15, 1 << 19


class SameTargetIndex:
    """Finds, for every instance, the instances of other users with the same next item.

    Sorted by next item and then by user, the instances with one next item are a block, and those of one user a block
    within it; so the candidates of an instance are its item's block without its user's, and drawing one is arithmetic.

    Args:
        next_item: ``[N]``.
        user: ``[N]``.

    Attributes:
        n_candidates: how many candidates each instance has, ``[N]``.
        by_target: all instances, those with one next item together, ``[N]``.
    """

    def __init__(self, next_item: Tensor, user: Tensor):
        item, of_user = next_item.numpy(), user.numpy()
        self.by_target = order = np.lexsort((of_user, item))
        new_item = _changes(item[order])
        self._item_start, item_size = _blocks(new_item, order)
        self._user_start, self._user_size = _blocks(new_item | _changes(of_user[order]), order)
        self.n_candidates = item_size - self._user_size

    def candidate(self, rows: np.ndarray, number: np.ndarray) -> np.ndarray:
        """The instance that is candidate ``number`` of each of ``rows``, ``0 <= number < n_candidates``; shapes
        broadcast. For an instance without candidates the answer means nothing."""
        before = self._user_start[rows] - self._item_start[rows]
        skip = np.where(number >= before, self._user_size[rows], 0)
        return self.by_target[np.minimum(self._item_start[rows] + number + skip, len(self.by_target) - 1)]


def _changes(values):
    """Where a value differs from the one before, ``[N]``; true at the first."""
    changes = np.ones(len(values), dtype=bool)
    changes[1:] = values[1:] != values[:-1]
    return changes


def _blocks(first, order):
    """Start and size of the block of each instance: blocks begin where ``first`` is true, and ``order`` has the
    instances in the order of the blocks."""
    start = np.flatnonzero(first)
    block = np.empty(len(order), dtype=np.int64)
    block[order] = np.cumsum(first) - 1
    return start[block], np.diff(np.append(start, len(first)))[block]


class RandomRetrieval:
    """rtrl: a uniform draw among the candidates; the instance itself where it has none.

    Args:
        index: the candidates.
    """

    def __init__(self, index: SameTargetIndex):
        self.index = index

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One retrieved instance for each of ``rows``, ``[R]``."""
        count = self.index.n_candidates[rows]
        number = (rng.random(len(rows)) * count).astype(np.int64)
        return np.where(count > 0, self.index.candidate(rows, number), rows)


class GuidedRetrieval:
    """ertrl+: a draw with probability proportional to a candidate's utility.

    With A the set of items of the anchor and B that of the candidate (section 4.3),

        util = |A and B| / |A or B| * sum of score(v) over v in A and B,

    where score is Eq. 5's and an item that occurs several times has the sum of its scores. Where all utilities of an
    instance are 0 the draw is uniform; where it has no candidates it is the instance itself.

    The distribution of an instance is built by :meth:`prepare`, once, before it is drawn from. Of an instance with more
    than ``max_candidates`` candidates an evenly spread sample of that size, with a random start, takes part.

    Args:
        index: the candidates.
        item_sequences: gives ``(item_seq [R, L], item_seq_len [R])`` of instances.
        importance: raw attributions of all instances.
        n_items: the number of item ids, the padding included.
        score: whose scores are summed, ``anchor`` or ``candidate``.
        max_candidates: bounds time and memory; 4 bytes are kept per prepared instance and candidate.
        rng: for the samples.
    """

    def __init__(
        self,
        index: SameTargetIndex,
        item_sequences: Callable[[Tensor], tuple[Tensor, Tensor]],
        importance: ImportanceTable,
        n_items: int,
        score: str,
        max_candidates: int,
        rng: np.random.Generator,
    ):
        self.index = index
        self._item_sequences, self._importance, self._n_items = item_sequences, importance, n_items
        self._score_of = score
        total = index.n_candidates
        count = np.minimum(total, max_candidates)
        self._stride = total // np.maximum(count, 1)
        self._first = np.where(total > count, (rng.random(len(total)) * total).astype(np.int64), 0)
        self._offsets = np.concatenate([[0], np.cumsum(count)])
        # For each instance, the cumulative probabilities of its candidates; memory that is never written is never used.
        self._cumulative = np.zeros(self._offsets[-1], dtype=np.float32)
        self._is_prepared = count == 0

    def prepare(self, few: np.ndarray | None = None) -> None:
        """Build the distributions of ``few`` instances, or of all, that have none yet."""
        wanted = ~self._is_prepared
        if few is not None:
            wanted = np.zeros_like(wanted)
            wanted[few] = ~self._is_prepared[few]
        rows = self.index.by_target[wanted[self.index.by_target]]  # the candidates of neighbours are mostly the same
        # Few instances have few candidates in common: reading the scores of many at a time would only leave the cache.
        for group in self._split(rows, _READ if few is None else _CHUNK):
            read = np.unique(np.concatenate([group, self._pairs(group)[2]]))
            scores = self._scores(read)
            for chunk in self._split(group, _CHUNK):
                self._fill(chunk, read, scores)
        self._is_prepared |= wanted

    def _split(self, rows, size):
        """Parts of ``rows`` that have about ``size`` pairs each."""
        pairs = np.cumsum(self._offsets[rows + 1] - self._offsets[rows])
        return [part for part in np.split(rows, np.flatnonzero(np.diff(pairs // size)) + 1) if len(part)]

    def _pairs(self, rows):
        """Of each pair the place of its anchor in ``rows``, the number of its candidate, and the candidate, ``[P]``."""
        count = self._offsets[rows + 1] - self._offsets[rows]
        anchor, number = np.repeat(np.arange(len(rows)), count), ranges(np.zeros_like(count), count)
        return anchor, number, self.candidate(rows[anchor], number)

    def _fill(self, rows, read, scores):
        """Compute the cumulative probabilities of the candidates of ``rows``; ``read``, sorted, have the ``scores``."""
        count = self._offsets[rows + 1] - self._offsets[rows]
        anchor, number, candidate = self._pairs(rows)
        utility = self._utility(*(scores[np.searchsorted(read, of)] for of in (rows[anchor], candidate)))
        total = np.bincount(anchor, utility, minlength=len(rows))[anchor]
        probability = np.where(total > 0, utility / np.where(total > 0, total, 1), 1 / count[anchor])
        cumulative = np.cumsum(probability)
        before = np.concatenate([[0], cumulative])[np.cumsum(count) - count]
        self._cumulative[self._offsets[rows][anchor] + number] = cumulative - before[anchor]

    def _scores(self, rows):
        """Eq. 5's scores of the items of ``rows [R]``, ``[R, n_items]``, sparse."""
        item_seq, item_seq_len = self._item_sequences(torch.from_numpy(rows))
        width = int(item_seq_len.max())
        inside = torch.arange(width) < item_seq_len.unsqueeze(1)
        scores = normalise(self._importance.rows(rows)[:, :width], item_seq_len)[inside].numpy()
        ends = np.cumsum(item_seq_len.numpy(), dtype=np.int64)
        parts = scores, item_seq[:, :width][inside].int().numpy(), np.concatenate([[0], ends])
        matrix = csr_matrix(parts, shape=(len(rows), self._n_items))
        matrix.sum_duplicates()
        return matrix

    def _utility(self, anchors, candidates):
        """The utility of each pair of rows of two sparse matrices of scores ``[P, n_items]``."""
        sizes = anchors.getnnz(1), candidates.getnnz(1)
        # One side has 1 + score(v) for its items and the other 1, so that the product has an entry for every item that
        # both hold; in double precision, so that small scores are not lost beside the 1.
        scored, plain = (anchors, candidates) if self._score_of == "anchor" else (candidates, anchors)
        scored.data = scored.data.astype(np.float64) + 1
        plain.data = np.ones(len(plain.data))
        both = scored.multiply(plain)
        overlap = both.getnnz(1)
        score = np.maximum(np.asarray(both.sum(1))[:, 0] - overlap, 0)
        return overlap / (sizes[0] + sizes[1] - overlap) * score

    def candidate(self, rows: np.ndarray, number: np.ndarray) -> np.ndarray:
        """The instance that is candidate ``number`` of each of ``rows`` among those that take part."""
        spread = self._first[rows] + number * self._stride[rows]
        return self.index.candidate(rows, spread % np.maximum(self.index.n_candidates[rows], 1))

    def distribution(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """The candidates of an instance that take part, and the probability of each, both ``[C]``."""
        start, end = self._offsets[row], self._offsets[row + 1]
        number, cumulative = np.arange(end - start), self._cumulative[start:end].astype(np.float64)
        return self.candidate(np.full_like(number, row), number), np.diff(cumulative, prepend=0.0) / cumulative[-1:]

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One retrieved instance for each of ``rows``, which are prepared, ``[R]``."""
        assert self._is_prepared[rows].all()
        start, end = self._offsets[rows], self._offsets[np.asarray(rows) + 1]
        uniform = rng.random(len(rows))
        if not len(self._cumulative):
            return np.array(rows)
        last = np.where(end > start, end - 1, 0)
        goal = uniform * self._cumulative[last]
        # The first candidate whose cumulative probability exceeds the goal, by bisection in each row's own stretch.
        low, high = np.where(end > start, start, 0), last
        for _ in range(int((end - start).max()).bit_length()):
            middle = (low + high) // 2
            beyond = self._cumulative[middle] > goal
            low, high = np.where(beyond, low, np.minimum(middle + 1, high)), np.where(beyond, middle, high)
        return np.where(end > start, self.candidate(rows, low - start), rows)
