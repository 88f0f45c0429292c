"""Deletion, insertion, comprehensiveness and sufficiency against a loop over sequences, items and shares."""

import math

import pytest
import torch
from torch import nn

from recbole_ec4srec.explain import build_explainer
from recbole_ec4srec.explain.faithfulness import ERASER_SHARES, SHARES, Faithfulness, measure


@pytest.fixture(params=["SASRec", "Caser"])
def setup(request, experiment):
    """``(explainer, item_seq, item_seq_len, user)`` of a model with weights far from their initial values."""
    built = experiment(backbone=request.param)
    torch.manual_seed(1)
    for name, parameter in built.model.named_parameters():
        nn.init.normal_(parameter, std=0.1 if "conv" in name else 0.3)
    lengths = torch.tensor([1, 3, 8, 5, 7])
    item_seq = torch.randint(1, 40, (5, 8)) * (torch.arange(8) < lengths.unsqueeze(1))
    return build_explainer(built.config, built.model, "occlusion"), item_seq, lengths, torch.arange(1, 6)


@torch.no_grad()
def looped(explainer, importance, item_seq, lengths, users):
    """The two curves, sequence by sequence."""
    backbone = explainer.model.eval().backbone
    curves = {"deletion": [], "insertion": []}
    for share in SHARES:
        relative = {"deletion": [], "insertion": []}
        for seq, n, scores, user in zip(item_seq, lengths.tolist(), importance, users):
            one = seq.unsqueeze(0), torch.tensor([n]), user.unsqueeze(0)
            embedding = backbone.embed(one[0])

            def probabilities(embedding, one=one):
                return backbone.score_all(backbone(one[0], one[1], embedding, one[2]))[0, 1:].softmax(0)

            whole = probabilities(embedding)
            item = whole.argmax()
            most = sorted(range(n), key=lambda i: -scores[i])[: math.ceil(round(share * n, 6))]
            for side in relative:
                changed = torch.zeros_like(embedding) if side == "insertion" else embedding.clone()
                for i in most:
                    changed[0, i] = embedding[0, i] if side == "insertion" else 0
                changed[0, n:] = embedding[0, n:]  # padding stays as it is
                relative[side].append((probabilities(changed)[item] / whole[item]).item())
        for side, values in relative.items():
            curves[side].append(sum(values) / len(values))
    return curves


def test_the_curves_are_those_of_the_loop(setup):
    explainer, *sequences = setup
    importance = torch.rand(sequences[0].shape, generator=torch.Generator().manual_seed(2))
    measured, expected = measure(explainer, importance, *sequences), looped(explainer, importance, *sequences)
    assert torch.allclose(measured.deletion, torch.tensor(expected["deletion"]), rtol=1e-3)
    assert torch.allclose(measured.insertion, torch.tensor(expected["insertion"]), rtol=1e-3)
    at = [SHARES.index(share) for share in ERASER_SHARES]
    assert measured.comprehensiveness == pytest.approx(sum(1 - expected["deletion"][i] for i in at) / len(at), rel=1e-3)
    assert measured.sufficiency == pytest.approx(sum(1 - expected["insertion"][i] for i in at) / len(at), rel=1e-3)


def test_nothing_taken_away_and_everything_left_is_the_whole(setup):
    explainer, *sequences = setup
    measured = measure(explainer, torch.rand(sequences[0].shape), *sequences)
    assert measured.deletion[0] == pytest.approx(1, abs=1e-5)
    assert measured.insertion[-1] == pytest.approx(1, abs=1e-5)
    assert measured.deletion[-1] == pytest.approx(measured.insertion[0].item(), rel=1e-5)


def test_areas_are_by_trapezoids():
    flat, falling = torch.ones(11), torch.linspace(1, 0, 11)
    measured = Faithfulness(deletion=falling, insertion=flat, comprehensiveness=0, sufficiency=0)
    assert measured.deletion_area == pytest.approx(0.5)
    assert measured.insertion_area == pytest.approx(1)


def test_which_of_equal_items_goes_first_is_drawn_but_repeated(setup):
    explainer, *sequences = setup
    equal = torch.zeros(sequences[0].shape)
    first, second = (measure(explainer, equal, *sequences) for _ in range(2))
    assert torch.equal(first.deletion, second.deletion)
    in_order = measure(explainer, -torch.arange(8.0).expand_as(equal), *sequences)
    assert not torch.allclose(first.deletion, in_order.deletion)
