"""What a user may set: every key's range, the combinations, where settings come from, and how errors read."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import recbole
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from key_values import BAD
from recbole.config import Config

from recbole_ec4srec import ConfigError
from recbole_ec4srec.commands.arguments import check_settings
from recbole_ec4srec.commands.run_recbole import main as run_recbole_command
from recbole_ec4srec.config.keys import EXPLAINERS, KEYS, validate
from recbole_ec4srec.config.objective import ADDED_DEFAULTS, loss_weights, same_target, setting
from recbole_ec4srec.config.properties import properties_dir
from recbole_ec4srec.config.schedule import update_schedule
from recbole_ec4srec.config.variants import VARIANTS
from recbole_ec4srec.encoder.backbone import backbone_class
from recbole_ec4srec.storage.settings import as_json, plain_settings

# (key, what is given, what is kept)
GOOD = [
    *[(key, value, value) for key in ("mu_c", "mu_e") for value in (1e-9, 0.5, 1, 1.0)],
    *[(key, value, value) for key in ("mu_m", "mu_r") for value in (0, 0.0, 1)],
    *[(key, value, value) for key in ("tau", "tau_cl", "tau_neg") for value in (1e-9, 1, 1e9)],
    *[(f"lambda{part}", value, value) for part in ("", "_cl_pos", "_cl_neg", "_sl_pos") for value in (0, 1e-9, 7)],
    *[(key, 1, 1) for key in ("ertrl_max_candidates", "explain_batch_size")],
    *[(key, value, value) for key in ("second_pass", "mask_same_target", "log_mlflow") for value in (True, False)],
    *[("sim", value, value) for value in ("dot", "cos")],
    *[("importance_scope", value, value) for value in ("all", "context")],
    *[("guided_negatives", value, value) for value in ("attract", "hard")],
    *[("same_target", value, value) for value in ("negative", "ignored", "positive")],
    *[("ddp_backend", value, value) for value in ("auto", "nccl", "gloo")],
    *[("ertrl_score", value, value) for value in ("anchor", "candidate")],
    *[("explain_target", value, value) for value in ("predicted", "next", "max")],
    *[("explain_output", value, value) for value in ("logit", "probability")],
    *[("explainer", value, value) for value in (*EXPLAINERS, "captum:Saliency") if value != "oracle"],
    ("oracle_scores", "importance", "importance"),
    ("backbone", "GRU4Rec", "GRU4Rec"),
    ("augmentations", ("mask",), ["mask"]),
    ("augmentations", ["reorder", "crop"], ["reorder", "crop"]),
    ("negative_augmentations", ["crop"], ["crop"]),
    ("warmup", [], []),
    ("warmup", None, []),
    ("warmup", "cl", ["cl"]),
    ("num_updates", 0, 0),
    ("num_updates", 149, 149),
    ("update_epochs", [], []),
    ("update_epochs", None, []),
    ("update_epochs", 150, [150]),
    ("update_epochs", (9, 1, 4), [1, 4, 9]),
]


def config_of(model="EC4SRec", **given):
    """A Config over data that do not exist: whatever is refused here is refused before data are read."""
    return Config(model, "no-such-data", config_dict=given)


def refusal(model="EC4SRec", **given):
    with pytest.raises(ConfigError) as caught:
        config_of(model, **given)
    return str(caught.value)


# --- every key --------------------------------------------------------------------------------------------------------


def test_the_table_of_bad_values_covers_every_key():
    assert set(BAD) == set(KEYS) - set(ADDED_DEFAULTS)


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD.items() for value in values])
def test_a_bad_value_is_refused_with_key_value_and_what_is_allowed(key, value):
    assert refusal(**{key: value}) == f"{key}: got {value!r}, allowed is {KEYS[key]}"


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("mu_c", "a number > 0 and <= 1"),
        ("mu_m", "a number >= 0 and <= 1"),
        ("tau", "a number > 0"),
        ("ertrl_max_candidates", "an integer >= 1"),
        ("sim", "one of dot, cos"),
        ("augmentations", "a list of distinct words out of [crop, mask, reorder]"),
        ("warmup", "a list of distinct words out of [cl, sl] (may be empty)"),
        ("update_epochs", "a list of distinct epochs, counted from 1"),
        ("second_pass", "True or False"),
    ],
)
def test_what_is_allowed_is_told_in_words(key, allowed):
    assert str(KEYS[key]) == allowed


@pytest.mark.parametrize(("key", "value", "kept"), GOOD)
def test_a_good_value_is_kept_in_its_normal_form(key, value, kept):
    assert config_of(**{key: value})[key] == kept


@pytest.mark.parametrize("key", ["lambda", "tau", "mu_e", "num_updates"])
def test_an_integer_too_large_for_a_float_is_refused_like_any_other(key):
    assert refusal(**{key: 10**400}).startswith(f"{key}: got 1000")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("--warmup=[cl,sl]", ["cl", "sl"]),
        ("--warmup=['sl']", ["sl"]),
        ("--warmup=cl,sl", ["cl", "sl"]),
        ("--warmup=cl", ["cl"]),
        ("--warmup=[]", []),
        ("--augmentations=[crop, reorder]", ["crop", "reorder"]),
        ("--update_epochs=[4,2]", [2, 4]),
        ("--update_epochs=4,2", [2, 4]),
        ("--update_epochs=3", [3]),
        ("--explain_target=max", "max"),
        ("--explain_target=next", "next"),
        ("--second_pass=true", True),
        ("--lambda=0.5", 0.5),
    ],
)
def test_values_from_the_command_line_are_read_as_what_they_mean(argument, value, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run", argument])
    assert config_of()[argument[2:].split("=")[0]] == value


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("num_update", "num_updates"), ("lamda_cl_pos", "lambda_cl_pos"), ("same_targets", "same_target")],
)
def test_a_misspelt_key_is_refused_with_the_right_spelling(wrong, right):
    assert refusal(**{wrong: 1}) == f"{wrong}: no such key; did you mean {right}?"


@pytest.mark.parametrize(("old", "new"), [(True, "ignored"), (False, "negative")])
def test_mask_same_target_of_older_files_is_read_as_same_target(old, new, tmp_path, caplog):
    (tmp_path / "old.yaml").write_text(f"mask_same_target: {old}\n")
    assert Config("EC4SRec", "no-such-data", [str(tmp_path / "old.yaml")])["same_target"] == new
    assert ("mask_same_target: True is read as same_target: ignored" in caplog.text) == old
    check_settings([f"--mask_same_target={old}"])  # on a command line as well


@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_another_value_of_mask_same_target_is_refused(value):
    assert refusal(mask_same_target=value) == f"mask_same_target: got {value!r}, allowed is True or False"


def test_what_does_not_go_together_with_same_target_or_guided_negatives_is_refused():
    told = "mask_same_target: got True, allowed is False with same_target: positive"
    assert refusal(mask_same_target=True, same_target="positive").startswith(told)
    told = "guided_negatives: got 'hard', allowed is attract with view_loss: recommendation"
    assert refusal(guided_negatives="hard", view_loss="recommendation").startswith(told)


def test_settings_older_than_a_key_mean_its_default():
    assert same_target({}) == "negative"
    assert same_target({"mask_same_target": False}) == "negative"
    assert same_target({"mask_same_target": True}) == "ignored"
    keys = ("importance_scope", "guided_negatives", "tau_neg")
    assert [setting({}, key) for key in keys] == [config_of()[key] for key in keys] == ["all", "attract", 1.0]


def test_with_hard_negatives_l_cl_neg_takes_no_part():
    weights = loss_weights({**WEIGHTS, "guided_negatives": "hard"}, guided=True)
    assert tuple(weights) == ("cl_pos_hard", "sl_pos") and weights["cl_pos_hard"] == WEIGHTS["lambda_cl_pos"]


@pytest.mark.parametrize("key", ["n_layers", "num_layers", "weight", "kg_weight"])
def test_keys_of_recbole_pass(key):
    assert config_of(**{key: 1})[key] == 1


def test_a_key_of_a_file_that_is_no_string_passes(tmp_path):
    (tmp_path / "settings.yaml").write_text("on: 1\n7: 2\n")  # YAML reads the first key as True
    assert Config("EC4SRec", "no-such-data", [str(tmp_path / "settings.yaml")])["model"] == "EC4SRec"


# --- combinations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "key", "value", "fixed"),
    [
        ("EC4SRecSSL", "lambda_sl_pos", 0.1, "0"),
        ("EC4SRec(SSL)", "lambda_sl_pos", 0.1, "0"),
        ("EC4SRecSL", "lambda_cl_pos", 0.1, "0"),
        ("EC4SRecSL", "lambda_cl_neg", 0.1, "0"),
        ("CL4SRec", "num_updates", 1, "0"),
        ("CL4SRec", "update_epochs", [1], "[]"),
        ("CL4SRec", "warmup", ["cl", "sl"], "['cl']"),
        ("DuoRec", "num_updates", 1, "0"),
        ("DuoRec", "update_epochs", [1], "[]"),
        ("DuoRec", "warmup", [], "['sl']"),
    ],
)
def test_the_keys_that_define_a_variant_cannot_be_changed(model, key, value, fixed):
    message = refusal(model, **{key: value})
    assert message.startswith(f"{key}: got {value!r}, allowed is {fixed} for ")
    assert config_of("EC4SRec", **{key: value})[key] == value


def test_every_variant_is_accepted_as_it_comes():
    for model in VARIANTS:
        assert config_of(model)["model"] == model


@pytest.mark.parametrize(
    ("epochs", "updates", "allowed"),
    [(4, 4, "at most 3 with epochs: 4"), (4, 99, "at most 3"), (1, 1, "at most 0"), (0, 1, "at most 0")],
)
def test_more_updates_than_the_epochs_have_room_for_are_refused(epochs, updates, allowed):
    message = refusal(epochs=epochs, num_updates=updates)
    assert message.startswith(f"num_updates: got {updates}, allowed is {allowed}")


@pytest.mark.parametrize(
    ("settings", "warns"),
    [
        ({"epochs": 11, "num_updates": 5}, True),
        ({"epochs": 12, "num_updates": 5}, False),
        ({"epochs": 11, "num_updates": 0}, False),
        ({"epochs": 11, "num_updates": 5, "update_epochs": [1]}, False),
    ],
)
def test_a_schedule_without_a_warm_up_is_warned_of_where_nobody_asked_for_it(settings, warns, caplog):
    config_of("EC4SRec", **settings)
    assert ("with 12 epochs or more there is a warm-up" in caplog.text) == warns


@pytest.mark.parametrize(("epochs", "updates"), [(4, 3), (1, 0), (0, 0)])
def test_as_many_updates_as_the_epochs_have_room_for_are_accepted(epochs, updates):
    config = config_of(epochs=epochs, num_updates=updates)
    assert (
        update_schedule(config["epochs"], config["num_updates"], config["update_epochs"])
        == list(range(1, epochs + 1))[:updates]
    )


def test_update_epochs_beyond_the_last_epoch_are_refused():
    message = refusal(epochs=4, update_epochs=[2, 5, 9])
    assert message == "update_epochs: got [5, 9], allowed is epochs from 1 to 4 (epochs: 4)"


def test_update_epochs_take_the_place_of_num_updates():
    assert config_of(epochs=4, num_updates=99, update_epochs=[1, 4])["update_epochs"] == [1, 4]


@pytest.mark.parametrize("epochs", [-1, 1.5, True, None, "many"])
def test_bad_epochs_are_refused(epochs):
    assert refusal(epochs=epochs) == f"epochs: got {epochs!r}, allowed is an integer >= 0"


@pytest.mark.parametrize("loss_type", ["ce", None, "BCE", 1])
def test_another_recommendation_loss_is_refused(loss_type):
    assert refusal(loss_type=loss_type) == f"loss_type: got {loss_type!r}, allowed is one of CE, BPR"


@pytest.mark.parametrize(
    ("epochs", "updates", "schedule"),
    [
        (100, 3, [25, 50, 75]),
        (150, 1, [75]),
        (150, 2, [50, 100]),
        (150, 5, [25, 50, 75, 100, 125]),
        (10, 3, [2, 4, 6]),
        (4, 3, [1, 2, 3]),
        (100, 0, []),
    ],
)
def test_updates_are_spread_evenly_over_the_epochs(epochs, updates, schedule):
    assert update_schedule(epochs, updates, []) == schedule


def test_stated_update_epochs_are_the_schedule():
    assert update_schedule(100, 3, [1, 7]) == [1, 7]


WEIGHTS = {"lambda": 0.1, "lambda_cl_pos": 0.2, "lambda_cl_neg": 0.3, "lambda_sl_pos": 0.4, "warmup": ["cl", "sl"]}


@pytest.mark.parametrize(
    ("changed", "guided", "weights"),
    [
        ({}, False, {"cl": 0.1, "sl": 0.1}),
        ({}, True, {"cl_pos": 0.2, "cl_neg": 0.3, "sl_pos": 0.4}),
        ({"warmup": ["sl"]}, False, {"sl": 0.1}),
        ({"warmup": []}, False, {}),
        ({"warmup": []}, True, {"cl_pos": 0.2, "cl_neg": 0.3, "sl_pos": 0.4}),
        ({"lambda": 0}, False, {}),
        ({"lambda_cl_pos": 0}, True, {"cl_neg": 0.3, "sl_pos": 0.4}),
        ({"lambda_cl_pos": 0, "lambda_cl_neg": 0, "lambda_sl_pos": 0}, True, {}),
    ],
)
def test_the_losses_of_a_phase_are_those_of_positive_weight(changed, guided, weights):
    assert loss_weights({**WEIGHTS, **changed}, guided) == weights


# --- where settings come from -----------------------------------------------------------------------------------------


def property_file(model):
    return (properties_dir() / "model" / f"{model}.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("key", [key for key in KEYS if key not in ADDED_DEFAULTS])
def test_every_key_stands_in_the_property_file_with_a_comment(key):
    assert re.search(rf"^{key}: [^#]+# \((str|float|int|bool|list of \w+)\) .{{15,}}", property_file("EC4SRec"), re.M)


@pytest.mark.parametrize("model", [model for model in VARIANTS if model != "EC4SRec"])
def test_the_file_of_a_variant_has_no_key_that_ec4srecs_file_lacks(model):
    assert set(yaml.safe_load(property_file(model))) <= set(yaml.safe_load(property_file("EC4SRec")))


def test_the_defaults_are_the_papers():
    config = config_of()
    papers = {"hidden_size": 64, "n_layers": 2, "n_heads": 2, "train_batch_size": 256, "MAX_ITEM_LIST_LENGTH": 50}
    assert {key: config[key] for key in papers} == papers
    assert config["backbone"] == "SASRec"
    assert config["loss_type"] == "CE"
    assert config["eval_args"] == {
        "split": {"LS": "valid_and_test"},
        "order": "TO",
        "group_by": "user",
        "mode": {"valid": "full", "test": "full"},
    }


def test_the_command_line_wins_over_a_dict_over_a_file_over_the_property_file(tmp_path, monkeypatch):
    (tmp_path / "settings.yaml").write_text("tau: 2\nmu_e: 0.2\nlambda: 0.2\n")
    monkeypatch.setattr(sys, "argv", ["run", "--lambda=0.4"])
    config = Config("EC4SRec", "no-such-data", [str(tmp_path / "settings.yaml")], {"mu_e": 0.3, "lambda": 0.3})
    assert [config[key] for key in ("tau_cl", "tau", "mu_e", "lambda")] == [1.0, 2, 0.3, 0.4]


@pytest.mark.parametrize("where", ["dict", "file", "command line"])
def test_a_backbones_settings_come_from_recboles_own_property_file(where, tmp_path, monkeypatch):
    if where == "command line":
        monkeypatch.setattr(sys, "argv", ["run", "--backbone=GRU4Rec"])
    (tmp_path / "settings.yaml").write_text("backbone: GRU4Rec\n")
    files = [str(tmp_path / "settings.yaml")] if where == "file" else None
    given = {"backbone": "GRU4Rec"} if where == "dict" else {}
    config = Config("EC4SRec", "no-such-data", files, {**given, "dropout_prob": 0.1})
    theirs = {"embedding_size": 64, "hidden_size": 128, "num_layers": 1, "dropout_prob": 0.1}
    assert {key: config[key] for key in theirs} == theirs
    assert config["train_batch_size"] == 256


# --- backbones --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "reason"),
    [
        ("Foo", "allowed is a sequential recommender of RecBole's"),
        ("sasrec", "allowed is a sequential recommender of RecBole's"),
        ("BPR", "which is no sequential recommender"),
        ("EC4SRec", "which has a backbone itself"),
        ("S3Rec", "which RecBole cannot build here (ValueError: Field [class] not defined"),
        ("FPMC", "is no encoder of (item_seq, item_seq_len)"),
        ("GRU4RecKG", ""),  # needs entity embeddings that our data set has not
    ],
)
def test_a_backbone_that_cannot_take_part_is_refused_by_name_with_the_reason(backbone, reason, experiment):
    with pytest.raises(ConfigError, match=rf"^backbone: got '{backbone}', .*{re.escape(reason)}"):
        experiment(backbone=backbone)


@pytest.mark.parametrize("backbone", ["SASRec", "GRU4Rec"])
def test_a_backbone_is_recboles_class_with_a_row_for_the_mask_item(backbone, experiment):
    built = experiment(backbone=backbone)
    assert type(built.model.backbone.model) is backbone_class(backbone)
    assert built.model.backbone.model.item_embedding.num_embeddings == built.dataset.item_num + 1


# --- anything at all --------------------------------------------------------------------------------------------------

DEFAULTS = yaml.safe_load(property_file("EC4SRec"))
SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
WORDS_OF_OURS = st.sampled_from(["crop", "mask", "cl", "sl", "dot", "cos", "max", "[cl,sl]", "SASRec"])
VALUE = SCALAR | WORDS_OF_OURS | st.lists(SCALAR | WORDS_OF_OURS | st.lists(SCALAR), max_size=3)
KEY = st.sampled_from([*KEYS, "epochs", "loss_type"]) | st.text(max_size=8)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(list(VARIANTS)), st.dictionaries(KEY, VALUE, max_size=4))
@example("EC4SRec", {"tau": 10**400})
@example("EC4SRec", {"epochs": 10**400, "num_updates": 10**400})
def test_any_settings_are_either_normalised_or_refused(model, given):
    config = {**DEFAULTS, **yaml.safe_load(property_file(model)), **given}
    try:
        validate(model, config)
    except ConfigError as refused:
        assert str(refused).startswith(tuple(f"{key}: " for key in (*KEYS, "epochs", "loss_type", *given)))
        return
    normalised = dict(config)
    validate(model, config)
    assert config == normalised


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text("0123456789.,:()[]{}+-/%'\"\\\0abex ", max_size=9))
@example("1/0")
@example("os.x")
@example("[][0]")
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_any_text_of_the_command_line_is_a_value_or_stays_a_text(text):
    assert list(Config._convert_config_dict(None, {"tau": text})) == ["tau"]


def test_numbers_of_numpy_are_pythons(make_config):
    config = make_config("EC4SRec", seed=np.int64(7), train_batch_size=np.int64(64), tau=np.float32(0.5))
    assert [type(config[key]) for key in ("seed", "train_batch_size", "tau")] == [int, int, float]
    assert plain_settings(config)["tau"] == 0.5


def test_settings_that_hold_numbers_of_numpy_are_told_apart():
    first, second = (as_json({"topk": [np.int64(number)]}) for number in (1, 2))
    assert (first, second) == ('{"topk": [1]}', '{"topk": [2]}')
    assert as_json(object()) is None


# --- console commands -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--tau=0", "error: tau: got 0, allowed is a number > 0\n"),
        ("--num_update=3", "error: num_update: no such key; did you mean num_updates?\n"),
    ],
)
def test_a_console_command_ends_with_the_message_alone(argument, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run_recbole", "--model=EC4SRec", "--dataset=no-such-data", argument])
    with pytest.raises(SystemExit) as end:
        run_recbole_command()
    assert end.value.code == 1
    assert capsys.readouterr().err == message


def test_the_property_file_says_which_settings_a_backbone_of_recboles_brings():
    """What is printed is what happens: SASRec has the values of our file, GRU4Rec those of its own."""
    ours = yaml.safe_load((properties_dir() / "model" / "EC4SRec.yaml").read_text(encoding="utf-8"))
    theirs = Path(recbole.__file__).parent / "properties" / "model"
    sasrec, gru4rec = (yaml.safe_load((theirs / f"{name}.yaml").read_text()) for name in ("SASRec", "GRU4Rec"))
    shared = {"n_layers", "n_heads", "hidden_size", "loss_type"}
    assert shared == set(ours) & set(sasrec) and {key: ours[key] for key in shared} == {
        key: sasrec[key] for key in shared
    }
    assert (
        Config("EC4SRec", "tiny", config_dict={"backbone": "GRU4Rec"})["hidden_size"] == gru4rec["hidden_size"] == 128
    )
