"""The tables of loss terms and operators: what is in them takes part by its key, a user's own too."""

from unittest.mock import patch

import pytest
import torch

from recbole_ec4srec import ConfigError, LossTerm, Operator, register_loss, register_operator
from recbole_ec4srec.config.keys import KEYS
from recbole_ec4srec.config.objective import ADDED_DEFAULTS, LOSSES, OPERATORS, VIEWS, operator_of
from recbole_ec4srec.data.operators import view_by
from recbole_ec4srec.inference.views import views_of_items
from recbole_ec4srec.model.objective import Losses
from recbole_ec4srec.reporting.picture import picture


@pytest.fixture(autouse=True)
def own_tables():
    with patch.dict(LOSSES), patch.dict(OPERATORS), patch.dict(KEYS), patch.dict(ADDED_DEFAULTS):
        yield


def length(views, given):
    """The mean length of representations, and how it was called."""
    length.called = views, given
    return torch.stack([view.norm(dim=1).mean() for view in views.values()]).mean()


def term(**changed):
    usual = {"name": "mine", "phase": "guided", "views": ("cl_pos_1",), "weight_key": "lambda_mine", "function": length}
    return LossTerm(**{**usual, **changed})


def batch_of(experiment, guided):
    if guided:
        experiment.trainer.update_importance(experiment.train_data)
    return next(iter(experiment.train_data)).with_views()


def backwards(item_seq, item_seq_len, ratio, noise):
    """The items in reverse order."""
    place = item_seq_len.unsqueeze(1) - 1 - torch.arange(item_seq.shape[1])
    return torch.where(place >= 0, item_seq.gather(1, place.clamp(min=0)), 0), item_seq_len.clone()


def operator(**changed):
    usual = {"name": "mine", "kind": "positive", "guided": False, "function": backwards, "ratio_key": "mu_mine"}
    return Operator(**{**usual, **changed})


# Losses


@pytest.mark.parametrize("name", LOSSES)
def test_a_built_in_term_takes_views_of_its_phase_and_has_a_key(name):
    assert set(LOSSES[name].views) <= {"", *VIEWS[LOSSES[name].phase]}
    assert LOSSES[name].weight_key in KEYS


def test_a_term_of_ones_own_takes_part_with_its_weight_after_the_others(experiment):
    register_loss(term())
    e = experiment(lambda_mine=0.25)
    losses = e.model.eval().calculate_loss(batch_of(e, guided=True))
    assert losses.names == ("rec", "cl_pos", "cl_neg", "sl_pos", "mine")
    views, given = length.called
    assert list(views) == ["cl_pos_1"]
    assert losses[-1].item() == pytest.approx(0.25 * views["cl_pos_1"].norm(dim=1).mean().item())
    assert (given.sim, given.tau, given.target) == ("dot", 1.0, None)
    assert given.config["lambda_mine"] == 0.25


def test_it_takes_no_part_by_default_and_in_the_other_phase(experiment):
    register_loss(term())
    e = experiment()
    assert e.config["lambda_mine"] == 0
    assert "mine" not in e.model.calculate_loss(batch_of(e, guided=True)).names
    e = experiment(lambda_mine=1.0)
    assert e.model.calculate_loss(batch_of(e, guided=False)).names == ("rec", "cl", "sl")


def test_a_default_of_its_own_is_the_weight(experiment):
    register_loss(term(default=0.5))
    assert experiment().model.weights[True]["mine"] == 0.5


def test_a_term_of_the_warm_up_is_named_by_warmup(experiment):
    register_loss(term(phase="warm-up", views=("", "cl_2"), weight_key="lambda"))
    e = experiment(warmup=["mine"])
    batch = batch_of(e, guided=False)
    assert e.model.calculate_loss(batch).names == ("rec", "mine")
    assert list(length.called[0]) == ["", "cl_2"]
    assert "cl_2_item_id_list" in batch and "cl_1_item_id_list" not in batch
    assert "mine" not in experiment().model.weights[False]


