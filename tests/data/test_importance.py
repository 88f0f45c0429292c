"""Importance of all instances, and Eq. 5."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_ec4srec.data.importance import ImportanceTable, normalise

PROPERTY = settings(max_examples=100, deadline=None, derandomize=True, database=None)


def table_of(*scores, width=4):
    """A table of the scores of each instance."""
    table = ImportanceTable(torch.tensor([len(row) for row in scores]), width)
    for row, values in enumerate(scores):
        table.set_rows(torch.tensor([row]), torch.tensor([values]))
    return table


def test_a_new_table_holds_zeros():
    table = ImportanceTable(torch.tensor([2, 1]), 3)
    assert len(table) == 2
    assert table.rows(torch.tensor([0, 1])).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_rows_give_what_was_stored_padded_with_0():
    table = ImportanceTable(torch.tensor([2, 3, 1]), 4)
    table.set_rows(torch.tensor([2, 0]), torch.tensor([[5.0, 9.0], [-1.0, 2.0]]))
    table.set_rows(torch.tensor([1]), torch.tensor([[7.0, 8.0, 6.0, 9.0]]))
    assert table.rows(torch.tensor([1, 2, 0, 1])).tolist() == [
        [7, 8, 6, 0],
        [5, 0, 0, 0],
        [-1, 2, 0, 0],
        [7, 8, 6, 0],
    ]


def test_storing_one_instance_leaves_the_others_alone():
    table = table_of([1.0, 2.0], [3.0], [4.0, 5.0])
    table.set_rows(torch.tensor([1]), torch.tensor([[9.0, 9.0, 9.0]]))
    assert table.rows(torch.arange(3)).tolist() == [[1, 2, 0, 0], [9, 0, 0, 0], [4, 5, 0, 0]]


def test_changing_what_rows_gave_does_not_change_the_table():
    table = table_of([1.0, 2.0])
    table.rows(torch.tensor([0])).fill_(9)
    assert table.rows(torch.tensor([0])).tolist() == [[1, 2, 0, 0]]


def test_scores_of_any_precision_are_stored_as_single():
    table = ImportanceTable(torch.tensor([1]), 2)
    table.set_rows(torch.tensor([0]), torch.tensor([[0.5]], dtype=torch.double))
    assert table.rows(torch.tensor([0])).dtype == torch.float32


def test_a_table_keeps_one_number_per_item():
    assert len(ImportanceTable(torch.tensor([3, 1, 50]), 50).values) == 54


def test_top_items_are_the_positions_of_the_highest_scores():
    assert table_of([0.1, 0.7, 0.2], [5.0], [-3.0, -2.0, -9.0]).top_items().tolist() == [1, 0, 1]


def test_of_equally_important_items_the_last_is_on_top():
    assert table_of([4.0, 1.0, 4.0, 2.0], [0.0, 0.0]).top_items().tolist() == [2, 1]


def test_the_last_item_is_on_top_of_three_of_five_sequences_of_two_or_more():
    table = table_of([0.1, 0.2], [0.3, 0.2, 0.1], [0.5], [-2.0, -3.0, -1.0], [0.2, 0.1], [4.0, 1.0, 4.0])
    assert table.last_on_top_share() == pytest.approx(3 / 5)


def test_changed_share_counts_the_instances_with_another_top_item():
    before = table_of([1.0, 2.0], [3.0], [4.0, 5.0, 6.0], [1.0, 0.0])
    after = table_of([9.0, 2.0], [0.0], [4.0, 7.0, 6.5], [2.0, 1.0])
    assert after.changed_share(before) == 0.5
    assert before.changed_share(before) == 0.0


def test_instances_with_a_score_that_is_not_finite_are_counted():
    nan, inf = float("nan"), float("inf")
    assert table_of([1.0], [2.0, 3.0]).not_finite() == 0
    assert table_of([1.0], [nan, inf], [2.0, -inf]).not_finite() == 2


def test_normalised_scores_are_shares_of_the_positive_attributions():
    scores = normalise(torch.tensor([[1.0, 3.0, 0.0], [2.0, -5.0, 2.0]]), torch.tensor([2, 3]))
    assert scores.tolist() == [[0.25, 0.75, 0.0], [0.5, 0.0, 0.5]]


def test_what_stands_on_padding_does_not_count():
    assert normalise(torch.tensor([[1.0, 3.0, 8.0]]), torch.tensor([2])).tolist() == [[0.25, 0.75, 0.0]]


@pytest.mark.parametrize("raw", [[0.0, 0.0, 0.0, 9.0], [-1.0, -2.0, 0.0, 0.0]])
def test_where_nothing_is_positive_all_items_share_equally(raw):
    scores = normalise(torch.tensor([raw]), torch.tensor([3]))
    assert torch.allclose(scores, torch.tensor([[1 / 3, 1 / 3, 1 / 3, 0.0]]))


def looped_normalise(raw):
    positive = [max(value, 0.0) for value in raw]
    total = sum(positive)
    return [value / total for value in positive] if total > 0 else [1 / len(raw)] * len(raw)


attributions = st.one_of(st.just(0.0), st.floats(-100, 100, width=32, allow_subnormal=False))


@PROPERTY
@given(st.lists(st.lists(attributions, min_size=1, max_size=6), min_size=1, max_size=4))
def test_normalise_equals_its_looped_transcription(rows):
    raw = torch.tensor([row + [0.0] * (6 - len(row)) for row in rows])
    scores = normalise(raw, torch.tensor([len(row) for row in rows]))
    assert torch.allclose(scores.sum(1), torch.ones(len(rows)))
    for found, row in zip(scores.tolist(), rows):
        assert found[: len(row)] == pytest.approx(looped_normalise(row), abs=1e-6)
        assert found[len(row) :] == [0.0] * (6 - len(row))
