"""``train_on: sequences``: the losses and gradients of prefixes, of one pass over each sequence."""

import pytest
import torch
import torch.nn.functional as F
from conftest import OUR_MODELS
from recbole.quick_start import quick_start

from recbole_ec4srec.config.objective import views_of
from recbole_ec4srec.data.dataloader import SequencesTrainDataLoader
from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.model.losses import negative_loss, pair_loss, supervised_loss
from recbole_ec4srec.training.sequences import learning_all_prefixes

SEQUENCES = {"train_on": "sequences"}
#: Nothing is cut, so that windows and instances hold the same items.
WHOLE = {"MAX_ITEM_LIST_LENGTH": 50, "train_batch_size": 2000}


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def with_weights_of(other, e):
    e.model.load_state_dict(other.model.state_dict())
    e.model.eval()
    other.model.eval()
    return e


@pytest.mark.parametrize("backbone", ["SASRec", "GRU4Rec"])
def test_the_recommendation_loss_and_its_gradients_are_those_of_all_prefixes(experiment, backbone):
    one_by_one = experiment("EC4SRec", backbone=backbone, warmup=[], **WHOLE)
    e = with_weights_of(one_by_one, experiment("EC4SRec", backbone=backbone, warmup=[], **WHOLE, **SEQUENCES))
    (prefixes,), (users,) = list(one_by_one.train_data), list(e.train_data)
    expected, loss = one_by_one.model.calculate_loss(prefixes)[0], e.model.calculate_loss(users)[0]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    theirs, ours = gradients(one_by_one.model, expected), gradients(e.model, loss)
    assert ours.keys() == theirs.keys()
    largest = max(gradient.abs().max().item() for gradient in theirs.values())
    for name in ours:
        assert torch.allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-5 * largest), name


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec"])
def test_so_are_those_of_recboles_own_models(experiment, model):
    settings = {"loss_type": "CE", "train_neg_sample_args": None, **WHOLE}
    one_by_one = experiment(model, **settings)
    e = experiment(model, **settings, **SEQUENCES)
    assert type(e.train_data) is SequencesTrainDataLoader
    with_weights_of(one_by_one, e)
    (prefixes,), (users,) = list(one_by_one.train_data), list(e.train_data)
    with learning_all_prefixes(e.model):
        expected, loss = one_by_one.model.calculate_loss(prefixes), e.model.calculate_loss(users)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    theirs, ours = gradients(one_by_one.model, expected), gradients(e.model, loss)
    largest = max(gradient.abs().max().item() for gradient in theirs.values())
    for name in ours:
        assert torch.allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-5 * largest), name


def looped(e, batch):
    """The parts of the loss, of sequences that are encoded one by one."""

    def encode(item_seq, lengths):
        return torch.cat(
            [e.model.forward(item_seq[[row], :n], lengths[[row]]) for row, n in enumerate(lengths.tolist())]
        )

    def view(name):
        return encode(batch[f"{name}_item_id_list"], batch[f"{name}_item_length"])

    config = e.config
    windows, lengths = batch["window_item_id_list"], batch["window_item_length"]
    prefixes = [windows[[row], : n + 1] for row in range(len(windows)) for n in range(lengths[row])]
    states = torch.cat([e.model.forward(prefix, torch.tensor([prefix.shape[1]])) for prefix in prefixes])
    scores = e.model.backbone.score_all(states)
    parts = {"rec": F.cross_entropy(scores, batch["window_item_id"])}
    anchor = encode(batch["item_id_list"], batch["item_length"])
    sim, tau, tau_cl = config["sim"], config["tau"], config["tau_cl"]
    for name, weight in e.model.weights[batch.guided].items():
        if name in ("cl", "cl_pos"):
            loss = pair_loss(view(f"{name}_1"), view(f"{name}_2"), sim, tau_cl)
        elif name == "cl_neg":
            positives = torch.cat([view("cl_pos_1"), view("cl_pos_2")])
            loss = negative_loss(view("cl_neg"), positives, batch["cl_neg_valid"], sim, tau_cl)
        else:
            loss = supervised_loss(anchor, view(name), sim, tau)
        parts[name] = weight * loss
    return parts


