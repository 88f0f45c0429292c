"""What a model loses without the order of test histories, and without all of them but the last item."""

import numpy as np
import pytest
import torch

from recbole_ec4srec.experiments.shuffle import last_alone, shuffled


@pytest.fixture
def test_part(experiment):
    """The test instances, whose histories are longer than their windows."""
    return experiment(MAX_ITEM_LIST_LENGTH=5).test_data._dataset


def test_shuffled_histories_keep_their_last_item_and_all_their_items(test_part):
    rows = torch.arange(len(test_part))
    before, lengths = test_part.item_sequences(rows)
    orders = set()
    for seed in range(200):
        after, lengths_after = shuffled(test_part, np.random.default_rng(seed)).item_sequences(rows)
        assert torch.equal(lengths, lengths_after)
        for old, new, n in zip(before.tolist(), after.tolist(), lengths.tolist()):
            assert new[n - 1 :] == old[n - 1 :] and sorted(new) == sorted(old)
        orders.add(tuple(after[0].tolist()))
    assert len(orders) == 24  # of the four items before the last one
    assert torch.equal(test_part.item_sequences(rows)[0], before)


def test_the_last_item_alone(test_part):
    rows = torch.arange(len(test_part))
    before, lengths = test_part.item_sequences(rows)
    after, ones = last_alone(test_part).item_sequences(rows)
    assert ones.tolist() == [1] * len(rows)
    assert after[:, 0].tolist() == [row[n - 1] for row, n in zip(before.tolist(), lengths.tolist())]
    assert not after[:, 1:].any()
    assert torch.equal(test_part.item_sequences(rows)[0], before)
