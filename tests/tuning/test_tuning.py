"""The search for hyper-parameters: what is refused, trials that fail, the results; and RecBole's own engines."""

import math
import os
import shutil
import sys
from pathlib import Path

import pytest
from recbole.quick_start import objective_function
from recbole.trainer import HyperTuning

from recbole_ec4srec import tuning
from recbole_ec4srec.errors import ConfigError

FOUR = "lambda choice [0.1,0.2,-1,0.4]\n"  # one of the four is out of its range


NEEDS = [("Optuna", "optuna", "optuna"), ("Hyperopt", "hyperopt", "tune"), ("Ray", "pyarrow", "tune")]


@pytest.fixture(params=["Optuna", "Hyperopt"])
def tool(request):
    pytest.importorskip(request.param.lower())
    return request.param


# what is refused


def test_without_a_file_the_models_space_is_searched(tried, search, tool):
    search(None, tool=tool)
    assert sorted(point["lambda"] for point in tried) == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_a_search_of_no_data_set_is_refused(space):
    with pytest.raises(ConfigError, match="dataset need to be specified"):
        tuning.search.search(space(FOUR), model="CL4SRec")


def test_a_key_that_nobody_knows_is_refused_before_the_first_trial(space, tried, search):
    with pytest.raises(ConfigError, match="learning_rat is no key of RecBole's or ours for CL4SRec; did you mean lear"):
        search(space("learning_rat choice [0.1]"))
    with pytest.raises(ConfigError, match="mu_e is no key of RecBole's or ours for SASRec"):
        tuning.search.search(space("mu_e choice [0.1]"), model="SASRec", dataset="tiny")
    assert tried == []


