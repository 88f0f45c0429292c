"""The losses against direct, looped transcriptions of the paper's formulas."""

import math

import pytest
import torch

from recbole_ec4srec.data import ImportanceTable
from recbole_ec4srec.model.losses import hard_pair_loss, negative_loss, pair_loss, similarity, supervised_loss

GRID = pytest.mark.parametrize(
    ("batch", "dim", "temperature", "sim"),
    [(b, d, t, s) for b in (2, 3, 7) for d in (1, 4, 16) for t in (0.3, 1.0, 2.5) for s in ("dot", "cos")],
)


def vectors(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def looped_sim(a, b, sim):
    dot = sum(x * y for x, y in zip(a, b))
    return dot if sim == "dot" else dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def looped_direction(first, second, sim, tau, target=None):
    """Eq. 3 for every u: its view in ``first`` is pulled to the one in ``second``."""
    first, second = first.tolist(), second.tolist()
    losses = []
    for u in range(len(first)):
        positive = math.exp(looped_sim(first[u], second[u], sim) / tau)
        negatives = 0.0
        for other in range(len(first)):
            if other != u and (target is None or target[other] != target[u]):
                negatives += math.exp(looped_sim(first[u], first[other], sim) / tau)
                negatives += math.exp(looped_sim(first[u], second[other], sim) / tau)
        losses.append(-math.log(positive / (positive + negatives)))
    return losses


def looped_cl(first, second, sim="dot", tau=1.0, target=None):
    """Eq. 3, mean over the batch and both directions."""
    both = looped_direction(first, second, sim, tau, target) + looped_direction(second, first, sim, tau, target)
    return sum(both) / len(both)


def looped_sl(anchor, retrieved, sim="dot", tau=1.0, target=None):
    """Eq. 8: the sum of both directions, mean over the batch."""
    there, back = (
        looped_direction(anchor, retrieved, sim, tau, target),
        looped_direction(retrieved, anchor, sim, tau, target),
    )
    return sum(a + b for a, b in zip(there, back)) / len(there)


def looped_cl_neg(negative, positives, valid, sim="dot", tau=1.0):
    """L_cl- of section 4.4.1, mean over the negative views that take part."""
    negatives = [h for h, takes_part in zip(negative.tolist(), valid) if takes_part]
    positives = positives.tolist()
    losses = []
    for u in range(len(negatives)):
        total = 0.0
        for other in range(len(negatives)):
            if other != u:
                attracted = math.exp(looped_sim(negatives[u], negatives[other], sim) / tau)
                repelled = sum(math.exp(looped_sim(negatives[u], h, sim) / tau) for h in positives)
                total += math.log(attracted / (repelled + attracted))
        losses.append(-total / (len(negatives) - 1))
    return sum(losses) / len(losses)


def looped_several(first, second, sim, tau, target=None, same_target="negative", negative=(), tau_neg=1.0):
    """Beyond the paper, for every view: the mean over its positives of -log of each one's share among all that are not
    left out; ``negative`` are further negatives of every view."""
    first, second, negative, n = first.tolist(), second.tolist(), [h.tolist() for h in negative], len(first)
    views, owner, losses = first + second, [*range(n), *range(n)], []
    for i, h in enumerate(views):
        positives, total = [], sum(math.exp(looped_sim(h, other, sim) / tau_neg) for other in negative)
        for j, other in enumerate(views):
            is_partner = j != i and owner[j] == owner[i]
            alike = target is not None and target[owner[j]] == target[owner[i]]
            if j == i or (alike and same_target == "ignored" and not is_partner):
                continue
            exponential = math.exp(looped_sim(h, other, sim) / tau)
            total += exponential
            if is_partner or (alike and same_target == "positive"):
                positives.append(exponential)
        losses.append(-sum(math.log(positive / total) for positive in positives) / len(positives))
    return sum(losses) / len(losses)


def valid_ones(negative, valid):
    return [h for h, takes_part in zip(negative, valid) if takes_part]


# Each loss against its formula


@GRID
def test_pair_loss_is_eq_3_averaged_over_both_directions(batch, dim, temperature, sim):
    first, second = vectors(1, batch, dim), vectors(2, batch, dim)
    expected = looped_cl(first, second, sim, temperature)
    assert pair_loss(first, second, sim, temperature).item() == pytest.approx(expected, rel=1e-9)


@GRID
def test_supervised_loss_is_eq_8(batch, dim, temperature, sim):
    anchor, retrieved = vectors(3, batch, dim), vectors(4, batch, dim)
    expected = looped_sl(anchor, retrieved, sim, temperature)
    assert supervised_loss(anchor, retrieved, sim, temperature).item() == pytest.approx(expected, rel=1e-9)


@GRID
def test_negative_loss_is_the_formula_of_section_4_4_1(batch, dim, temperature, sim):
    negative, positives = vectors(5, batch, dim), vectors(6, 2 * batch, dim)
    valid = torch.ones(batch, dtype=torch.bool)
    expected = looped_cl_neg(negative, positives, valid, sim, temperature)
    assert negative_loss(negative, positives, valid, sim, temperature).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("sim", ["dot", "cos"])
@pytest.mark.parametrize("targets", [[1, 2, 3, 4, 5], [1, 1, 2, 3, 2], [1, 1, 1, 1, 2]])
def test_equal_targets_are_no_negatives_of_each_other_where_they_are_given(targets, sim):
    first, second, target = vectors(7, 5, 4), vectors(8, 5, 4), torch.tensor(targets)
    masked = pair_loss(first, second, sim, 0.8, target).item()
    assert masked == pytest.approx(looped_cl(first, second, sim, 0.8, targets), rel=1e-9)
    masked = supervised_loss(first, second, sim, 0.8, target).item()
    assert masked == pytest.approx(looped_sl(first, second, sim, 0.8, targets), rel=1e-9)


TARGETS = pytest.mark.parametrize("targets", [[1, 2, 3, 4, 5], [1, 1, 2, 3, 2], [1, 1, 1, 1, 2], [1, 1, 1, 1, 1]])


@pytest.mark.parametrize("sim", ["dot", "cos"])
@TARGETS
def test_equal_targets_are_positives_of_each_other_with_equal_shares(targets, sim):
    first, second, target = vectors(7, 5, 4), vectors(8, 5, 4), torch.tensor(targets)
    expected = looped_several(first, second, sim, 0.8, targets, "positive")
    assert pair_loss(first, second, sim, 0.8, target, "positive").item() == pytest.approx(expected, rel=1e-9)
    both = supervised_loss(first, second, sim, 0.8, target, "positive").item()
    assert both == pytest.approx(2 * expected, rel=1e-9)


@pytest.mark.parametrize("valid", [[1, 0, 0, 1, 1], [1, 1, 1, 1, 1], [0, 1, 0, 0, 0]])
@pytest.mark.parametrize("same_target", ["negative", "ignored", "positive"])
@pytest.mark.parametrize("sim", ["dot", "cos"])
@TARGETS
def test_hard_pair_loss_has_all_valid_negative_views_in_its_denominator(targets, sim, same_target, valid):
    first, second, negative = vectors(7, 5, 4), vectors(8, 5, 4), vectors(9, 5, 4)
    expected = looped_several(first, second, sim, 0.8, targets, same_target, valid_ones(negative, valid), 0.3)
    target = None if same_target == "negative" else torch.tensor(targets)
    loss = hard_pair_loss(first, second, negative, torch.tensor(valid) > 0, sim, 0.8, 0.3, target, same_target)
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_hard_pair_loss_by_hand():
    # Two orthogonal instances, each with its negative view opposite to it: log((e + 2 + e^-2 + 1) / e), tau_neg 0.5.
    views = torch.eye(2)
    loss = hard_pair_loss(views, views, -views, torch.ones(2) > 0, temperature_negative=0.5)
    assert loss.item() == pytest.approx(math.log((math.e + 3 + math.exp(-2)) / math.e))


def test_without_valid_negative_views_hard_pair_loss_is_pair_loss_and_they_get_no_gradient():
    first, second, negative = vectors(7, 5, 4), vectors(8, 5, 4), vectors(9, 5, 4).requires_grad_()
    loss = hard_pair_loss(first, second, negative, torch.zeros(5) > 0)
    loss.backward()
    assert loss.item() == pytest.approx(pair_loss(first, second).item(), rel=1e-12)
    assert negative.grad.abs().sum() == 0


def test_different_targets_change_nothing():
    first, second = vectors(7, 5, 4), vectors(8, 5, 4)
    positive = pair_loss(first, second, target=torch.arange(5), same_target="positive")
    assert positive.item() == pytest.approx(pair_loss(first, second).item(), rel=1e-12)
    assert pair_loss(first, second, target=torch.arange(5)).item() == pair_loss(first, second).item()


def test_with_one_target_in_the_batch_nothing_is_left_to_push_away():
    assert pair_loss(vectors(1, 4, 3), vectors(2, 4, 3), target=torch.ones(4)).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("valid", [[1, 1, 0, 0, 0], [0, 1, 0, 1, 1], [1, 1, 1, 1, 1]])
def test_negative_loss_is_over_the_views_that_take_part_and_all_positive_views(valid):
    negative, positives, valid = vectors(9, 5, 4), vectors(10, 10, 4), torch.tensor(valid, dtype=torch.bool)
    expected = looped_cl_neg(negative, positives, valid, "dot", 1.5)
    assert negative_loss(negative, positives, valid, "dot", 1.5).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("valid", [[0, 0, 0], [0, 1, 0]])
def test_negative_loss_of_fewer_than_two_views_is_0_and_has_no_gradient(valid):
    negative, positives = vectors(9, 3, 4).requires_grad_(), vectors(10, 6, 4).requires_grad_()
    loss = negative_loss(negative, positives, torch.tensor(valid, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert negative.grad.abs().sum() == 0 and positives.grad.abs().sum() == 0


def test_a_negative_view_that_takes_no_part_gets_no_gradient():
    negative, positives = vectors(9, 3, 4).requires_grad_(), vectors(10, 6, 4)
    negative_loss(negative, positives, torch.tensor([True, False, True])).backward()
    assert negative.grad[1].abs().sum() == 0
    assert (negative.grad[[0, 2]].abs().sum(1) > 0).all()


# By hand


def test_pair_loss_of_two_orthogonal_users():
    # Each view has its partner at similarity 1 and the two views of the other user at 0.
    views = torch.eye(2)
    assert pair_loss(views, views).item() == pytest.approx(-math.log(math.e / (math.e + 2)))
    assert pair_loss(views, views, temperature=0.5).item() == pytest.approx(-math.log(math.e**2 / (math.e**2 + 2)))
    assert supervised_loss(views, views).item() == pytest.approx(-2 * math.log(math.e / (math.e + 2)))


def test_negative_loss_of_two_equal_negative_views_orthogonal_to_one_positive_view():
    loss = negative_loss(torch.tensor([[1.0, 0.0]] * 2), torch.tensor([[0.0, 1.0]]), torch.ones(2, dtype=torch.bool))
    assert loss.item() == pytest.approx(-math.log(math.e / (math.e + 1)))


def test_similarity_is_an_inner_product_or_a_cosine():
    a, b = torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, 0.0], [0.0, 0.5]])
    assert similarity(a, b).tolist() == [[6.0, 2.0]]
    assert similarity(a, b, temperature=2.0).tolist() == [[3.0, 1.0]]
    assert similarity(a, b, "cos")[0].tolist() == pytest.approx([0.6, 0.8])


