"""The search for hyper-parameters, by Optuna and by RecBole's engines: what is refused, trials that fail or are
stopped, results and plots, searches that resume, several processes."""

import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from conftest import SMALL
from matplotlib import pyplot
from optuna.storages import RDBStorage
from recbole.quick_start import objective_function
from recbole.trainer import HyperTuning

import recbole_ec4srec.tuning.search  # noqa: F401
from recbole_ec4srec import tuning
from recbole_ec4srec.commands.run_hyper import main as run_hyper_command
from recbole_ec4srec.errors import ConfigError, RunError
from recbole_ec4srec.training import resume
from recbole_ec4srec.tuning import study as engine

QUICK = {**SMALL, "epochs": 1, "n_layers": 1, "topk": [10], "metrics": ["NDCG"], "valid_metric": "NDCG@10"}
FOUR = "lambda choice [0.1,0.2,-1,0.4]\n"  # one of the four is out of its range
TENTHS = "lambda choice [0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9]"
SIX = "lambda choice [0.1,0.2,0.3,0.4,0.5,0.6]"
NEEDS = [("Optuna", "optuna", "optuna"), ("Hyperopt", "hyperopt", "tune"), ("Ray", "pyarrow", "tune")]
STORAGE = "sqlite:///found.db"


@pytest.fixture
def tried(monkeypatch, data_path):
    """The points that the objective was asked for; its score is ``scores[lambda]``, or an error to be raised. The data
    set ``tiny`` lies where RecBole looks for one."""
    shutil.copytree(data_path / "tiny", "dataset/tiny")

    class Tried(list):
        def __init__(self):
            self.scores = {}

        def __call__(self, config):
            self.append({"lambda": config["lambda"], "folder": config["checkpoint_dir"], "argv": sys.argv[1:]})
            score = self.scores.get(config["lambda"], config["lambda"])
            if isinstance(score, BaseException):
                raise score
            result = {"best_valid_result": {"ndcg@10": score}, "test_result": {"ndcg@10": 1 - score}}
            return {"model": "CL4SRec", "best_valid_score": score, "valid_score_bigger": True, **result}

    tried = Tried()
    monkeypatch.setattr(tuning.trials, "objective_function", tried)
    return tried


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A storage of Optuna's, which takes a while to make."""
    file = tmp_path_factory.mktemp("storage") / "empty.db"
    RDBStorage(f"sqlite:///{file}")
    return file


@pytest.fixture
def search(data_path, empty_database):
    """``search(params_file, **options)``: a search for CL4SRec over ``tiny``, in the file ``found``."""
    shutil.copy(empty_database, "found.db")

    def start(params_file, **options):
        return tuning.search.search(params_file, output_file="found", model="CL4SRec", dataset="tiny", **options)

    return start


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
def test_a_search_without_what_it_needs_says_what_to_install(tool, package, extra, command, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit):
        command(f"--tool={tool}")
    message = f"--tool={tool} needs {package}, which is not installed: pip install 'recbole_ec4srec[{extra}]'"
    assert capsys.readouterr().err.endswith(f"error: {message}\n")


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
    with pytest.raises(RunError, match="all 3 trials failed, see found; the last: RuntimeError: no"):
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
    return sorted(trial.strip() for trial in trials)


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


def trials():
    return optuna.load_study(study_name="found", storage=STORAGE).trials


def states():
    return [trial.state.name for trial in trials()]


# what resumes


@pytest.mark.parametrize(
    "algo, text, number",
    [("exhaustive", TENTHS, 9), ("random", "lambda uniform 0,1", 9), ("bayes", "lambda uniform 0,1", 13)],
)
def test_a_stopped_search_goes_on_and_ends_as_the_unbroken_one(
    algo, text, number, space, tried, search, empty_database
):
    """The first ten trials of TPE are random."""
    options = {"algo": algo, "max_evals": number, "early_stop": 30}
    params_file = space(text)
    unbroken = search(params_file, **options)
    order = [point["lambda"] for point in tried]
    assert len(set(order)) == len(order) == number

    shutil.copy(empty_database, "found.db")
    tried.clear()
    tried.scores[order[7]] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt, match="the same command resumes after 7 trials"):
        search(params_file, **options)

    tried.clear()
    tried.scores.clear()
    resumed = search(params_file, **options)
    again = [point["lambda"] for point in tried]
    assert again[0] == order[7]  # the interrupted trial
    assert sorted(again) == sorted(order[7:]) if algo == "exhaustive" else again == order[7:]
    assert resumed["params"] == unbroken["params"]