def test_a_searched_key_on_the_command_line_is_refused(space, tried, search, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run_hyper", "--lambda=0.3"])
    with pytest.raises(ConfigError, match="lambda is searched; leave --lambda out of the command line"):
        search(space(FOUR))


def test_settings_that_allow_no_point_are_refused(space, tried, search, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run_hyper", "--tau=-1"])
    with pytest.raises(ConfigError, match="tau: got -1"):
        search(space(FOUR))


def test_a_range_whose_end_is_not_allowed_can_be_searched(space, tried, search):
    assert search(space("tau uniform 0,1\nlambda choice [0.1]"), algo="random", max_evals=1)["params"]["lambda"] == 0.1


@pytest.mark.parametrize(
    "tool, algo, told",
    [
        ("Optuna", "exhaustive", "tau is no choice"),
        ("Hyperopt", "exhaustive", "tau is no choice"),
        ("Ray", "bayes", "with --tool=Ray"),
    ],
)
def test_an_algorithm_that_cannot_search_the_space_is_refused(tool, algo, told, space, search):
    pytest.importorskip({"Ray": "pyarrow"}.get(tool, tool.lower()))
    with pytest.raises(ConfigError, match=f"algo: got {algo}, .*{told}"):
        search(space("tau uniform 0.5,1.5"), tool=tool, algo=algo)


def test_an_option_of_another_engine_is_refused(space, search):
    with pytest.raises(ConfigError, match="max_concurrent: got 2, which --tool=Optuna does not take"):
        search(space(FOUR), max_concurrent=2)
    pytest.importorskip("hyperopt")
    with pytest.raises(ConfigError, match="pruner: got median, which --tool=Hyperopt does not take"):
        search(space(FOUR), tool="Hyperopt", pruner="median")


@pytest.mark.parametrize(
    "tool, package, extra",
    [("Optuna", "optuna", "optuna"), ("Hyperopt", "hyperopt", "tune"), ("Ray", "pyarrow", "tune")],
)
def test_a_search_without_what_it_needs_says_what_to_install(tool, package, extra, command, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit, match=rf"needs {package}: pip install 'recbole_ec4srec\[{extra}\]'"):
        command(f"--tool={tool}")


# trials


def test_the_best_on_validation_wins_and_a_failed_trial_is_told(space, tried, search, tool, capsys):
    tried.scores[0.2] = RuntimeError("out of memory")
    best = search(space("lambda choice [0.1,0.2,0.3,0.4]"), tool=tool)
    assert best["params"] == {"lambda": 0.4}
    assert best["status"] == "ok"
    assert best["best_valid_result"] == {"ndcg@10": 0.4}
    assert best["test_result"] == {"ndcg@10": 0.6}
    with open("found") as file:
        text = file.read()
    assert "lambda:0.3\nValid result:\nndcg@10 : 0.3\nTest result:\nndcg@10 : 0.7\n" in text
    assert "lambda:0.2\nFailed:\nRuntimeError: out of memory\n" in text
    assert text.endswith(
        "\nBest, on validation: lambda:0.4\nValid result:\nndcg@10 : 0.4\nTest result:\nndcg@10 : 0.6\n"
    )
    assert "best params: {'lambda': 0.4}" in capsys.readouterr().out


def test_where_smaller_is_better_the_smallest_wins(space, tried, search, tool, monkeypatch):
    class Smaller(tuning.search.Search):
        def __init__(self, *args, **shared):
            super().__init__(*args, **shared)
            self.bigger = False

    monkeypatch.setattr(tuning.search, "Search", Smaller)
    assert search(space("lambda choice [0.3,0.1,0.2]"), tool=tool)["params"] == {"lambda": 0.1}


def test_a_score_that_is_no_number_is_a_failure(space, tried, search, tool):
    tried.scores[0.4] = math.nan
    assert search(space("lambda choice [0.3,0.4]"), tool=tool)["params"] == {"lambda": 0.3}
    assert "lambda:0.4\nFailed:\nValueError: the validation score is nan\n" in Path("found").read_text()


def test_early_stopping_counts_failures_but_does_not_end_at_the_first(space, tried, search, tool, empty_database):
    values = [round(0.1 * number, 1) for number in range(1, 9)]
    tried.scores.update({value: RuntimeError("no") for value in values})
    with pytest.raises(SystemExit, match="error: all 3 trials failed, see found; the last: RuntimeError: no"):
        search(space(f"lambda choice {values}"), tool=tool, early_stop=3)
    order = [point["lambda"] for point in tried]
    shutil.copy(empty_database, "found.db")
    tried.clear()
    tried.scores.update(zip(order[1:], (0.1, 0.2)))  # a failure, then twice a better one: three more may be tried
    search(space(f"lambda choice {values}"), tool=tool, early_stop=3)
    assert len(tried) == 6


def test_whole_numbers_stay_whole(space, tried, search, tool):
    search(space("lambda quniform 1,3,1"), tool=tool, algo="random", max_evals=3)
    assert {type(point["lambda"]) for point in tried} == {int}


@pytest.mark.parametrize("algo", ["random", "bayes"])
def test_a_search_of_one_process_repeats_with_the_seed(algo, space, tried, search, tool, monkeypatch, empty_database):
    params_file, orders = space("lambda uniform 0,1\ntau loguniform -1,1"), []
    for seed in (1, 1, 2):
        monkeypatch.setattr(sys, "argv", ["run_hyper", f"--seed={seed}"])
        search(params_file, tool=tool, algo=algo, max_evals=4)
        orders.append([point["lambda"] for point in tried])
        tried.clear()
        shutil.copy(empty_database, "found.db")
    assert len(set(orders[0])) == 4
    assert orders[0] == orders[1] != orders[2]


def test_a_trial_has_a_folder_of_its_own_and_no_command_line(space, tried, search, monkeypatch):
    arguments = ["--checkpoint_dir=here", "--epochs=3"]
    monkeypatch.setattr(sys, "argv", ["run_hyper", *arguments])
    search(space("lambda choice [0.1,0.2]"))
    assert len({point["folder"] for point in tried}) == 2
    assert {os.path.dirname(point["folder"]) for point in tried} == {"here"}
    assert [point["argv"] for point in tried] == [[], []]
    assert sys.argv[1:] == arguments


# the command, with real trials


def check_four():
    text = Path("found").read_text()
    assert "lambda:-1\nFailed:\nConfigError: lambda: got -1, allowed is a number >= 0\n" in text
    trials = text.partition("\nBest, on validation")[0].split("\n\n")
    assert len(trials) == 4
    return sorted(trials)


def test_a_search_trains_and_goes_on_past_a_failure(command, tool, capsys, tmp_path):
    command(f"--tool={tool}")
    check_four()
    assert "best params: {'lambda': 0." in capsys.readouterr().out
    assert len(list((tmp_path / "saved").glob("*/CL4SRec-*.pth"))) == 3


def test_recboles_own_hypertuning_searches_our_models(command):
    pytest.importorskip("hyperopt")
    with open("settings.yaml", "a") as file:
        file.write("\nmodel: DuoRec\ndataset: tiny\n")
    space = {"choice": {"lambda": [0.1, 0.2]}}
    search = HyperTuning(objective_function, params_dict=space, fixed_config_file_list=["settings.yaml"])
    search.run()
    assert [result["model"] for result in search.params2result.values()] == ["DuoRec", "DuoRec"]


@pytest.mark.slow
def test_a_search_by_ray_gives_what_the_others_give(command):
    pytest.importorskip("pyarrow")
    command()
    serial = check_four()
    command("--tool=Ray")
    assert check_four() == serial


@pytest.mark.slow
def test_a_worker_of_ray_that_dies_is_a_failed_trial(space, tried, search, monkeypatch):
    pytest.importorskip("pyarrow")

    def trial(config, search, folder):
        value = config["lambda"]
        if value == 0.3:
            os._exit(9)
        result = {"status": "ok", "model": "CL4SRec", "best_valid_score": value}
        results = {"best_valid_result": {"x": value}, "test_result": {"x": value}}
        return {"record": {"params": config, **result, **results, "seconds": 0}}

    monkeypatch.setattr(tuning.engines, "trial_of_ray", trial)
    params_file = space("lambda choice [0.1,0.2,0.3,0.4]")
    assert search(params_file, tool="Ray", early_stop=30)["params"] == {"lambda": 0.4}
    assert "lambda:0.3\nFailed:\nits process died" in Path("found").read_text()