# Properties


@pytest.mark.parametrize("sim", ["dot", "cos"])
@pytest.mark.parametrize("loss", [pair_loss, supervised_loss])
def test_the_order_of_the_views_and_of_the_batch_does_not_matter(loss, sim):
    first, second, order = vectors(1, 6, 4), vectors(2, 6, 4), torch.tensor([3, 0, 5, 1, 4, 2])
    value = loss(first, second, sim).item()
    assert loss(second, first, sim).item() == pytest.approx(value, rel=1e-12)
    assert loss(first[order], second[order], sim).item() == pytest.approx(value, rel=1e-12)


def test_the_order_of_negative_and_positive_views_does_not_matter():
    negative, positives, valid = vectors(1, 4, 3), vectors(2, 8, 3), torch.tensor([True, True, False, True])
    order = torch.tensor([2, 0, 3, 1])
    shuffled = negative_loss(negative[order], positives.flip(0), valid[order])
    assert shuffled.item() == pytest.approx(negative_loss(negative, positives, valid).item(), rel=1e-12)


def test_cosine_does_not_see_the_length_of_a_representation():
    first, second = vectors(1, 4, 3), vectors(2, 4, 3)
    assert pair_loss(5 * first, 0.1 * second, "cos").item() == pytest.approx(pair_loss(first, second, "cos").item())