def test_points_are_run_once_also_those_that_failed(space, tried, search):
    tried.scores[0.2] = RuntimeError("no")
    for max_evals in (4, 9):
        search(space("lambda choice [0.1,0.2,0.3]"), algo="random", max_evals=max_evals, early_stop=30)
    assert sorted(point["lambda"] for point in tried) == [0.1, 0.2, 0.3]
    assert len(trials()) == 9
    assert Path("found").read_text().count("lambda:") == 4  # each point, and the best


def test_more_trials_may_be_asked_for_later_and_of_another_algorithm(space, tried, search):
    params_file = space("lambda uniform 0.1,0.9")
    search(params_file, algo="random", max_evals=2)
    search(params_file, algo="bayes", max_evals=5, pruner="halving")
    assert len(tried) == 5


def test_values_of_a_choice_keep_their_types(space, tried, search):
    text = "lambda choice [0.1]\naugmentations choice [['crop'],['crop','mask'],['crop']]\nsecond_pass choice [False,0]"
    found = [search(space(text), early_stop=30)["params"]]
    found += [trial.user_attrs["record"]["params"] for trial in trials()]
    assert {str(point["augmentations"]) for point in found} == {"['crop']", "['crop', 'mask']"}
    assert {type(point["second_pass"]) for point in found} == {bool, int}
    assert len(trials()) == 4


# what is refused


def test_another_search_in_the_storage_is_refused_with_what_differs(space, tried, search, monkeypatch):
    search(space("lambda choice [0.1,0.2]"))
    with pytest.raises(ConfigError, match=r"storage: found in sqlite:///found\.db is .* other space: lambda .*0\.3"):
        search(space("lambda choice [0.1,0.3]"))
    monkeypatch.setattr(sys, "argv", ["run_hyper", "--epochs=3"])
    with pytest.raises(ConfigError, match=r"of other settings: epochs 150, here 3; give another --output_file"):
        search(space("lambda choice [0.1,0.2]"))
    assert len(tried) == 2


def test_a_study_of_somebody_else_is_left_alone(space, tried, search):
    study = optuna.create_study(storage=STORAGE, study_name="found")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(ConfigError, match=r"found in sqlite:///found\.db is no search of run_hyper"):
        search(space(TENTHS))
    assert len(trials()) == 1


@pytest.mark.parametrize(
    "storage, told",
    [
        ("nonsense", "Could not parse"),
        ("nosql://me:secret@host/db", "nosql"),
        ("sqlite:///missing/found.db", "unable to open database file"),
        ("sqlite:///notes", "file is not a database"),
    ],
)
def test_a_storage_that_cannot_be_used_is_refused_without_its_password(
    storage, told, space, tried, search, monkeypatch
):
    monkeypatch.setattr(engine.time, "sleep", lambda seconds: None)
    Path("notes").write_text("notes " * 100)
    with pytest.raises(ConfigError, match=f"storage: got .*, allowed is the URL of a database .*{told}") as refused:
        search(space(TENTHS), storage=storage)
    assert "secret" not in str(refused.value)
    assert Path("notes").read_text() == "notes " * 100


# several processes, and processes that die


@pytest.fixture
def processes(space, search):
    """``processes(objective, number)``: searches of six points that start at once; their exit codes."""
    params_file = space(SIX)

    def start(objective, number):
        context = multiprocessing.get_context("fork")
        ready = context.Barrier(number)
        os.remove("found.db")

        def run():
            tuning.trials.objective_function = objective
            ready.wait()
            search(params_file, early_stop=30)

        started = [context.Process(target=run) for _ in range(number)]
        for process in started:
            process.start()
        for process in started:
            process.join()
        return [process.exitcode for process in started]

    return start


