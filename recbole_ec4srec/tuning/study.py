"""The search as a study of Optuna's: its storage keeps the trials, for a search that resumes and for several processes;
its samplers draw points, its pruners prune unpromising trials."""

from __future__ import annotations

import contextlib
import json
import math
import re
import time
import warnings
from pathlib import Path
from typing import Any

import optuna
from matplotlib import pyplot
from optuna import pruners, samplers, storages
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization.matplotlib import plot_optimization_history, plot_param_importances
from recbole.trainer import Trainer
from sqlalchemy.exc import SQLAlchemyError

from recbole_ec4srec.config.space import whole
from recbole_ec4srec.console import tell
from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.reporting.drawing import style
from recbole_ec4srec.storage.settings import differences
from recbole_ec4srec.tuning.trials import Hopeless, Search, run_trial

PRUNERS = {"median": pruners.MedianPruner, "halving": pruners.SuccessiveHalvingPruner, "none": pruners.NopPruner}
#: Seconds between two signs of life of a process, and without one until its trial is run again.
HEARTBEAT, GRACE = 10, 60

with warnings.catch_warnings():
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    _run_again = storages.RetryHeartbeatStaleTrialCallback(max_retry=3)


def search_with_optuna(
    search: Search,
    algo: str,
    max_evals: int,
    early_stop: int,
    storage: str | None = None,
    pruner: str = "median",
    plot: Path | None = None,
) -> None:
    """Search until ``max_evals`` trials of all processes have ended, or ``early_stop`` without a better one.

    Args:
        storage: a URL of SQLAlchemy's; by default that of an SQLite file beside the results.
        pruner: a key of :data:`PRUNERS`.
        plot: ``x.svg`` has Optuna's plots drawn to ``x-history.svg`` and ``x-importances.svg``.

    Raises:
        ConfigError: the storage cannot be used, or the study there is another search.
    """
    url = storage or f"sqlite:///{search.output_file}.db"
    where = re.sub(r"(?<=:)[^/@]+(?=@)", "***", url)  # without a password
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            study = optuna.create_study(
                storage=_storage(url),
                sampler=_sampler(search, algo),
                pruner=PRUNERS[pruner](),
                study_name=search.output_file.name,
                direction="maximize" if search.bigger else "minimize",
                load_if_exists=True,
            )
            _check_same(study, search, f"storage: {study.study_name} in {where}")
            if taken := len(_records(study)):
                tell(f"{taken} trials are taken from {where}")
            if algo == "exhaustive":
                max_evals = math.prod(len(_choices(values)) for _, values in search.space.values())
            _go_on(study, search, max_evals, early_stop)
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError) as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise ConfigError(f"storage: got {where}, allowed is the URL of a database ({reason})") from error
        if plot and search.best:
            plots: dict[str, Any] = {"history": plot_optimization_history}
            if sum(record["status"] == "ok" for record in search.records) > 1:  # Optuna 3 refuses to compare one
                plots["importances"] = plot_param_importances
            for name, draw in plots.items():
                with style():  # Optuna changes matplotlib's settings
                    figure = draw(study, target_name="validation score").figure
                    figure.savefig(plot.with_name(f"{plot.stem}-{name}{plot.suffix}"), bbox_inches="tight")
                    pyplot.close(figure)


def _storage(url: str) -> storages.RDBStorage:
    timeout = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    beats: Any = {"heartbeat_interval": HEARTBEAT, "grace_period": GRACE, "heartbeat_stale_trial_callback": _run_again}
    for patience in (0.2, 1, 3):
        with contextlib.suppress(SQLAlchemyError):  # of processes that start at once one makes the tables
            return storages.RDBStorage(url, timeout, **beats)
        time.sleep(patience)
    return storages.RDBStorage(url, timeout, **beats)


def _check_same(study: optuna.Study, search: Search, where: str) -> None:
    theirs = study.user_attrs.get("search")
    if theirs is None and study.trials:
        raise ConfigError(f"{where} is no search of run_hyper; give another --output_file")
    for part, here in search.identity.items():
        if theirs and (told := differences(theirs[part], here)):
            raise ConfigError(f"{where} is a search of other {part}: {told}; give another --output_file, or remove it")
    study.set_user_attr("search", search.identity)


