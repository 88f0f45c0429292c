"""RecBole's keys and ours: which are known, and that no value ends in a traceback or passes that should not."""

import copy
import inspect
import logging
import re
import sys

import pytest
import yaml
from key_values import ALLOWED, MORE, NDCG, NEED, TABLES, THEIRS, config_of
from recbole.config import Config
from recbole.model.sequential_recommender import SASRec
from recbole.utils import argument_list

import recbole_ec4srec
from recbole_ec4srec import ConfigError
from recbole_ec4srec.config import recbole_keys
from recbole_ec4srec.config.keys import KEYS
from recbole_ec4srec.config.properties import properties_dir
from recbole_ec4srec.config.recbole_keys import GENERAL, SET_BY_RECBOLE, UNLISTED, listed, of_model
from recbole_ec4srec.config.variants import VARIANTS
from recbole_ec4srec.plugin import registry

# --- values -----------------------------------------------------------------------------------------------------------


def test_the_table_has_every_general_key():
    assert set(ALLOWED) == set(GENERAL)
    assert set(MORE) <= set(GENERAL)


def test_the_rules_cover_what_recbole_has_for_every_model():
    overall = yaml.safe_load((THEIRS / "properties" / "overall.yaml").read_text(encoding="utf-8"))
    sample = yaml.safe_load((THEIRS / "properties" / "dataset" / "sample.yaml").read_text(encoding="utf-8"))
    assert not {*overall, *sample} - set(GENERAL)


@pytest.mark.parametrize("title", TABLES)
def test_every_value_is_refused_in_words_or_runs(title):
    tried = TABLES[title][0]()
    assert (tried.tracebacks, tried.passed, tried.refused) == ([], [], [])
    assert tried.number > 20


@pytest.mark.parametrize("model", [*dict.fromkeys(registry.recbole_models()), *VARIANTS])
def test_recboles_defaults_and_ours_pass(model):
    kind = registry.get_model(model).type.name
    needed = NEED.get(model, NEED["context"] if kind == "CONTEXT" else {})
    assert config_of(model, **copy.deepcopy(needed))["model"] == model


OUR_FILES = sorted(set(properties_dir().rglob("*.yaml")) - {properties_dir() / "printed.yaml"})  # which has results


@pytest.mark.parametrize("file", OUR_FILES, ids=lambda file: file.name)
def test_our_files_of_settings_pass(file):
    model = file.stem if file.stem in VARIANTS else "EC4SRec"
    assert Config(model, "no-such-data", [str(file)])["model"] == model


def test_a_tuple_of_the_command_line_is_a_list(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run", "--topk=5,10", "--dropout_probs=.1,.2"])
    config = config_of("NARM", **NDCG)
    assert (config["topk"], config["dropout_probs"]) == ([5, 10], [0.1, 0.2])


@pytest.mark.parametrize("name", ["a/b", "/tmp", "..", "", "a\\b", None, 7])
def test_a_data_set_has_the_name_of_a_folder(name):
    with pytest.raises(ConfigError, match=r"^dataset: got .*, allowed is the name of a folder in data_path, without /"):
        Config("SASRec", config_dict={"dataset": name})


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("epoch", "epochs"),
        ("learning_rte", "learning_rate"),
        ("hiden_size", "hidden_size"),
        ("topK", "topk"),
        ("Epochs", "epochs"),
        ("config_file_list", "config_files"),
        ("config_file", "config_files"),
        ("n_head", "n_heads"),
        ("valid_metrics", "valid_metric"),
        ("lamda_cl_pos", "lambda_cl_pos"),
        ("alias_of_item", "alias_of_item_id"),
    ],
)
@pytest.mark.parametrize("where", ["dict", "file"])
def test_a_misspelt_key_is_refused_with_the_nearest_known_one(wrong, right, where, tmp_path):
    (tmp_path / "mine.yaml").write_text(f"{wrong}: 1\n")
    given = [None, {wrong: 1}] if where == "dict" else [[str(tmp_path / "mine.yaml")], None]
    with pytest.raises(ConfigError) as caught:
        Config("SASRec", "no-such-data", *given)
    assert str(caught.value) == f"{wrong}: no such key; did you mean {right}?"


def test_a_key_like_no_other_is_refused():
    with pytest.raises(ConfigError, match=r"^qqqq: no such key$"):
        config_of(qqqq=1)


@pytest.mark.parametrize("key", sorted({*listed(), *GENERAL, *UNLISTED, *KEYS} - {"dataset", "model", "config_file"}))
def test_a_key_that_one_model_or_another_reads_is_known(key):
    recbole_keys.refuse_unknown([key], KEYS)


def test_keys_that_recbole_reads_are_known():
    """Where RecBole's source names a key, some file of its defaults has it, or a list here."""
    read = set()
    for file in THEIRS.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        read.update(re.findall(r"config\[\s*[\"'](\w+)[\"']", text))
        read.update(re.findall(r"[\"'](\w+)[\"'] (?:not )?in (?:self\.)?config\b", text))
    assert len(read) > 250
    assert read - listed() - set(GENERAL) - UNLISTED - SET_BY_RECBOLE == set()


def test_what_recbole_sets_is_no_suggestion():
    with pytest.raises(ConfigError, match=r"^devic: no such key(?!; did you mean device)"):
        config_of(devic=1)


def test_recboles_tables_are_listed():
    tables = [table for name, table in inspect.getmembers(argument_list) if name.endswith("_arguments")]
    assert tables
    assert all(set(table) <= listed() for table in tables)


# --- code of the user's own -------------------------------------------------------------------------------------------


class MyEncoder(SASRec):
    """A model that is not RecBole's, with keys of its own."""


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(recbole_keys, "_REGISTERED", set())
    recbole_ec4srec.register_model(MyEncoder)
    return {key: config_of()[key] for key in of_model("SASRec")}


def test_a_model_of_the_users_own_may_have_keys_of_its_own(registered):
    assert Config(MyEncoder, "no-such-data", config_dict={**registered, "memory": 3})["memory"] == 3
    assert config_of("EC4SRec", backbone="MyEncoder", memory=3)["memory"] == 3


def test_a_key_of_the_users_own_that_nearly_spells_one_is_registered(registered):
    with pytest.raises(ConfigError, match=r"^epoch: no such key; did you mean epochs.*register_keys makes one of your"):
        Config(MyEncoder, "no-such-data", config_dict={**registered, "epoch": 3})
    recbole_ec4srec.register_keys("epoch")
    assert Config(MyEncoder, "no-such-data", config_dict={**registered, "epoch": 3})["epoch"] == 3
    assert config_of(epoch=3)["epoch"] == 3


def test_a_model_of_the_users_own_may_mean_something_else_by_a_key_of_a_model(registered):
    assert Config(MyEncoder, "no-such-data", config_dict={**registered, "n_heads": "two"})["n_heads"] == "two"
    with pytest.raises(ConfigError, match=r"^epochs: "):
        Config(MyEncoder, "no-such-data", config_dict={**registered, "epochs": "two"})


def test_an_option_of_the_users_own_program_is_told_and_passes(monkeypatch, caplog):
    monkeypatch.setattr(sys, "argv", ["mine.py", "--seeds=1,2", "--memory=3"])
    with caplog.at_level(logging.WARNING):
        assert config_of()["seeds"] == (1, 2)
    assert [record.message for record in caplog.records] == ["command line: seeds: no such key; did you mean seed?"]
