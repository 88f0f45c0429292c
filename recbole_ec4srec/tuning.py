"""Searching hyper-parameters: RecBole's ``run_hyper.py`` for all models, made to survive.

RecBole's two engines, hyperopt (one trial after another) and Ray Tune (side by side), choose and run the trials; what
became of each is a line of a journal, from which a search that was killed goes on.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import hashlib
import itertools
import json
import math
import os
import random
import sys
from logging import getLogger
from pathlib import Path
from time import time

from recbole.config import Config
from recbole.data import create_dataset
from recbole.trainer import HyperTuning
from recbole.utils import dict2str

from recbole_ec4srec.config import recbole_keys
from recbole_ec4srec.config.keys import KEYS
from recbole_ec4srec.config.properties import properties_dir
from recbole_ec4srec.config.variants import canonical_name
from recbole_ec4srec.console import show, tell
from recbole_ec4srec.errors import ConfigError, printable
from recbole_ec4srec.plugin.registry import known_keys
from recbole_ec4srec.quick_start import objective_function
from recbole_ec4srec.storage.settings import differences, plain, plain_settings

#: What stands behind the kinds of parameters in a file of RecBole's.
KINDS = {
    "choice": "a list of values, such as [0.1,0.2]",
    "uniform": "low,high",
    "quniform": "low,high,step",
    "loguniform": "low,high: the value is e to the power of a number between them",
}


def read_space(file) -> dict:
    """The search space of a file in RecBole's format, ``name kind values`` on each line.

    Returns:
        the kind and the values of each parameter, by its name.

    Raises:
        ConfigError: a line is something else; it names the file, the line and what is allowed.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"params_file: {file} cannot be read ({error})") from None
    space = {}
    for number, line in enumerate(lines, 1):
        words, where = line.split(None, 2), f"{file}, line {number}"
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 3 or words[1] not in KINDS:
            raise ConfigError(f"{where}: got {line!r}, allowed is: name kind values, of kind {', '.join(KINDS)}")
        name, kind, text = words
        if name in space:
            raise ConfigError(f"{where}: {name} is there already")
        try:
            space[name] = (kind, _values(kind, text))
        except (ValueError, TypeError, SyntaxError, RecursionError):
            raise ConfigError(f"{where}: {name}: got {text!r}, allowed for {kind} is {KINDS[kind]}") from None
    if not space:
        raise ConfigError(f"params_file: {file} has no parameter")
    return space


def _values(kind, text):
    values = ast.literal_eval(text)
    if kind == "choice":
        if not isinstance(values, (list, tuple)) or not values:
            raise ValueError
    else:
        low, high, *step = values
        numbers = all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
        if not numbers or low >= high or len(step) != (kind == "quniform") or any(size <= 0 for size in step):
            raise ValueError
    return json.loads(json.dumps(values))


def points(space: dict, algo: str, max_evals: int, seed: int) -> list:
    """The points that Ray tries, in order: all of them, shuffled (``exhaustive``), or some (``random``).

    The same seed gives the same points, and more of them with a larger ``max_evals``.
    """
    rng = random.Random(seed)
    if algo == "exhaustive":
        found = [dict(zip(space, point)) for point in itertools.product(*(values for _, values in space.values()))]
        rng.shuffle(found)
    else:
        found = [{name: _draw(*parameter, rng) for name, parameter in space.items()} for _ in range(max_evals)]
    return list({_name(point): point for point in found}.values())


def _draw(kind, values, rng):
    if kind == "choice":
        return rng.choice(values)
    low, high, *step = values
    value = rng.uniform(low, high)
    if step:
        return round(value / step[0]) * step[0]
    return math.exp(value) if kind == "loguniform" else value


def _name(point) -> str:
    return json.dumps(point, sort_keys=True)