def test_processes_that_start_at_once_share_a_search(processes, tried, tmp_path):
    def objective(config):
        time.sleep(0.1)
        with open("tried", "a") as file:
            file.write(f"{os.getpid()} {config['lambda']}\n")
        return tried(config)

    assert processes(objective, 2) == [0, 0]
    ids, values = zip(*map(str.split, Path("tried").read_text().splitlines()))
    assert len(set(ids)) == 2
    assert sorted(values) == ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6"]
    assert states().count("COMPLETE") == 6  # a trial that both began as the last may have been dropped
    assert Path("found").read_text().count("lambda:") == 7


def test_a_search_that_is_killed_goes_on_and_runs_the_killed_trial_again(
    processes, space, tried, search, monkeypatch, capsys
):
    monkeypatch.setattr(engine, "GRACE", 1)
    monkeypatch.setattr(engine, "HEARTBEAT", 1)

    def objective(config):
        if len(tried) == 2:
            time.sleep(1)  # until there was a sign of life
            os.kill(os.getpid(), signal.SIGKILL)
        return tried(config)

    assert processes(objective, 1) == [-signal.SIGKILL]
    assert states() == ["COMPLETE", "COMPLETE", "RUNNING"]
    assert search(space(SIX), early_stop=30)["params"] == {"lambda": 0.6}
    assert len(tried) == 4
    assert sorted(states()) == ["COMPLETE"] * 6 + ["FAIL"]
    assert states()[2] == "FAIL"
    assert Path("found").read_text().count("lambda:") == 7


@pytest.mark.slow
def test_commands_that_start_at_once_share_a_search(command, tmp_path):
    (tmp_path / "four.test").write_text(SIX)
    code = "from recbole_ec4srec.commands.run_hyper import main; main()"
    flags = "--model=CL4SRec --dataset=tiny --config_files=settings.yaml --params_file=four.test --output_file=found"
    arguments = [sys.executable, "-c", code, *flags.split()]
    started = [subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    outputs = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]  # both end with the best of all
    done = [trial for trial in trials() if trial.state.name == "COMPLETE"]
    assert len(done) == 6
    assert all(trial.intermediate_values == {0: trial.value} for trial in done)


def test_ctrl_c_does_not_wait_for_the_trials_of_others(space, tried, search, monkeypatch, capsys):
    search(space(TENTHS), algo="random", max_evals=2)
    optuna.load_study(study_name="found", storage=STORAGE).ask()

    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine.time, "sleep", interrupted)
    assert search(space(TENTHS), algo="random", max_evals=3)["status"] == "ok"
    assert states() == ["COMPLETE", "COMPLETE", "RUNNING"]


# trials that are stopped


@pytest.fixture
def curves(tried, monkeypatch):
    """``curves.of`` has the validation curves of the trials, in order; ``curves.seen`` how many epochs each took."""
    curves = SimpleNamespace(of=[], seen=[], trainer=SimpleNamespace(epochs=10, history=[], valid_metric="ndcg@10"))

    def objective(config):
        curve = curves.of[len(curves.seen)]
        curves.seen.append(0)
        for epoch, score in enumerate(curve):
            curves.seen[-1] += 1
            curves.trainer.history = [
                {"epoch": number, "valid": {"ndcg@10": value}} for number, value in enumerate(curve[: epoch + 1], 1)
            ]
            resume._listener.get()(curves.trainer, epoch, score)
        result = {"best_valid_result": {"ndcg@10": max(curve)}, "test_result": {"ndcg@10": 0.0}}
        return {"model": "CL4SRec", "best_valid_score": max(curve), "valid_score_bigger": True, **result}

    monkeypatch.setattr(tuning.trials, "objective_function", objective)
    return curves