def test_a_batch_of_one_has_nothing_to_contrast():
    one = vectors(1, 1, 4)
    assert pair_loss(one, 2 * one).item() == 0
    assert supervised_loss(one, 2 * one).item() == 0
    assert negative_loss(one, torch.cat([one, one]), torch.tensor([True])).item() == 0


@pytest.mark.parametrize("sim", ["dot", "cos"])
def test_gradients_are_those_of_finite_differences(sim):
    first, second = vectors(1, 4, 3).requires_grad_(), vectors(2, 4, 3).requires_grad_()
    positives, target = vectors(3, 8, 3).requires_grad_(), torch.tensor([1, 2, 1, 3])
    valid = torch.tensor([True, False, True, True])
    assert torch.autograd.gradcheck(lambda a, b: pair_loss(a, b, sim, 0.7), (first, second))
    assert torch.autograd.gradcheck(lambda a, b: supervised_loss(a, b, sim, 0.7, target), (first, second))
    assert torch.autograd.gradcheck(lambda n, p: negative_loss(n, p, valid, sim, 0.7), (first, positives))
    negative = vectors(4, 4, 3).requires_grad_()
    for same_target in ("ignored", "positive"):
        assert torch.autograd.gradcheck(
            lambda *given, what=same_target: hard_pair_loss(*given, valid, sim, 0.7, 0.4, target, what),
            (first, second, negative),
        )


