"""Encoding in groups of similar length: nothing lost, nothing changed, at least cost."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.model.sequential_recommender import GRU4Rec, SASRec

from recbole_ec4srec.encoder import grouping
from recbole_ec4srec.encoder.grouping import group_bounds

PROPERTY = settings(max_examples=150, deadline=None, derandomize=True, database=None)
lengths_of = st.lists(st.integers(1, 300), min_size=1, max_size=8)


def cost(groups):
    """The cost model: attention adds to every token, and every group costs something to start."""
    return sum(
        (end - start) * width * (1 + width * grouping.ATTENTION_COST) + grouping.GROUP_COST
        for start, end, width in groups
    )


def looped_cheapest(lengths):
    """The least cost over all ways to cut the sorted sequences."""
    lengths = sorted(lengths)
    costs = []
    for n_cuts in range(len(lengths)):
        for cuts in combinations(range(1, len(lengths)), n_cuts):
            bounds = [0, *cuts, len(lengths)]
            costs.append(cost([(a, b, lengths[b - 1]) for a, b in zip(bounds, bounds[1:])]))
    return min(costs)


@PROPERTY
@given(lengths_of)
def test_groups_hold_every_sequence_once_and_are_as_wide_as_their_longest(lengths):
    groups = group_bounds(np.array(lengths))
    ordered = sorted(lengths)
    assert [row for start, end, _ in groups for row in range(start, end)] == list(range(len(lengths)))
    assert all(width == ordered[end - 1] for _, end, width in groups)


@PROPERTY
@given(lengths_of)
def test_no_other_cut_is_cheaper(lengths):
    assert cost(group_bounds(np.array(lengths))) == pytest.approx(looped_cheapest(lengths))


def test_no_other_cut_of_short_sequences_is_cheaper_where_groups_cost_little(monkeypatch):
    monkeypatch.setattr(grouping, "GROUP_COST", 4)
    rng = np.random.default_rng(3)
    for _ in range(60):
        lengths = rng.integers(1, 13, rng.integers(1, 9))
        assert cost(group_bounds(lengths)) == pytest.approx(looped_cheapest(lengths.tolist()))


def test_one_length_is_one_group():
    assert group_bounds(np.array([7] * 5)) == [(0, 5, 7)]


def test_a_few_short_sequences_are_not_worth_a_group_of_their_own():
    assert group_bounds(np.array([3, 2, 4, 2])) == [(0, 4, 4)]


def test_many_short_sequences_are():
    assert group_bounds(np.array([50, 2] * 100)) == [(0, 100, 2), (100, 200, 50)]


def a_batch(n_items, lengths, width=8):
    generator = torch.Generator().manual_seed(2)
    lengths = torch.tensor(lengths)
    # The mask item, id n_items, is an item like any other to the encoder.
    item_seq = torch.randint(1, n_items + 1, (len(lengths), width), generator=generator)
    return item_seq * (torch.arange(width) < lengths.unsqueeze(1)), lengths


# STAMP is not known to be indifferent to padding and has to be left as it is.
@pytest.mark.parametrize("backbone", ["SASRec", "GRU4Rec", "STAMP"])
@pytest.mark.parametrize("group_cost", [0, 400])
def test_encoding_in_groups_equals_encoding_as_padded(experiment, monkeypatch, backbone, group_cost):
    # At no cost every length becomes a group.
    monkeypatch.setattr(grouping, "GROUP_COST", group_cost)
    model = experiment(backbone=backbone).model.eval()
    for lengths in ([3, 8, 1, 3, 7, 1, 5], [1, 1, 1], [8, 8], [4], [8, 7, 6, 5, 4, 3, 2, 1]):
        item_seq, item_seq_len = a_batch(model.n_items, lengths)
        with torch.no_grad():
            padded = model.backbone(item_seq, item_seq_len)
            grouped = model.backbone.encode(item_seq, item_seq_len)
            with_lengths = model.backbone.encode(item_seq, item_seq_len, item_seq_len.numpy())
            embedding = model.backbone.embed(item_seq)
            embedded = model.backbone.encode(item_seq, item_seq_len, item_embedding=embedding)
        assert torch.allclose(grouped, padded, atol=1e-5)
        assert torch.allclose(with_lengths, padded, atol=1e-5)
        assert torch.allclose(embedded, padded, atol=1e-5)


@pytest.mark.parametrize("theirs", [SASRec, GRU4Rec])
def test_the_encoding_is_that_of_recboles_own_model(experiment, theirs):
    e = experiment(backbone=theirs.__name__)
    weights = e.model.backbone.model.state_dict()
    weights["item_embedding.weight"] = weights["item_embedding.weight"][: e.model.n_items]
    recbole = theirs(e.config, e.dataset).eval()
    recbole.load_state_dict(weights)
    item_seq, item_seq_len = a_batch(e.model.n_items - 1, [3, 8, 1, 3, 7, 1, 5])
    with torch.no_grad():
        encoded = e.model.eval().backbone.encode(item_seq, item_seq_len)
        assert torch.allclose(encoded, recbole(item_seq, item_seq_len), atol=1e-5)


@pytest.mark.parametrize("backbone", ["SASRec", "GRU4Rec"])
def test_encoding_in_groups_gives_the_gradients_of_encoding_as_padded(experiment, monkeypatch, backbone):
    monkeypatch.setattr(grouping, "GROUP_COST", 0)
    model = experiment(backbone=backbone).model.eval()
    item_seq, item_seq_len = a_batch(model.n_items, [3, 8, 1, 3, 7, 1, 5])
    gradients = []
    for encode in (model.backbone, model.backbone.encode):
        model.zero_grad()
        encode(item_seq, item_seq_len).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    assert all(torch.allclose(padded, grouped, atol=1e-4) for padded, grouped in zip(*gradients))