@pytest.mark.parametrize("view", VIEWS["guided"])
def test_the_loader_makes_the_views_that_a_term_takes_and_no_others(experiment, view):
    register_loss(term(views=(view,)))
    e = experiment(lambda_mine=1, lambda_cl_pos=0, lambda_cl_neg=0, lambda_sl_pos=0)
    batch = batch_of(e, guided=True)
    assert [name for name in VIEWS["guided"] if f"{name}_item_id_list" in batch] == [view]
    assert e.model.calculate_loss(batch).names == ("rec", "mine")


def test_a_term_is_given_next_items_and_which_instances_have_a_negative_view(experiment):
    register_loss(term(views=("cl_neg",)))
    e = experiment(lambda_mine=1, same_target="ignored")
    batch = batch_of(e, guided=True)
    e.model.calculate_loss(batch)
    given = length.called[1]
    assert given.next_item.equal(batch["item_id"]) and given.target.equal(batch["item_id"])
    assert given.valid.equal(batch["cl_neg_valid"])


def test_as_more_data_the_views_of_a_term_are_recommended_from(experiment):
    register_loss(term())
    register_loss(term(name="away", views=("cl_neg",)))
    e = experiment(lambda_mine=0.1, view_loss="recommendation")
    assert e.model.calculate_loss(batch_of(e, guided=True)).names == ("rec", "cl_pos", "sl_pos", "mine")


def test_its_name_stands_in_the_log_and_in_what_a_run_notes(experiment, caplog):
    register_loss(term())
    e = experiment(lambda_mine=0.25, epochs=2, update_epochs=[2])
    caplog.set_level("INFO")
    e.fit(saved=False)
    assert ", mine: " in caplog.text
    assert tuple(e.trainer.last_epoch["losses"]) == ("rec", "cl_pos", "cl_neg", "sl_pos", "mine")


@pytest.mark.parametrize("value", [-0.1, "much", None])
def test_its_weight_is_checked_as_other_keys_are(make_config, value):
    register_loss(term())
    with pytest.raises(ConfigError, match=r"lambda_mine: got .*, allowed is a number >= 0"):
        make_config(lambda_mine=value)


def test_a_model_of_settings_older_than_the_term_is_built(experiment):
    e = experiment()
    register_loss(term())
    assert type(e.model)(e.config, e.train_data._dataset).weights == e.model.weights


def test_a_model_of_settings_older_than_the_keys_beyond_the_paper_is_built_and_trained(experiment):
    e = experiment()
    for key in ("importance_scope", "guided_negatives", "tau_neg", "same_target"):
        del e.config.final_config_dict[key]
    older = type(e.model)(e.config, e.train_data._dataset)
    assert (older.weights, older.same_target) == (e.model.weights, "negative")
    assert older.calculate_loss(batch_of(e, guided=True)).names == ("rec", "cl_pos", "cl_neg", "sl_pos")


def test_a_term_takes_part_only_with_the_settings_that_it_names(experiment):
    register_loss(term(default=0.5, only_with={"sim": "cos", "tau": 2}))
    assert experiment(sim="cos", tau=2).model.weights[True]["mine"] == 0.5
    assert "mine" not in experiment(sim="cos").model.weights[True]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"name": "cl"}, "there is a loss named cl already"),
        ({"name": "rec"}, "there is a loss named rec already"),
        ({"name": "a b"}, "name: got 'a b'"),
        ({"phase": "late"}, "phase of mine: got 'late', allowed is warm-up or guided"),
        ({"views": ("cl_1",)}, "views of mine: got .*cl_pos_1"),
        ({"views": ()}, "views of mine"),
        ({"views": "cl_pos_1"}, "views of mine"),
        ({"weight_key": "tau"}, "there is a key named tau already"),
        ({"weight_key": "learning_rate"}, "there is a key named learning_rate already"),
        ({"default": -1}, "the default of lambda_mine is -1, allowed is a number >= 0"),
    ],
)
def test_a_term_that_cannot_be_is_refused(changed, told):
    with pytest.raises(ValueError, match=told):
        register_loss(term(**changed))
    assert "mine" not in LOSSES


def test_losses_are_a_tuple_with_names():
    losses = Losses({"rec": 1, "cl": 2})
    assert (losses, losses.names, sum(losses)) == ((1, 2), ("rec", "cl"), 3)
    assert losses.also(norm=3).names == ("rec", "cl", "norm")
    assert losses.also(cl=5) == (1, 5)