def _sampler(search: Search, algo: str) -> samplers.BaseSampler:
    """What draws by the seed and the trials so far: a search that resumes draws what it would have drawn."""
    if algo == "exhaustive":
        return samplers.GridSampler({name: _choices(values) for name, (_, values) in search.space.items()}, search.seed)
    kind: Any = samplers.TPESampler if algo == "bayes" else samplers.RandomSampler

    class ByNumber(kind):
        def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
            lost = sum(_died(other) for other in study.get_trials(deepcopy=False)[: trial.number])
            self.__dict__.update(vars(kind(seed=search.seed + trial.number - lost)))
            super().before_trial(study, trial)

    return ByNumber(seed=search.seed)


def _choices(values: list) -> list[str]:
    """The values of a choice as texts: Optuna stores no lists, and takes 1 and True for the same."""
    return list(dict.fromkeys(map(json.dumps, values)))


def _value(trial: optuna.Trial, name: str, kind: str, values: list) -> Any:
    if kind == "choice":
        return json.loads(trial.suggest_categorical(name, _choices(values)))
    low, high, *step = map(math.exp, values) if kind == "loguniform" else values
    if not step:
        return trial.suggest_float(name, low, high, log=kind == "loguniform")
    suggest: Any = trial.suggest_int if whole(kind, values) else trial.suggest_float
    return suggest(name, low, low + (high - low) // step[0] * step[0], step=step[0])


def _objective(search: Search, trial: optuna.Trial, max_evals: int) -> float:
    if sum(other.number < trial.number for other in _counted(trial.study)) >= max_evals:
        return math.nan  # another process began the last trial at the same moment
    point = {name: _value(trial, name, *parameter) for name, parameter in search.space.items()}
    record = next((record for record in search.records if record["params"] == point), None)
    if record is None:  # a point that is drawn again is not run again
        try:
            record = run_trial(point, search.settings, lambda *epoch: _judge(trial, *epoch))
        except KeyboardInterrupt:
            _run_again(trial.study, trial.study.trials[trial.number])
            raise KeyboardInterrupt(f"the same command resumes after {len(search.records)} trials") from None
        search.add(record)
    trial.set_user_attr("record", record)
    if record["status"] == "pruned":
        raise optuna.TrialPruned
    return record.get("best_valid_score", math.nan)  # without a value the trial has failed


def _judge(trial: optuna.Trial, trainer: Trainer, epoch: int, score: float) -> None:
    """Prune a trial whose validation curve is unpromising: not before its first importance update is over, without
    updates not before a fifth of all epochs, or ten of many, and not after its last epoch."""
    told = trial.study.trials[trial.number].intermediate_values
    for done in trainer.history:  # to its end; a training that resumes had epochs before
        if done["epoch"] - 1 not in told:
            trial.report(done["valid"][trainer.valid_metric], done["epoch"] - 1)
    updates = getattr(trainer, "update_epochs", [])
    first = updates[0] - 1 if updates else min(trainer.epochs // 5, 10)
    if first <= epoch < trainer.epochs - 1 and trial.should_prune():
        raise Hopeless(f"{score:.4f} on validation after epoch {epoch} (counted from 0)")


def _died(trial: FrozenTrial) -> bool:
    """Whether a trial failed without a record: its process died, and it is run again, as another trial."""
    return trial.state == TrialState.FAIL and "record" not in trial.user_attrs


def _counted(study: optuna.Study) -> list[FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if not _died(trial)]


def _records(study: optuna.Study) -> list[dict]:
    records = [trial.user_attrs["record"] for trial in _counted(study) if "record" in trial.user_attrs]
    return list({json.dumps(record["params"]): record for record in records}.values())


def _go_on(study: optuna.Study, search: Search, max_evals: int, early_stop: int) -> None:
    waiting = False
    while True:
        storages.fail_stale_trials(study)
        search.records, states = _records(study), [trial.state for trial in _counted(study)]
        if search.trials_since_best < early_stop and (TrialState.WAITING in states or len(states) < max_evals):
            study.optimize(lambda trial: _objective(search, trial, max_evals), n_trials=1)
        elif TrialState.RUNNING in states:  # in other processes, or in one that was killed a moment ago
            if not waiting:
                tell("waiting for the last trials of other processes; Ctrl-C ends without them")
            waiting = True
            try:
                time.sleep(1)
            except KeyboardInterrupt:
                return
        else:
            return