@pytest.mark.parametrize("target", [None, torch.tensor([1, 1, 2, 3, 3])])
def test_large_representations_neither_overflow_nor_spoil_gradients(target):
    first, second = (1e4 * vectors(s, 5, 4).float() for s in (1, 2))
    positives, valid = 1e4 * vectors(3, 10, 4).float(), torch.tensor([True, True, True, False, False])
    views = [first.requires_grad_(), second.requires_grad_(), positives.requires_grad_()]
    loss = (
        pair_loss(first, second, target=target)
        + supervised_loss(first, second, target=target)
        + negative_loss(first, positives, valid)
        + hard_pair_loss(first, second, positives[:5], valid, target=target, same_target="positive")
    )
    loss.backward()
    assert loss.isfinite() and loss > 0
    assert all(view.grad.isfinite().all() for view in views)


# What a model makes of a batch: Eq. 2, the warm-up's loss and Eq. 9

PARTS = {
    "EC4SRec": (("rec", "cl", "sl"), ("rec", "cl_pos", "cl_neg", "sl_pos")),
    "EC4SRecSSL": (("rec", "cl", "sl"), ("rec", "cl_pos", "cl_neg")),
    "EC4SRecSL": (("rec", "cl", "sl"), ("rec", "sl_pos")),
    "CL4SRec": (("rec", "cl"), None),
    "DuoRec": (("rec", "sl"), None),
}
WEIGHTS = {"lambda": 0.3, "lambda_cl_pos": 0.7, "lambda_cl_neg": 0.2, "lambda_sl_pos": 0.4}
VARIANT = {"EC4SRecSSL": ["lambda_sl_pos"], "EC4SRecSL": ["lambda_cl_pos", "lambda_cl_neg"]}
PHASES = [(model, guided) for model, parts in PARTS.items() for guided in (False, True) if parts[guided]]


