"""rtrl (section 3.2) and ertrl+ (section 4.3): other users' sequences with the same next item."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from recbole_ec4srec.data import ImportanceTable, retrieval
from recbole_ec4srec.data.retrieval import GuidedRetrieval, RandomRetrieval, SameTargetIndex

PROPERTY = settings(max_examples=80, deadline=None, derandomize=True, database=None)
WIDTH = 5
N_ITEMS = 12


def seeded(seed=1):
    return np.random.default_rng(seed)


def index_of(instances):
    """An index over ``[(user, next item), …]``."""
    user, next_item = zip(*instances)
    return SameTargetIndex(torch.tensor(next_item), torch.tensor(user))


def candidates(index, row):
    count = int(index.n_candidates[row])
    return sorted(index.candidate(np.full(count, row), np.arange(count)).tolist())


def looped_candidates(instances, row):
    user, item = instances[row]
    return [other for other, (u, v) in enumerate(instances) if v == item and u != user]


def draws(drawn_from, row, times, seed=1):
    return Counter(drawn_from.draw(np.full(times, row), seeded(seed)).tolist())


# Instance: user, next item. Item 7 ends five sequences of three users, item 9 two of one user, item 8 one.
SEVEN = [(1, 7), (2, 7), (1, 9), (3, 7), (1, 7), (3, 7), (1, 9), (2, 8)]


def test_candidates_are_the_instances_of_other_users_with_the_same_next_item():
    index = index_of(SEVEN)
    assert index.n_candidates.tolist() == [3, 4, 0, 3, 3, 3, 0, 0]
    assert candidates(index, 0) == [1, 3, 5]
    assert candidates(index, 1) == [0, 3, 4, 5]
    assert candidates(index, 5) == [0, 1, 4]


def test_instances_of_the_same_user_and_next_item_are_no_candidates():
    assert candidates(index_of(SEVEN), 2) == []


@PROPERTY
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=25))
def test_candidates_equal_a_search_of_all_instances(instances):
    index = index_of(instances)
    for row in range(len(instances)):
        assert candidates(index, row) == looped_candidates(instances, row)


@PROPERTY
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=25), st.integers(0, 99))
def test_a_draw_is_a_candidate_or_the_instance_itself(instances, seed):
    drawn = RandomRetrieval(index_of(instances)).draw(np.arange(len(instances)), seeded(seed))
    for row, found in enumerate(drawn.tolist()):
        assert found in (looped_candidates(instances, row) or [row])


@pytest.mark.parametrize("row", range(len(SEVEN)))
def test_rtrl_draws_every_candidate_with_equal_probability(row):
    counts = draws(RandomRetrieval(index_of(SEVEN)), row, 3000)
    expected = looped_candidates(SEVEN, row) or [row]
    assert sorted(counts) == expected
    assert len(expected) == 1 or chisquare(list(counts.values())).pvalue > 0.001


def test_without_other_users_everything_retrieves_itself():
    alone = index_of([(1, 3), (1, 3), (1, 4)])
    rows = np.array([2, 0, 1])
    assert RandomRetrieval(alone).draw(rows, seeded()).tolist() == [2, 0, 1]
    sequences, importance = [[1], [1, 3], [2]], [[1.0], [1.0, 1.0], [1.0]]
    assert guided(alone, sequences, importance).draw(rows, seeded()).tolist() == [2, 0, 1]


# ertrl+


def guided(index, sequences, importance, score="anchor", max_candidates=100, seed=1, rows=None):
    lengths = torch.tensor([len(seq) for seq in sequences])
    item_seq = torch.tensor([seq + [0] * (WIDTH - len(seq)) for seq in sequences])
    table = ImportanceTable(lengths, WIDTH)
    scores = torch.tensor([row + [0.0] * (WIDTH - len(row)) for row in importance])
    table.set_rows(torch.arange(len(sequences)), scores)
    retrieval = GuidedRetrieval(
        index, lambda rows: (item_seq[rows], lengths[rows]), table, N_ITEMS, score, max_candidates, seeded(seed)
    )
    retrieval.prepare(rows)
    return retrieval


def distribution(drawn_from, row):
    """The probability of every candidate that takes part."""
    candidates, probabilities = drawn_from.distribution(row)
    return dict(zip(candidates.tolist(), probabilities.tolist()))


def looped_scores(importance):
    """Eq. 5."""
    positive = [max(value, 0.0) for value in importance]
    total = sum(positive)
    return [value / total for value in positive] if total > 0 else [1 / len(positive)] * len(positive)


def looped_utility(a, a_importance, b, b_importance, score):
    common = set(a) & set(b)
    items, importance = (a, a_importance) if score == "anchor" else (b, b_importance)
    # An item that occurs several times has the sum of its scores.
    scores = sum(share for item, share in zip(items, looped_scores(importance)) if item in common)
    return len(common) / len(set(a) | set(b)) * scores


def looped_distribution(instances, sequences, importance, row, score):
    utilities = {
        other: looped_utility(sequences[row], importance[row], sequences[other], importance[other], score)
        for other in looped_candidates(instances, row)
    }
    total = sum(utilities.values())
    return {other: util / total if total > 0 else 1 / len(utilities) for other, util in utilities.items()}


# The first instance is the anchor: items 1 (score 0.5), 2 (0.3) and 3 (0.2).
INSTANCES = [(1, 7), (2, 7), (3, 7), (4, 7), (1, 7)]
SEQUENCES = [[1, 2, 3], [1, 4], [2, 3], [5, 6], [1, 2, 3]]
IMPORTANCE = [[5.0, 3.0, 2.0], [1.0, 3.0], [2.0, -1.0], [1.0, 1.0], [1.0, 1.0, 1.0]]


def test_utility_is_jaccard_similarity_times_the_anchors_scores_of_the_common_items():
    # 1/4 * 0.5 for [1, 4] and 2/3 * (0.3 + 0.2) for [2, 3]; nothing is shared with [5, 6].
    first, second = 1 / 4 * 0.5, 2 / 3 * 0.5
    expected = {1: first / (first + second), 2: second / (first + second), 3: 0.0}
    assert distribution(guided(index_of(INSTANCES), SEQUENCES, IMPORTANCE), 0) == pytest.approx(expected, abs=1e-6)


def test_with_the_candidates_scores_each_candidate_brings_its_own():
    # 1/4 * 0.25 for [1, 4] and 2/3 * (1 + 0) for [2, 3].
    first, second = 1 / 4 * 0.25, 2 / 3
    expected = {1: first / (first + second), 2: second / (first + second), 3: 0.0}
    found = distribution(guided(index_of(INSTANCES), SEQUENCES, IMPORTANCE, "candidate"), 0)
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_repeated_item_counts_once_in_the_sets_and_with_all_its_scores():
    instances = [(1, 7), (2, 7), (3, 7)]
    sequences = [[1, 2, 1], [1, 1, 1, 4], [2, 5]]
    importance = [[1.0, 6.0, 3.0], [1.0, 1.0, 2.0, 4.0], [1.0, 1.0]]
    # {1, 2} and {1, 4} share 1 of 3 items, of score 0.1 + 0.3; {1, 2} and {2, 5} share 1 of 3, of score 0.6.
    found = distribution(guided(index_of(instances), sequences, importance), 0)
    assert found == pytest.approx({1: 0.4, 2: 0.6}, abs=1e-6)
    # The candidates' own scores: 0.125 + 0.125 + 0.25 and 0.5.
    found = distribution(guided(index_of(instances), sequences, importance, "candidate"), 0)
    assert found == pytest.approx({1: 0.5, 2: 0.5}, abs=1e-6)


def test_draws_follow_the_utilities():
    drawn_from = guided(index_of(INSTANCES), SEQUENCES, IMPORTANCE)
    counts = draws(drawn_from, 0, 20000)
    expected = looped_distribution(INSTANCES, SEQUENCES, IMPORTANCE, 0, "anchor")
    # A candidate that shares nothing is never drawn while another shares something.
    assert sorted(counts) == [1, 2]
    assert chisquare([counts[1], counts[2]], [20000 * expected[1], 20000 * expected[2]]).pvalue > 0.001


def test_where_nothing_is_shared_the_draw_is_uniform():
    counts = draws(guided(index_of(INSTANCES), SEQUENCES, IMPORTANCE), 3, 4000)
    assert sorted(counts) == [0, 1, 2, 4]
    assert chisquare(list(counts.values())).pvalue > 0.001


def test_where_the_shared_items_have_no_importance_the_draw_is_uniform():
    importance = [[5.0, 0.0, -2.0], [1.0, 3.0], [2.0, 1.0], [1.0, 1.0], [1.0, 1.0, 1.0]]
    sequences = [[1, 2, 3], [2, 4], [2, 3], [5, 6], [1, 2, 3]]
    found = distribution(guided(index_of(INSTANCES), sequences, importance), 0)
    assert found == pytest.approx({1: 1 / 3, 2: 1 / 3, 3: 1 / 3}, abs=1e-6)


def test_small_scores_keep_their_proportion():
    # Items 2 and 3 hardly matter to the anchor, but one twice as much as the other.
    importance = [[1.0, 1e-8, 2e-8], [1.0, 1.0], [1.0, 1.0]]
    sequences = [[1, 2, 3], [2, 4], [3, 5]]
    found = distribution(guided(index_of(INSTANCES[:3]), sequences, importance), 0)
    assert found == pytest.approx({1: 1 / 3, 2: 2 / 3}, abs=1e-3)


@st.composite
def worlds(draw):
    """``(instances, sequences, importance)`` with repeated items and importance of either sign."""
    instances = draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=14))
    sequences = [draw(st.lists(st.integers(1, N_ITEMS - 1), min_size=1, max_size=WIDTH)) for _ in instances]
    score = st.one_of(st.integers(-1, 3).map(float), st.floats(1 / 64, 1, width=32))
    return instances, sequences, [draw(st.lists(score, min_size=len(seq), max_size=len(seq))) for seq in sequences]


@pytest.mark.parametrize("score", ["anchor", "candidate"])
@PROPERTY
@given(worlds())
def test_the_distribution_equals_its_looped_transcription(score, world):
    instances, sequences, importance = world
    drawn_from = guided(index_of(instances), sequences, importance, score)
    for row in range(len(instances)):
        expected = looped_distribution(instances, sequences, importance, row, score)
        assert distribution(drawn_from, row) == pytest.approx(expected, abs=1e-5)


def many(n=40):
    """One next item, a user each; neighbours share items."""
    instances = [(user, 7) for user in range(1, n + 1)]
    sequences = [[1 + i % 11, 1 + (i + 3) % 11, 1 + i % 5][: 1 + i % 3] for i in range(n)]
    importance = [[float(i % 4), 1.0, 2.0][: 1 + i % 3] for i in range(n)]
    return index_of(instances), sequences, importance


@pytest.mark.parametrize("max_candidates", [1, 7, 39, 100])
def test_max_candidates_bounds_the_candidates_and_the_memory(max_candidates):
    drawn_from = guided(*many(), max_candidates=max_candidates)
    allowed = min(max_candidates, 39)
    for row in range(40):
        taking_part = distribution(drawn_from, row)
        assert len(taking_part) == allowed
        assert row not in taking_part
        assert set(draws(drawn_from, row, 200)) <= set(taking_part)


def test_which_candidates_take_part_is_drawn_anew_and_can_be_any():
    seen = set()
    for seed in range(60):
        seen |= set(distribution(guided(*many(), max_candidates=5, seed=seed), 4))
    assert seen == set(range(40)) - {4}


def test_each_candidate_takes_part_equally_often():
    counts = Counter()
    for seed in range(80):
        drawn_from = guided(*many(11), max_candidates=3, seed=seed)
        counts.update(other for row in range(11) for other in distribution(drawn_from, row))
    assert chisquare([counts[other] for other in range(11)]).pvalue > 0.001


def test_the_utilities_of_the_candidates_that_take_part_stay_in_proportion():
    index, sequences, importance = many()
    found = distribution(guided(index, sequences, importance, max_candidates=6), 2)
    utilities = {
        other: looped_utility(sequences[2], importance[2], sequences[other], importance[other], "anchor")
        for other in found
    }
    assert sum(utilities.values()) > 0
    assert found == pytest.approx({o: util / sum(utilities.values()) for o, util in utilities.items()}, abs=1e-5)


@pytest.mark.parametrize("chunk", [1, 7, 50, 1 << 20])
@pytest.mark.parametrize("max_candidates", [6, 100])
def test_the_size_of_the_chunks_changes_nothing(monkeypatch, chunk, max_candidates):
    whole = guided(*many(), max_candidates=max_candidates)
    monkeypatch.setattr(retrieval, "_CHUNK", chunk)
    monkeypatch.setattr(retrieval, "_READ", 3 * chunk)
    chunked = guided(*many(), max_candidates=max_candidates)
    for row in range(40):
        assert distribution(whole, row) == pytest.approx(distribution(chunked, row), abs=1e-6)
    rows = np.tile(np.arange(40), 5)
    assert np.array_equal(whole.draw(rows, seeded()), chunked.draw(rows, seeded()))


@pytest.mark.parametrize("max_candidates", [6, 100])
def test_instances_can_be_prepared_as_they_are_needed(max_candidates):
    whole = guided(*many(), max_candidates=max_candidates)
    drawn_from = guided(*many(), max_candidates=max_candidates, rows=np.array([31, 2]))
    drawn_from.prepare(np.array([2, 3, 17]))
    rows = np.array([3, 2, 31, 17] * 5)
    assert np.array_equal(whole.draw(rows, seeded()), drawn_from.draw(rows, seeded()))


def test_the_same_seed_draws_the_same():
    drawn_from, rows = guided(*many()), np.arange(40)
    assert np.array_equal(drawn_from.draw(rows, seeded(3)), drawn_from.draw(rows, seeded(3)))
    assert not np.array_equal(drawn_from.draw(rows, seeded(3)), drawn_from.draw(rows, seeded(4)))