class Journal:
    """What became of the trials of a search, one JSON line each, below one for the search itself.

    A search is its space, the settings that all trials share and their data; engine, algorithm and number of trials
    may change from one start to the next.

    Args:
        file: where it is kept; what is there is read.
        search: the space, the settings and the data's fingerprint, in JSON's types.

    Raises:
        ConfigError: the file is the journal of another search, or none.
    """

    def __init__(self, file, search: dict):
        self.file, self.records = Path(file), []
        text = self.file.read_bytes() if self.file.is_file() else b""
        whole = text[: text.rfind(b"\n") + 1]  # a process that dies while writing leaves a part of a line
        if not text:
            self._append({"search": search})
            return
        try:
            first, *self.records = [json.loads(line) for line in whole.splitlines()]
            theirs, _ = first["search"], [record["params"] for record in self.records]
        except (ValueError, KeyError, TypeError):
            raise ConfigError(f"output_file: {file} is no journal of a search; give another --output_file") from None
        for part, here in search.items():
            if told := differences(theirs[part], here):
                raise ConfigError(
                    f"output_file: {file} is the journal of a search of other {part}: {told}; "
                    "give another --output_file, or remove it"
                )
        os.truncate(self.file, len(whole))

    def _append(self, line):
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def add(self, record: dict) -> None:
        self._append(record)
        self.records.append(record)
        done = record["status"] == "ok"
        told = f"{record['best_valid_score']:.4f} on validation" if done else f"failed: {record['reason']}"
        tell(f"trial {len(self.records)}: {HyperTuning.params2str(record['params'])}: {told}")

    def find(self, point: dict):
        return next((record for record in self.records if record["params"] == point), None)

    @property
    def best(self):
        """The first trial with the best validation score, or None."""
        return max((record for record in self.records if record["status"] == "ok"), key=_score, default=None)

    @property
    def trials_since_best(self) -> int:
        return len(self.records) - 1 - (self.records.index(self.best) if self.best else -1)


def _score(record):
    """The validation score of a trial, the larger the better."""
    return record["best_valid_score"] * (1 if record["valid_score_bigger"] else -1)


class Search:
    """The trials of a search: what they share, and how one is run.

    Args:
        space: see :func:`read_space`.
        journal: the file of the :class:`Journal`.
        model, dataset, config_files: as for RecBole's ``Config``; the command line is read as well.
        asked: settings of the trials that have no part in what they find.

    Raises:
        ConfigError: a parameter is no key of RecBole's or ours, or the settings allow no trial.
    """

    def __init__(self, space, journal, model=None, dataset=None, config_files=None, asked=None):
        config = _config(space, model, dataset, config_files)
        known = known_keys(config) | set(config.file_config_dict)
        for name in space:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                raise ConfigError(
                    f"params_file: {name} is no key of RecBole's or ours for {config.model}"
                    + (f"; did you mean {close[0]}?" if close else "")
                )
            if name in config.cmd_config_dict:
                raise ConfigError(f"params_file: {name} is searched; leave --{name} out of the command line")
        self.space, self.seed = space, config["seed"]
        where = {"model": config.model, "dataset": config.dataset, "checkpoint_dir": config["checkpoint_dir"]}
        self.settings = {**config.external_config_dict, **where, **(asked or {})}
        self.gpus = int(config["device"].type == "cuda")  # that a trial takes
        settings = {key: value for key, value in plain_settings(config).items() if key not in space}
        data = create_dataset(config).fingerprint
        self.journal = Journal(journal, {"space": json.loads(json.dumps(space)), "settings": settings, "data": data})

    def point(self, drawn: dict) -> dict:
        """What hyperopt drew, in JSON's types, and whole numbers where the space has them."""
        point = json.loads(json.dumps(drawn, default=lambda value: value.item()))
        for name, (kind, values) in self.space.items():
            if kind == "quniform" and all(isinstance(value, int) for value in values):
                point[name] = int(point[name])
        return point


def _config(space, model, dataset, files):
    """A configuration of the space: of its first point, or the next that is allowed."""
    known = recbole_keys.known(KEYS)
    space = {name: parameter for name, parameter in space.items() if name in known}  # others are refused by the caller
    for number in range(max((len(values) for _, values in space.values()), default=1)):
        point = {
            name: values[number % len(values)] if kind == "choice" else _draw(kind, values, random.Random(number))
            for name, (kind, values) in space.items()
        }
        try:
            return Config(model, dataset, config_file_list=files, config_dict=point)
        except ConfigError as error:
            refused = error
        except KeyError as error:  # RecBole's, where nothing names the model or the data set
            raise ConfigError(error.args[0]) from None
    raise refused