def settings_of(model, **settings):
    weights = {key: value for key, value in WEIGHTS.items() if key not in VARIANT.get(model, [])}
    return {**weights, "tau": 0.5, "tau_cl": 0.8, **settings}


def guide(e):
    """Leave the warm-up, with made-up importance."""
    lengths = e.train_data._dataset.item_seq_len
    table = ImportanceTable(lengths, 8)
    scores = torch.randn(len(lengths), 8, generator=torch.Generator().manual_seed(5))
    table.set_rows(torch.arange(len(lengths)), scores)
    e.train_data.set_importance(table)


def batch_of(e, guided):
    if guided:
        guide(e)
    return next(iter(e.train_data)).with_views()


def encode(e, batch, view=""):
    return e.model.backbone(batch[f"{view}item_id_list"], batch[f"{view}item_length"]).double()


def looped_rec(e, batch):
    """Eq. 2 over RecBole's item ids 0 … n_items - 1, mean over the batch."""
    table = e.model.backbone.model.item_embedding.weight.double().tolist()
    losses = []
    for h, target in zip(encode(e, batch).tolist(), batch["item_id"].tolist()):
        scores = [math.exp(looped_sim(h, table[item], "dot")) for item in range(e.dataset.item_num)]
        losses.append(-math.log(scores[target] / sum(scores)))
    return sum(losses) / len(losses)


def looped_parts(e, batch, sim):
    """The weighted parts by name, from the batch's views."""
    tau, tau_cl = e.config["tau"], e.config["tau_cl"]
    target = batch["item_id"].tolist() if e.config["same_target"] == "ignored" else None
    parts = {"rec": looped_rec(e, batch)}
    if "cl_1_item_id_list" in batch:
        cl = looped_cl(encode(e, batch, "cl_1_"), encode(e, batch, "cl_2_"), sim, tau_cl, target)
        parts["cl"] = WEIGHTS["lambda"] * cl
    if "cl_pos_1_item_id_list" in batch:
        first, second = encode(e, batch, "cl_pos_1_"), encode(e, batch, "cl_pos_2_")
        parts["cl_pos"] = WEIGHTS["lambda_cl_pos"] * looped_cl(first, second, sim, tau_cl, target)
        parts["cl_neg"] = WEIGHTS["lambda_cl_neg"] * looped_cl_neg(
            encode(e, batch, "cl_neg_"), torch.cat([first, second]), batch["cl_neg_valid"], sim, tau_cl
        )
    for view, weight in (("sl", "lambda"), ("sl_pos", "lambda_sl_pos")):
        if f"{view}_item_id_list" in batch:
            sl = looped_sl(encode(e, batch), encode(e, batch, f"{view}_"), sim, tau, target)
            parts[view] = WEIGHTS[weight] * sl
    return parts


def check_parts(e, batch, names, sim="dot"):
    e.model.eval()
    with torch.no_grad():
        losses = e.model.calculate_loss(batch)
        expected = looped_parts(e, batch, sim)
    assert losses.names == names
    assert set(expected) == set(names)
    assert [loss.item() for loss in losses] == pytest.approx([expected[name] for name in names], rel=1e-4)


@pytest.mark.parametrize(("model", "guided"), PHASES)
def test_the_parts_of_a_models_loss_are_weights_times_losses(experiment, model, guided):
    e = experiment(model, **settings_of(model))
    check_parts(e, batch_of(e, guided), PARTS[model][guided])


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize(
    "option", [{"sim": "cos"}, {"same_target": "ignored"}, {"mask_same_target": True}, {"backbone": "GRU4Rec"}]
)
def test_the_parts_follow_their_options(experiment, option, guided):
    e = experiment("EC4SRec", **settings_of("EC4SRec", **option))
    check_parts(e, batch_of(e, guided), PARTS["EC4SRec"][guided], option.get("sim", "dot"))


