"""The space of a search: files in RecBole's format, and the paper's spaces and settings that come with the package."""

import os

import pytest
from conftest import OUR_MODELS
from recbole.config import Config
from recbole.trainer import HyperTuning

from recbole_ec4srec.config.properties import properties_dir
from recbole_ec4srec.config.space import read_space, shipped_space
from recbole_ec4srec.errors import ConfigError

TENTHS = [0.1, 0.2, 0.3, 0.4, 0.5]
MU_E = [*TENTHS, 0.6, 0.7, 0.8, 0.9]


def test_a_space_file_is_recboles(space):
    text = (
        "# a comment\n\nlambda choice [0.1, 0.2]\ntau uniform 0.5, 1.5\nn_layers quniform 1,4,1\nmu_c loguniform -3,0"
    )
    assert read_space(space(text)) == {
        "lambda": ("choice", [0.1, 0.2]),
        "tau": ("uniform", [0.5, 1.5]),
        "n_layers": ("quniform", [1, 4, 1]),
        "mu_c": ("loguniform", [-3, 0]),
    }


@pytest.mark.parametrize(
    "line, told",
    [
        ("tau choice", "got 'tau choice', allowed is: name kind values"),
        ("tau normal 0,1", "of kind choice, uniform, quniform, loguniform"),
        ("tau choice 0.5", "tau: got '0.5', allowed for choice is a list of values"),
        ("tau choice []", "allowed for choice is a list of values"),
        ("tau choice [open('x','w')]", "allowed for choice is a list of values"),
        ("tau choice [b'x']", "allowed for choice is a list of values"),
        ("tau uniform 1.5,0.5", "tau: got '1.5,0.5', allowed for uniform is low,high"),
        ("tau uniform 0.5,1,0.1", "allowed for uniform is low,high"),
        ("tau quniform 0.5,1.5", "allowed for quniform is low,high,step"),
        ("tau quniform 0.5,1.5,0", "allowed for quniform is low,high,step"),
        ("tau loguniform 'a','b'", "allowed for loguniform is low,high"),
        ("lambda choice [0.2]", "lambda is there already"),
    ],
)
def test_a_line_that_is_no_parameter_is_refused_by_its_number(line, told, space, tmp_path):
    with pytest.raises(ConfigError) as error:
        read_space(space(f"lambda choice [0.1]\n{line}\n"))
    assert str(error.value).startswith("space.test, line 2: ")
    assert told in str(error.value)
    assert os.listdir(tmp_path) == ["space.test"]  # nothing of the line was run


def test_a_space_file_that_is_not_there_or_empty_is_refused(space):
    with pytest.raises(ConfigError, match=r"params_file: nowhere\.test cannot be read"):
        read_space("nowhere.test")
    with pytest.raises(ConfigError, match=r"params_file: space\.test has no parameter"):
        read_space(space("\n"))


TAU = [0.5, 1.0, 1.5]
SPACES = {  # section 5.1.4
    "EC4SRec": {"mu_e": MU_E, "tau": TAU, "lambda_cl_pos": TENTHS, "lambda_cl_neg": TENTHS, "lambda_sl_pos": TENTHS},
    "EC4SRec(SSL)": {"mu_e": MU_E, "tau": TAU, "lambda_cl_pos": TENTHS, "lambda_cl_neg": TENTHS},
    "EC4SRec(SL)": {"tau": TAU, "lambda_sl_pos": TENTHS},
    "CL4SRec": {"lambda": TENTHS},
    "DuoRec": {"tau": TAU, "lambda": TENTHS},
}


@pytest.mark.parametrize("model", SPACES)
def test_the_papers_spaces_come_with_the_models_that_use_their_keys(model, make_config):
    assert read_space(shipped_space(model)) == {key: ("choice", SPACES[model][key]) for key in SPACES[model]}
    for position in (0, -1):
        make_config(model, epochs=6, **{key: values[position] for key, values in SPACES[model].items()})


PRESETS = {
    "amazon-clothing": ({"mu_e": 0.2, "num_updates": 9}, ["EC4SRec", "EC4SRecSSL"]),
    "amazon-beauty-EC4SRecSSL": ({"mu_e": 0.3}, ["EC4SRecSSL"]),
}


def test_presets_hold_what_the_paper_finds_best_and_fit_their_models():
    files = {file.stem: str(file) for file in (properties_dir() / "presets").glob("*.yaml")}
    assert files.keys() == PRESETS.keys()
    for name, (settings, models) in PRESETS.items():
        for model in models:
            config = Config(model, "-".join(name.split("-")[:2]), config_file_list=[files[name]])
            assert config.file_config_dict == settings
            assert {key: config[key] for key in settings} == settings


def test_what_was_chosen_for_a_data_set_fits_its_model():
    files = sorted((properties_dir() / "tuned").glob("*/*.yaml"))
    for file in files:
        config = Config(file.stem, file.parent.name, config_file_list=[str(file)])
        assert all(config[key] == value for key, value in config.file_config_dict.items())
    assert files


def test_recboles_own_search_reads_the_spaces():
    pytest.importorskip("hyperopt")
    for model in OUR_MODELS:
        file = properties_dir() / "hyper" / f"{model}.test"
        assert set(HyperTuning(None, params_file=file).space) == set(read_space(file))


def test_a_model_without_a_space_needs_one():
    with pytest.raises(ConfigError, match="params_file: missing; without it --model has to be one of CL4SRec, DuoRec"):
        shipped_space("SASRec")