@pytest.mark.parametrize("updates, epochs", [([3, 5], 3), ([5], 5), ([], 3)])
def test_an_unpromising_trial_is_pruned_but_never_before_its_first_update_is_over(
    updates, epochs, space, curves, search
):
    """Updates are at the start of epochs, counted from 1; without any, a fifth of the epochs is waited for."""
    if updates:
        curves.trainer.update_epochs = updates
    curves.of = [[0.5] * 5] * 5 + [[0.1] * 5]
    search(space(SIX), early_stop=30)
    assert curves.seen == [5] * 5 + [epochs]
    assert states() == ["COMPLETE"] * 5 + ["PRUNED"]
    assert trials()[5].intermediate_values == dict.fromkeys(range(epochs), 0.1)
    reason = f"0.1000 on validation after epoch {epochs - 1} (counted from 0)"
    assert f"\nPruned:\n{reason}\n" in Path("found").read_text()


@pytest.mark.parametrize("last, pruner", [([0.1, 0.1, 0.5, 0.5, 0.5], "median"), ([0.1] * 5, "none")])
def test_a_trial_as_good_as_others_is_not_stopped_and_none_without_a_pruner(last, pruner, space, curves, search):
    curves.of = [[0.5] * 5] * 5 + [last]
    search(space(SIX), early_stop=30, pruner=pruner)
    assert curves.seen == [5] * 6


def test_a_trial_is_not_stopped_after_its_last_epoch(space, curves, search):
    """That would save no time, and lose its score."""
    curves.trainer.epochs = 1
    curves.of = [[0.5]] * 5 + [[0.1]]
    search(space(SIX), early_stop=30)
    assert states() == ["COMPLETE"] * 6


def test_the_best_epoch_before_an_interruption_counts(curves):
    """A trial resumes after three epochs, of which one was good."""
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=1))
    curve = dict.fromkeys(range(10), 0.5)
    study.add_trial(optuna.create_trial(value=0.5, intermediate_values=curve))
    trial, epochs = study.ask(), enumerate((0.1, 0.6, 0.1, 0.1), 1)
    curves.trainer.history = [{"epoch": epoch, "valid": {"ndcg@10": score}} for epoch, score in epochs]
    engine._judge(trial, curves.trainer, 3, 0.1)
    assert study.trials[1].intermediate_values == {0: 0.1, 1: 0.6, 2: 0.1, 3: 0.1}


@pytest.mark.parametrize("model", ["EC4SRec", "SASRec"])
def test_each_epoch_of_a_training_is_heard(model, data_path, tmp_path):
    heard = []
    settings = {**SMALL, "epochs": 3, "num_updates": 1, "model": model, "dataset": "tiny", "data_path": str(data_path)}
    if model == "SASRec":
        del settings["num_updates"]

    def listener(trainer, epoch, score):
        heard.append((epoch, score == trainer.history[-1]["valid"][trainer.valid_metric]))
        if epoch == 1:
            raise tuning.trials.Hopeless("no")

    record = tuning.trials.run_trial({}, {**settings, "checkpoint_dir": str(tmp_path)}, listener)
    assert (record["status"], record["reason"]) == ("pruned", "no")
    assert heard == [(0, True), (1, True)]


# plots


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_plots_are_optunas(suffix, space, tried, search, tmp_path):
    tried.scores[0.3] = RuntimeError("no")
    before = dict(pyplot.rcParams)
    search(space("lambda choice [0.1,0.2,0.3]\ntau choice [0.5,1.0]"), plot=Path(f"plots.{suffix}"), early_stop=30)
    files = [tmp_path / f"plots-{name}.{suffix}" for name in ("history", "importances")]
    assert all(file.stat().st_size > 1000 for file in files)
    if suffix == "svg":
        assert "Optimization History Plot" in files[0].read_text()
        assert ">tau<" in files[1].read_text()
    assert dict(pyplot.rcParams) == before


def test_a_search_of_one_trial_has_a_plot_of_its_history_alone(space, tried, search):
    search(space("lambda choice [0.1]"), plot=Path("plots.svg"))
    assert [plot.name for plot in Path().glob("plots*")] == ["plots-history.svg"]
