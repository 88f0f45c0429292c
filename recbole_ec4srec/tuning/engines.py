"""RecBole's two engines: hyperopt, one trial after another, and Ray Tune, side by side."""

from __future__ import annotations

import contextlib
import os
import sys

from recbole.trainer import HyperTuning

from recbole_ec4srec.tuning.journal import score
from recbole_ec4srec.tuning.space import points
from recbole_ec4srec.tuning.trials import Search, run_trial


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
        return {"status": hyperopt.STATUS_OK, "loss": -score(record)}

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