@pytest.mark.parametrize("backbone", ["SASRec", "GRU4Rec"])
@pytest.mark.parametrize("model", OUR_MODELS)
def test_all_parts_of_the_loss_equal_a_loop_over_prefixes(experiment, model, backbone):
    e = experiment(model, backbone=backbone, MAX_ITEM_LIST_LENGTH=5, train_batch_size=24, **SEQUENCES)
    e.model.eval()
    phases = [False, True] if e.trainer.update_epochs else [False]
    for guided in phases:
        if guided:
            e.trainer.update_importance(e.train_data)
        batch = next(iter(e.train_data)).with_views()
        assert batch.guided is guided and set(views_of(e.model.weights[guided]))
        losses, expected = e.model.calculate_loss(batch), looped(e, batch)
        assert losses.names == tuple(expected)
        assert [loss.item() for loss in losses] == pytest.approx([loss.item() for loss in expected.values()], rel=1e-5)


@pytest.mark.parametrize("backbone", ["SASRec", "GRU4Rec"])
@pytest.mark.parametrize("target", ["predicted", "next", "max"])
def test_importance_is_that_of_the_windows_that_training_sees(experiment, backbone, target):
    e = experiment("EC4SRec", backbone=backbone, explain_target=target, MAX_ITEM_LIST_LENGTH=4, **SEQUENCES)
    assert e.model.backbone.shares_prefixes
    e.model.eval()
    table = e.trainer.explainer.table(e.train_data._dataset, torch.device("cpu"))
    rows = torch.arange(len(table))
    item_seq, lengths, next_item, user = e.train_data._dataset.instances(rows)
    expected = e.trainer.explainer.attribute(item_seq, lengths, next_item, user)
    assert torch.allclose(table.rows(rows), expected, atol=1e-5)


@pytest.mark.parametrize("backbone", ["BERT4Rec", "Caser"])
def test_a_backbone_in_which_items_see_later_ones_is_refused(experiment, backbone):
    with pytest.raises(ConfigError, match=f"train_on: got 'sequences', allowed is prefixes with {backbone}"):
        experiment("EC4SRec", backbone=backbone, **SEQUENCES)


def test_so_is_a_model_of_recboles(experiment):
    e = experiment("STAMP", loss_type="CE", train_neg_sample_args=None, **SEQUENCES)
    with pytest.raises(ConfigError, match="train_on: got 'sequences', allowed is prefixes with STAMP"):
        e.fit()


@pytest.mark.parametrize(
    ("model", "settings", "told"),
    [
        ("SASRec", {"loss_type": "BPR"}, "loss_type: got 'BPR', allowed is CE with train_on: sequences"),
        ("BPR", {}, "train_on: got 'sequences', allowed is prefixes"),
        ("EC4SRec", {"train_on": "users"}, "train_on: got 'users', allowed is one of prefixes, sequences"),
    ],
)
def test_what_it_cannot_do_is_refused_before_data_is_read(make_config, model, settings, told):
    with pytest.raises(ConfigError, match=told):
        make_config(model, **{**SEQUENCES, **settings})


def test_a_model_of_recboles_can_be_trained_again(experiment):
    e = experiment("SASRec", loss_type="CE", train_neg_sample_args=None, **SEQUENCES)
    e.fit(saved=False)
    e.fit(saved=False)
    assert "calculate_loss" not in vars(e.model)


def test_a_model_of_recboles_is_loaded_with_its_data(experiment):
    e = experiment("SASRec", loss_type="CE", train_neg_sample_args=None, **SEQUENCES)
    e.fit()
    _, model, _, train_data, _, test_data = quick_start.load_data_and_model(e.trainer.saved_model_file)
    assert isinstance(train_data, SequencesTrainDataLoader)
    assert model.calculate_loss(next(iter(test_data))[0]).isfinite()
