"""The search for hyper-parameters: spaces, the journal, both engines, trials that fail and searches that are killed."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import OUR_MODELS, SMALL
from html_page import Page
from recbole.config import Config
from recbole.quick_start import objective_function
from recbole.trainer import HyperTuning

import recbole_ec4srec.tuning.search  # noqa: F401
from recbole_ec4srec import tuning
from recbole_ec4srec.commands.run_hyper import main as run_hyper_command
from recbole_ec4srec.config.properties import properties_dir
from recbole_ec4srec.errors import ConfigError

QUICK = {**SMALL, "epochs": 1, "n_layers": 1, "topk": [10], "metrics": ["NDCG"], "valid_metric": "NDCG@10"}
TENTHS = [0.1, 0.2, 0.3, 0.4, 0.5]
MU_E = [*TENTHS, 0.6, 0.7, 0.8, 0.9]
FOUR = "lambda choice [0.1,0.2,-1,0.4]\n"  # one of the four is out of its range


@pytest.fixture
def space(tmp_path):
    def write(text):
        (tmp_path / "space.test").write_text(text)
        return "space.test"

    return write


@pytest.fixture
def tried(monkeypatch, data_path):
    """The points that the objective was asked for; its score is ``scores[lambda]``, or an error to be raised. The data
    set ``tiny`` lies where RecBole looks for one."""
    shutil.copytree(data_path / "tiny", "dataset/tiny")

    class Tried(list):
        scores, bigger = {}, True

        def __call__(self, config):
            self.append({"lambda": config["lambda"], "folder": config["checkpoint_dir"], "argv": sys.argv[1:]})
            score = self.scores.get(config["lambda"], config["lambda"])
            if isinstance(score, BaseException):
                raise score
            result = {"best_valid_result": {"ndcg@10": score}, "test_result": {"ndcg@10": 1 - score}}
            return {"model": "CL4SRec", "best_valid_score": score, "valid_score_bigger": self.bigger, **result}

    tried = Tried()
    monkeypatch.setattr(tuning.trials, "objective_function", tried)
    return tried


def search(params_file, **options):
    pytest.importorskip("hyperopt")
    return tuning.search.search(params_file, output_file="found", model="CL4SRec", dataset="tiny", **options)


def journal():
    with open("found.jsonl") as file:
        return [json.loads(line) for line in file][1:]


# spaces


def test_a_space_file_is_recboles(space):
    text = (
        "# a comment\n\nlambda choice [0.1, 0.2]\ntau uniform 0.5, 1.5\nn_layers quniform 1,4,1\nmu_c loguniform -3,0"
    )
    assert tuning.space.read_space(space(text)) == {
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
        tuning.space.read_space(space(f"lambda choice [0.1]\n{line}\n"))
    assert str(error.value).startswith("space.test, line 2: ")
    assert told in str(error.value)
    assert os.listdir(tmp_path) == ["space.test"]  # nothing of the line was run


def test_a_space_file_that_is_not_there_or_empty_is_refused(space):
    with pytest.raises(ConfigError, match=r"params_file: nowhere\.test cannot be read"):
        tuning.space.read_space("nowhere.test")
    with pytest.raises(ConfigError, match=r"params_file: space\.test has no parameter"):
        tuning.space.read_space(space("\n"))


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
    assert tuning.space.read_space(tuning.search.shipped_space(model)) == {
        key: ("choice", SPACES[model][key]) for key in SPACES[model]
    }
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
        assert set(HyperTuning(None, params_file=file).space) == set(tuning.space.read_space(file))


def test_a_model_without_a_space_needs_one():
    with pytest.raises(ConfigError, match="params_file: missing; without it --model has to be one of CL4SRec, DuoRec"):
        tuning.search.search(model="SASRec", dataset="tiny")


def test_without_a_file_the_models_space_is_searched(tried):
    search(None)
    assert sorted(point["lambda"] for point in tried) == TENTHS


def test_a_search_of_no_data_set_is_refused(space):
    with pytest.raises(ConfigError, match="dataset need to be specified"):
        tuning.search.search(space(FOUR), model="CL4SRec")


def test_a_key_that_nobody_knows_is_refused_before_the_first_trial(space, tried):
    with pytest.raises(ConfigError, match="learning_rat is no key of RecBole's or ours for CL4SRec; did you mean lear"):
        search(space("learning_rat choice [0.1]"))
    with pytest.raises(ConfigError, match="mu_e is no key of RecBole's or ours for SASRec"):
        tuning.search.search(space("mu_e choice [0.1]"), model="SASRec", dataset="tiny")
    assert tried == []


def test_a_searched_key_on_the_command_line_is_refused(space, tried, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run_hyper", "--lambda=0.3"])
    with pytest.raises(ConfigError, match="lambda is searched; leave --lambda out of the command line"):
        search(space(FOUR))


def test_settings_that_allow_no_point_are_refused(space, tried, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run_hyper", "--tau=-1"])
    with pytest.raises(ConfigError, match="tau: got -1"):
        search(space(FOUR))


@pytest.mark.parametrize(
    "tool, algo, told", [("Hyperopt", "exhaustive", "tau is no choice"), ("Ray", "bayes", "with --tool=Ray")]
)
def test_an_algorithm_that_cannot_search_the_space_is_refused(tool, algo, told, space):
    with pytest.raises(ConfigError, match=f"algo: got {algo}, .*{told}"):
        search(space("tau uniform 0.5,1.5"), tool=tool, algo=algo)


# points for Ray


def test_exhaustive_points_are_all_of_them_once():
    space = {"a": ("choice", [1, 2]), "b": ("choice", [3, 4, 3])}
    found = tuning.space.points(space, "exhaustive", 1, seed=0)
    assert sorted((point["a"], point["b"]) for point in found) == [(1, 3), (1, 4), (2, 3), (2, 4)]


def test_random_points_are_of_the_space_and_repeat_with_the_seed():
    space = {
        "a": ("uniform", [1, 2]),
        "b": ("quniform", [1, 4, 1]),
        "c": ("loguniform", [-3, -1]),
        "d": ("choice", [5]),
    }
    found = tuning.space.points(space, "random", 20, seed=0)
    assert len(found) == 20
    for point in found:
        assert 1 <= point["a"] <= 2
        assert point["b"] in (1, 2, 3, 4)
        assert isinstance(point["b"], int)
        assert math.exp(-3) <= point["c"] <= math.exp(-1)
        assert point["d"] == 5
    assert tuning.space.points(space, "random", 5, seed=0) == found[:5]
    assert tuning.space.points(space, "random", 5, seed=1) != found[:5]


# trials


def test_the_best_on_validation_wins_and_a_failed_trial_is_told(space, tried, capsys):
    tried.scores[0.2] = RuntimeError("out of memory")
    best = search(space("lambda choice [0.1,0.2,0.3,0.4]"))
    assert best["params"] == {"lambda": 0.4}
    by_lambda = {record["params"]["lambda"]: record for record in journal()}
    assert by_lambda[0.2].pop("seconds") >= 0
    assert by_lambda[0.2] == {"params": {"lambda": 0.2}, "status": "failed", "reason": "RuntimeError: out of memory"}
    assert by_lambda[0.3]["status"] == "ok"
    assert by_lambda[0.3]["best_valid_result"] == {"ndcg@10": 0.3}
    assert by_lambda[0.3]["test_result"] == {"ndcg@10": 0.7}
    with open("found") as file:
        text = file.read()
    assert "lambda:0.3\nValid result:\nndcg@10 : 0.3\nTest result:\nndcg@10 : 0.7\n" in text
    assert "lambda:0.2\nFailed:\nRuntimeError: out of memory\n" in text
    assert text.endswith(
        "\nBest, on validation: lambda:0.4\nValid result:\nndcg@10 : 0.4\nTest result:\nndcg@10 : 0.6\n"
    )
    assert "best params: {'lambda': 0.4}" in capsys.readouterr().out


def test_where_smaller_is_better_the_smallest_wins(space, tried):
    tried.bigger = False
    assert search(space("lambda choice [0.3,0.1,0.2]"))["params"] == {"lambda": 0.1}


def test_a_score_that_is_no_number_is_a_failure(space, tried):
    tried.scores[0.4] = math.nan
    assert search(space("lambda choice [0.3,0.4]"))["params"] == {"lambda": 0.3}
    reasons = [record["reason"] for record in journal() if record["status"] == "failed"]
    assert reasons == ["ValueError: the validation score is nan"]


def test_early_stopping_counts_failures_but_does_not_end_at_the_first(space, tried):
    values = [round(0.1 * number, 1) for number in range(1, 9)]
    tried.scores.update({value: RuntimeError("no") for value in values})
    with pytest.raises(SystemExit, match="error: all 3 trials failed, see found; the last: RuntimeError: no"):
        search(space(f"lambda choice {values}"), early_stop=3)
    order = [point["lambda"] for point in tried]
    os.remove("found.jsonl")
    tried.clear()
    tried.scores.update(zip(order[1:], (0.1, 0.2)))  # a failure, then twice a better one: three more may be tried
    search(space(f"lambda choice {values}"), early_stop=3)
    assert len(tried) == 6


def test_whole_numbers_stay_whole(space, tried):
    search(space("lambda quniform 1,3,1"), algo="random", max_evals=3)
    assert {type(point["lambda"]) for point in tried} == {int}


def test_a_trial_has_a_folder_of_its_own_and_no_command_line(space, tried, monkeypatch):
    arguments = ["--checkpoint_dir=here", "--epochs=3"]
    monkeypatch.setattr(sys, "argv", ["run_hyper", *arguments])
    search(space("lambda choice [0.1,0.2]"))
    assert len({point["folder"] for point in tried}) == 2
    assert {os.path.dirname(point["folder"]) for point in tried} == {"here"}
    assert [point["argv"] for point in tried] == [[], []]
    assert sys.argv[1:] == arguments


def test_the_page_has_all_trials_and_no_script(space, tried):
    tried.scores[0.1] = RuntimeError("<b>no</b>")
    search(space("lambda choice [0.1,0.2]"), display_file="plot.html")
    page = Page(Path("plot.html").read_text(encoding="utf-8"))
    (header, *rows) = page.tables["Trials"]
    assert header == ["trial", "parameters", "validation score"]
    assert sorted(row[1:] for row in rows) == [["lambda:0.1", "RuntimeError: <b>no</b>"], ["lambda:0.2", "0.2"]]
    assert "svg" in page.tags


# the journal


@pytest.mark.parametrize("algo", ["exhaustive", "random", "bayes"])
def test_a_stopped_search_goes_on_and_ends_as_the_unbroken_one(algo, space, tried):
    values = [round(0.01 * number, 2) for number in range(1, 31)]
    options = {"algo": algo, "max_evals": 25, "early_stop": 30}
    params_file = space(f"lambda choice {values}")
    unbroken = search(params_file, **options)
    order = [point["lambda"] for point in tried]
    assert len(set(order)) == len(order)  # a point that is drawn again is not run again

    os.remove("found.jsonl")
    tried.clear()
    tried.scores[order[7]] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt, match="the same command resumes after 7 trials"):
        search(params_file, **options)

    tried.clear()
    tried.scores.clear()
    resumed = search(params_file, **options)
    assert [point["lambda"] for point in tried] == order[7:]
    assert resumed["params"] == unbroken["params"]


def test_a_half_written_line_is_a_trial_that_is_run_again(space, tried):
    params_file = space("lambda choice [0.1,0.2,0.3]")
    search(params_file)
    with open("found.jsonl", "rb+") as file:
        file.truncate(os.path.getsize("found.jsonl") - 5)
    search(params_file)
    assert len(tried) == 4
    assert len(journal()) == 3


def test_the_journal_of_another_search_is_refused_with_what_differs(space, tried, monkeypatch):
    search(space("lambda choice [0.1,0.2]"))
    with pytest.raises(ConfigError, match=r"found\.jsonl is the journal .* of other space: lambda .*, here .*0\.3"):
        search(space("lambda choice [0.1,0.3]"))
    monkeypatch.setattr(sys, "argv", ["run_hyper", "--epochs=3"])
    with pytest.raises(ConfigError, match=r"of other settings: epochs 150, here 3; give another --output_file"):
        search(space("lambda choice [0.1,0.2]"))
    assert len(tried) == 2


def test_more_trials_may_be_asked_for_later(space, tried):
    params_file = space("lambda uniform 0.1,0.9")
    search(params_file, algo="random", max_evals=2)
    search(params_file, algo="random", max_evals=5)
    assert len(tried) == 5


@pytest.mark.parametrize("text", ["notes", "notes\n", '{"search": 1, "x": 2}\n{"y": 3}\n'])
def test_a_file_that_is_no_journal_is_left_alone(text, space, tried, tmp_path):
    (tmp_path / "found.jsonl").write_text(text)
    with pytest.raises(ConfigError, match=r"output_file: found\.jsonl is no journal of a search"):
        search(space(FOUR))
    assert (tmp_path / "found.jsonl").read_text() == text


# the command, with real trials


@pytest.fixture
def command(data_path, tmp_path, monkeypatch):
    """``command(*flags)``: runs ``run_hyper`` over ``tiny``, from a path that is relative to the working folder."""
    lines = [f"{key}: {value}" for key, value in {**QUICK, "data_path": os.path.relpath(data_path, tmp_path)}.items()]
    (tmp_path / "settings.yaml").write_text("\n".join(lines))
    (tmp_path / "four.test").write_text(FOUR)
    arguments = ["--model=CL4SRec", "--dataset=tiny", "--config_files=settings.yaml", "--params_file=four.test"]

    def run(*flags):
        monkeypatch.setattr(sys, "argv", ["run_hyper", *arguments, "--output_file=found", *flags])
        run_hyper_command()

    return run


def check_four():
    records = {record["params"]["lambda"]: record for record in journal()}
    assert set(records) == {0.1, 0.2, -1, 0.4}
    assert records.pop(-1)["reason"] == "ConfigError: lambda: got -1, allowed is a number >= 0"
    for record in records.values():
        assert record["status"] == "ok"
        assert record["best_valid_score"] == record["best_valid_result"]["ndcg@10"]
    return {value: (record["best_valid_result"], record["test_result"]) for value, record in records.items()}


def test_a_search_by_hyperopt_trains_and_goes_on_past_a_failure(command, capsys, tmp_path):
    pytest.importorskip("hyperopt")
    command()
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


def test_a_search_without_what_it_needs_says_what_to_install(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "hyperopt", None)
    with pytest.raises(SystemExit, match=r"needs hyperopt: pip install 'recbole_ec4srec\[tune\]'"):
        command()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SystemExit, match=r"needs pyarrow: pip install 'recbole_ec4srec\[tune\]'"):
        command("--tool=Ray")


@pytest.mark.slow
def test_a_search_by_ray_gives_what_hyperopt_gives(command):
    pytest.importorskip("hyperopt")
    pytest.importorskip("pyarrow")
    command()
    serial = check_four()
    os.remove("found.jsonl")
    command("--tool=Ray")
    assert check_four() == serial


@pytest.mark.slow
def test_a_worker_of_ray_that_dies_is_a_failed_trial(space, tried, monkeypatch):
    pytest.importorskip("pyarrow")

    def trial(config, settings, folder):
        value = config["point"]["lambda"]
        if value == 0.3:
            os._exit(9)
        result = {"status": "ok", "model": "CL4SRec", "best_valid_score": value, "valid_score_bigger": False}
        results = {"best_valid_result": {"x": value}, "test_result": {"x": value}}
        return {"record": {"params": config["point"], **result, **results, "seconds": 0}}

    monkeypatch.setattr(tuning.engines, "trial_of_ray", trial)
    params_file = space("lambda choice [0.1,0.2,0.3,0.4]")
    assert search(params_file, tool="Ray", early_stop=30)["params"] == {"lambda": 0.1}
    reasons = {record["params"]["lambda"]: record.get("reason", "") for record in journal()}
    assert [value for value, reason in reasons.items() if "its process died" in reason] == [0.3]


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on(command, tmp_path):
    """SIGKILL after the first trial; the trials of the journal are not trained again."""
    pytest.importorskip("hyperopt")
    code = "from recbole_ec4srec.commands.run_hyper import main; main()"
    flags = "--model=CL4SRec --dataset=tiny --config_files=settings.yaml --params_file=four.test --output_file=found"
    killed = subprocess.Popen([sys.executable, "-c", code, *flags.split()], stderr=subprocess.DEVNULL)
    while not (os.path.exists("found.jsonl") and len(journal()) >= 1):
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    done = journal()
    assert len(done) < 4
    command()
    check_four()
    assert journal()[: len(done)] == done