def run_trial(point: dict, settings: dict) -> dict:
    """Train, validate and test one point of the space; a failure is a result too.

    Returns:
        the line of the journal: ``params``, ``status`` (``ok`` or ``failed``), ``seconds``, and RecBole's result or the
        ``reason``.
    """
    started, argv = time(), sys.argv
    # Checkpoints are named by the second, in which several trials may start.
    folder = os.path.join(settings["checkpoint_dir"], hashlib.sha256(_name(point).encode()).hexdigest()[:8])
    try:
        sys.argv = argv[:1]  # what the command line says is among the settings
        result = objective_function({**settings, **point, "checkpoint_dir": folder})
        result.update({key: plain(result[key]) for key in ("best_valid_result", "test_result")})
        result["best_valid_score"] = float(result["best_valid_score"])
        if not math.isfinite(result["best_valid_score"]):
            raise ValueError(f"the validation score is {result['best_valid_score']}")
        outcome = {"status": "ok", **result}
    except (Exception, SystemExit) as error:  # RecBole ends the process here and there
        if not isinstance(error, ConfigError):
            getLogger().exception("the trial failed")
        outcome = {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
    finally:
        sys.argv = argv
    return {"params": point, **outcome, "seconds": round(time() - started, 2)}


def search_with_hyperopt(search: Search, algo="exhaustive", max_evals=10, early_stop=10) -> None:
    """The space and the algorithms of RecBole's ``HyperTuning``, with trials that may fail; those that the journal has
    are not run again."""
    try:
        import hyperopt
    except ImportError:
        sys.exit("error: run_hyper needs hyperopt: pip install 'recbole_ec4srec[tune]'")

    def trial(drawn):
        point = search.point(drawn)
        record = search.journal.find(point)
        if record is None:
            record = run_trial(point, search.settings)
            search.journal.add(record)
        if record["status"] == "failed":  # early stopping compares losses, by a formula in which infinity is no number
            return {"status": hyperopt.STATUS_FAIL, "loss": sys.float_info.max}
        return {"status": hyperopt.STATUS_OK, "loss": -_score(record)}

    space = {}
    for name, (kind, values) in search.space.items():
        space.setdefault(kind, {})[name] = values
    tuning = HyperTuning(None, params_dict=space, algo=algo, max_evals=max_evals, early_stop=early_stop)
    with contextlib.suppress(hyperopt.exceptions.AllTrialsFailed):  # told by the caller
        hyperopt.fmin(
            trial,
            tuning.space,
            # Drawn by the number of the trial: a search that starts again comes by the points of the journal.
            algo=lambda ids, domain, trials, _: tuning.algo(ids, domain, trials, search.seed + ids[0]),
            max_evals=tuning.max_evals,
            early_stop_fn=tuning.early_stop_fn,
            show_progressbar=search.settings.get("show_progress", True),
        )


def search_with_ray(search: Search, algo="exhaustive", max_evals=10, early_stop=10, max_concurrent=None) -> None:
    """Ray Tune on this machine: a CPU for each trial, and a GPU of ``gpu_id`` where there are some."""
    try:
        import pyarrow  # noqa: F401  (Ray Tune ends with an error without it)
    except ImportError:
        sys.exit("error: --tool=Ray needs pyarrow: pip install 'recbole_ec4srec[tune]'")
    import ray
    from ray import tune

    journal = search.journal

    class Recorder(tune.Callback):
        def on_trial_result(self, iteration, trials, trial, result, **info):
            if "record" in result:
                journal.add(result["record"])

        def on_trial_error(self, iteration, trials, trial, **info):
            reason = f"its process died; what Ray knows is in {trial.local_path}"
            journal.add({"params": trial.config["point"], "status": "failed", "reason": reason})

    class Patience(tune.Stopper):
        def __call__(self, trial_id, result):
            return False

        def stop_all(self):
            return journal.trials_since_best >= early_stop

    left = [point for point in points(search.space, algo, max_evals, search.seed) if not journal.find(point)]
    if not left or Patience().stop_all():
        return
    os.environ.update(
        RAY_USAGE_STATS_ENABLED="0",
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
        TUNE_DISABLE_SIGINT_HANDLER="1",  # Ctrl-C ends the search, as it does with hyperopt
    )
    ray.init(
        "local",
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
        logging_level="ERROR",
        _node_ip_address="127.0.0.1",
    )
    try:
        tune.run(
            tune.with_parameters(_trial_of_ray, settings=search.settings, folder=os.getcwd()),
            config={"point": tune.grid_search(left)},
            resources_per_trial={"cpu": 1, "gpu": search.gpus},
            max_concurrent_trials=max_concurrent,
            storage_path=os.path.abspath("ray_log"),
            trial_dirname_creator=lambda trial: trial.trial_id,
            callbacks=[Recorder()],
            stop=Patience(),
            raise_on_failed_trial=False,
            verbose=0,
        )
    finally:
        ray.shutdown()


def _trial_of_ray(config, settings, folder):
    os.chdir(folder)  # paths mean what they mean where the command was started
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")  # Ray's choice, which RecBole would overwrite
    return {"record": run_trial(config["point"], {**settings, "gpu_id": gpus})}


def search(
    params_file=None,
    output_file="hyper_example.result",
    display_file=None,
    tool="Hyperopt",
    model=None,
    dataset=None,
    config_files=None,
    max_concurrent=None,
    asked=None,
    **options,
) -> dict:
    """The command ``run_hyper``: search, choosing on the validation set, and write what was found.

    Args:
        params_file: the space; the paper's for the model (``properties/hyper/``) where it is left out.
        output_file: RecBole's text, made at the end; the journal is beside it, in ``output_file`` + ``.jsonl``.
        display_file: an HTML page with a plot of the trials.
        asked: see :class:`Search`.
        options: ``algo``, ``max_evals`` and ``early_stop`` of RecBole's ``HyperTuning``.

    Returns:
        the best trial's line of the journal.

    Raises:
        ConfigError: the space, the settings or a flag is refused; no trial was run.
        SystemExit: all trials failed.
        KeyboardInterrupt: it says how to go on.
    """
    space = read_space(params_file or _shipped(model))
    ranges = [name for name, (kind, _) in space.items() if kind != "choice"]
    if options.get("algo", "exhaustive") == "exhaustive" and ranges:
        raise ConfigError(f"algo: got exhaustive, allowed is random or bayes: {ranges[0]} is no choice")
    if tool == "Ray" and options.get("algo") == "bayes":
        raise ConfigError("algo: got bayes, allowed with --tool=Ray is exhaustive or random")
    found = Search(space, f"{output_file}.jsonl", model, dataset, config_files, asked)
    journal = found.journal
    if journal.records:
        tell(f"{len(journal.records)} trials are taken from {journal.file}")
    try:
        if tool == "Ray":
            search_with_ray(found, max_concurrent=max_concurrent, **options)
        else:
            search_with_hyperopt(found, **options)
    except KeyboardInterrupt:
        number = len(journal.records)
        raise KeyboardInterrupt(f"the same command goes on after {number} trials") from None
    best = journal.best
    texts = [_text(record) for record in journal.records] + ([f"Best, on validation: {_text(best)}"] if best else [])
    Path(output_file).write_text("\n".join(texts), encoding="utf-8")
    if best is None:
        reason = journal.records[-1]["reason"]
        sys.exit(printable(f"error: all {len(journal.records)} trials failed, see {output_file}; the last: {reason}"))
    if display_file:
        _plot(journal, display_file)
    show(f"best params: {best['params']}")
    result = {key: best[key] for key in ("best_valid_score", "best_valid_result", "test_result")}
    show(f"best result: {result}")
    return best


def _shipped(model):
    folder = properties_dir() / "hyper"
    file = folder / f"{canonical_name(model)}.test"
    if not file.is_file():
        models = ", ".join(sorted(file.stem for file in folder.iterdir()))
        raise ConfigError(f"params_file: missing; without it --model has to be one of {models}")
    return file


def _text(record) -> str:
    """A trial as RecBole writes it."""
    head = HyperTuning.params2str(record["params"])
    if record["status"] == "failed":
        return f"{head}\nFailed:\n{record['reason']}\n"
    valid, test = dict2str(record["best_valid_result"]), dict2str(record["test_result"])
    return f"{head}\nValid result:\n{valid}\nTest result:\n{test}\n"


def _plot(journal, file):
    import plotly.graph_objects as graph

    scores = [record.get("best_valid_score") for record in journal.records]
    texts = [HyperTuning.params2str(record["params"]) for record in journal.records]
    trials = graph.Scatter(x=list(range(1, len(scores) + 1)), y=scores, text=texts, mode="lines+markers")
    axes = {"xaxis_title": "trial", "yaxis_title": "validation score"}
    graph.Figure(trials, graph.Layout(title=journal.best["model"], **axes)).write_html(file)