# Operators


def test_a_random_operator_of_ones_own_makes_views_in_both_phases(experiment):
    register_operator(operator())
    e = experiment(augmentations=["mine"])
    for guided, view in ((False, "cl_1"), (True, "cl_pos_2")):
        batch = batch_of(e, guided)
        expected, _ = backwards(batch["item_id_list"], batch["item_length"], 0, None)
        assert batch[f"{view}_item_id_list"].equal(expected)


def test_a_guided_operator_takes_the_place_of_its_random_one_after_the_warm_up(experiment):
    def marked(item_seq, item_seq_len, importance, ratio, mask_id, noise):
        assert importance.scores.shape == importance.ranks.shape == item_seq.shape
        return item_seq.clone().fill_(mask_id).where(item_seq > 0, item_seq), item_seq_len.clone()

    register_operator(operator())
    register_operator(operator(name="emine+", word="mine", guided=True, function=marked, masks=True))
    e = experiment(augmentations=["mine"])
    assert e.model.mask_id not in batch_of(e, guided=False)["cl_1_item_id_list"]
    batch = batch_of(e, guided=True)
    assert set(batch["cl_pos_1_item_id_list"].unique().tolist()) == {0, e.model.mask_id}


def test_a_negative_operator_is_a_word_of_negative_augmentations(experiment):
    register_operator(operator(kind="negative"))
    e = experiment(negative_augmentations=["mine"])
    batch = batch_of(e, guided=True)
    assert batch["cl_neg_item_id_list"].equal(backwards(batch["item_id_list"], batch["item_length"], 0, None)[0])
    with pytest.raises(ConfigError, match=r"^augmentations: got"):
        experiment(augmentations=["mine"])


def test_it_is_given_its_ratio(make_config):
    register_operator(operator(function=lambda item_seq, n, ratio, noise: ratio, default=0.3))
    register_operator(operator(name="emine+", word="mine", guided=True, function=lambda *given: given[3]))
    assert make_config()["mu_mine"] == 0.3
    sequences = torch.ones(1, 1), torch.ones(1)
    for name in ("mine", "emine+"):
        assert view_by(OPERATORS[name], sequences, None, make_config(mu_mine=0.7), 9, None) == 0.7
        assert view_by(OPERATORS[name], sequences, None, {}, 9, None) == 0.3
    with pytest.raises(ConfigError, match=r"mu_mine: got .*, allowed is a number >= 0 and <= 1"):
        make_config(mu_mine=1.1)


def test_it_stands_in_tables_and_pictures():
    register_operator(operator())
    ratios = {"mu_c": 0.5, "mu_m": 0.5, "mu_r": 0.5, "mu_e": 0.5}
    shown = views_of_items(["a", "b", "c"], [0.1, 0.2, 0.3], ratios)
    assert shown.views["mine"] == [3, 2, 1]
    assert list(shown.views)[:3] == ["crop", "mask", "reorder"]
    assert ">mine</text>" in picture(shown)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"name": "ecrop+"}, "there is an operator ecrop\\+ of the word crop already"),
        ({"word": "crop"}, "there is an operator crop of the word crop already"),
        ({"kind": "random"}, "kind of mine: got 'random', allowed is positive or negative"),
        ({"name": "mine+"}, "word of mine\\+: got"),
        ({"guided": True}, "mine: register the random operator of the word mine first"),
        ({"ratio_key": "tau"}, "there is a key named tau already"),
        ({"default": 2}, "the default of mu_mine is 2"),
    ],
)
def test_an_operator_that_cannot_be_is_refused(changed, told):
    before = dict(OPERATORS)
    with pytest.raises(ValueError, match=told):
        register_operator(operator(**changed))
    assert before == OPERATORS


@pytest.mark.parametrize(
    ("word", "kind", "guided", "name"),
    [
        ("crop", "positive", False, "crop"),
        ("mask", "positive", True, "emask+"),
        ("reorder", "positive", True, "erord+"),
        ("crop", "negative", True, "ecrop-"),
    ],
)
def test_a_word_means_a_random_operator_and_its_guided_counterpart(word, kind, guided, name):
    assert operator_of(word, kind, guided).name == name