@pytest.mark.parametrize("train_on", ["prefixes", "sequences"])
@pytest.mark.parametrize("same_target", ["negative", "positive"])
def test_with_hard_negatives_there_is_one_more_term_and_no_cl_neg(experiment, same_target, train_on):
    options = {"guided_negatives": "hard", "tau_neg": 0.4, "same_target": same_target, "train_on": train_on}
    e = experiment("EC4SRec", **settings_of("EC4SRec", **options))
    assert tuple(e.model.weights[False]) == ("cl", "sl")
    batch = batch_of(e, True)
    e.model.eval()
    with torch.no_grad():
        losses = e.model.calculate_loss(batch)
        first, second, negative = (encode(e, batch, f"{view}_") for view in ("cl_pos_1", "cl_pos_2", "cl_neg"))
        targets = batch["item_id"].tolist()
        further = valid_ones(negative, batch["cl_neg_valid"])
        pair = looped_several(first, second, "dot", 0.8, targets, same_target, further, 0.4)
        supervised = looped_several(encode(e, batch), encode(e, batch, "sl_pos_"), "dot", 0.5, targets, same_target)
    assert len(set(targets)) < len(targets)
    assert losses.names == ("rec", "cl_pos_hard", "sl_pos")
    expected = [WEIGHTS["lambda_cl_pos"] * pair, WEIGHTS["lambda_sl_pos"] * 2 * supervised]
    assert [loss.item() for loss in losses[1:]] == pytest.approx(expected, rel=1e-4)


def test_recommendation_loss_is_the_softmax_over_all_items_without_the_mask_item(experiment):
    e = experiment("EC4SRec", **{"lambda": 0})
    batch = batch_of(e, False)
    e.model.eval()
    with torch.no_grad():
        # Eq. 2 would notice the mask item: its embedding is made much larger than any other.
        e.model.backbone.model.item_embedding.weight[e.dataset.item_num] = 50.0
        (loss,) = e.model.calculate_loss(batch)
        assert loss.item() == pytest.approx(looped_rec(e, batch), rel=1e-5)


def test_with_bpr_the_recommendation_loss_is_over_one_sampled_negative_item(experiment):
    negative = {"distribution": "uniform", "sample_num": 1}
    e = experiment("EC4SRec", loss_type="BPR", train_neg_sample_args=negative, **{"lambda": 0})
    batch = batch_of(e, False)
    e.model.eval()
    with torch.no_grad():
        (loss,) = e.model.calculate_loss(batch)
        table = e.model.backbone.model.item_embedding.weight.double()
        h = encode(e, batch)
    gaps = [(h[u] @ (table[batch["item_id"][u]] - table[batch["neg_item_id"][u]])).item() for u in range(len(h))]
    expected = -sum(math.log(1 / (1 + math.exp(-gap))) for gap in gaps) / len(gaps)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_second_pass_gives_the_supervised_loss_another_dropout_mask(experiment):
    e = experiment("DuoRec", hidden_dropout_prob=0.5)
    batch = batch_of(e, False)

    def losses(second_pass):
        e.model.second_pass = second_pass
        torch.manual_seed(3)
        return [loss.item() for loss in e.model.calculate_loss(batch)]

    e.model.eval()
    assert losses(True) == pytest.approx(losses(False), rel=1e-5)
    e.model.train()
    assert losses(True)[0] == losses(False)[0]
    assert losses(True)[1] != pytest.approx(losses(False)[1], rel=1e-5)


def test_every_parameter_gets_a_finite_gradient_in_both_phases(experiment):
    e = experiment("EC4SRec")
    for guided in (False, True):
        e.model.zero_grad()
        sum(e.model.calculate_loss(batch_of(e, guided))).backward()
        gradients = [parameter.grad for parameter in e.model.parameters()]
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
        assert e.model.backbone.model.item_embedding.weight.grad[e.model.mask_id].abs().sum() > 0
