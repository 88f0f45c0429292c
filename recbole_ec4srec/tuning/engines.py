"""RecBole's two engines: hyperopt, one trial at a time, and Ray Tune, several at the same time."""

from __future__ import annotations

import contextlib
import os
import sys

from recbole.trainer import HyperTuning

from recbole_ec4srec.tuning.journal import score
from recbole_ec4srec.tuning.space import points
from recbole_ec4srec.tuning.trials import Search, run_trial


def search_with_hyperopt(search: Search, algo: str = "exhaustive", max_evals: int = 10, early_stop: int = 10) -> None:
    """Search as RecBole's ``HyperTuning`` does; trials may fail, and those in the journal are not run again."""
    try:
        import hyperopt
    except ImportError:
        sys.exit("error: run_hyper needs hyperopt: pip install 'recbole_ec4srec[tune]'")

    def trial(drawn: dict) -> dict:
        point = search.point(drawn)
        record = search.journal.find(point)
        if record is None:
            record = run_trial(point, search.settings)
            search.journal.add(record)
        if record["status"] == "failed":  # early stopping compares losses, by a formula in which infinity is no number
            return {"status": hyperopt.STATUS_FAIL, "loss": sys.float_info.max}
        return {"status": hyperopt.STATUS_OK, "loss": -score(record)}

    space: dict[str, dict] = {}
    for name, (kind, values) in search.space.items():
        space.setdefault(kind, {})[name] = values
    tuning = HyperTuning(None, params_dict=space, algo=algo, max_evals=max_evals, early_stop=early_stop)
    with contextlib.suppress(hyperopt.exceptions.AllTrialsFailed):  # the caller ends with the reason
        hyperopt.fmin(
            trial,
            tuning.space,
            # Drawn by the number of the trial: a search that starts again comes by the points of the journal.
            algo=lambda ids, domain, trials, _: tuning.algo(ids, domain, trials, search.seed + ids[0]),
            max_evals=tuning.max_evals,
            early_stop_fn=tuning.early_stop_fn,
            show_progressbar=search.settings.get("show_progress", True),
        )


def search_with_ray(
    search: Search,
    algo: str = "exhaustive",
    max_evals: int = 10,
    early_stop: int = 10,
    max_concurrent: int | None = None,
) -> None:
    """Search with Ray Tune on this machine: each trial has one CPU, and one GPU of ``gpu_id`` if RecBole uses a GPU."""
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
            tune.with_parameters(trial_of_ray, settings=search.settings, folder=os.getcwd()),
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


def trial_of_ray(config: dict, settings: dict, folder: str) -> dict:
    """Run a trial in a process of Ray's: ``config`` has its point, ``folder`` is that of the command."""
    os.chdir(folder)  # paths mean what they mean where the command was started
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")  # Ray's choice, which RecBole would overwrite
    return {"record": run_trial(config["point"], {**settings, "gpu_id": gpus})}
