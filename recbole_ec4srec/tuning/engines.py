"""RecBole's own engines: its ``HyperTuning``, which is hyperopt, one trial at a time; and Ray Tune, several at once."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys

from recbole.trainer import HyperTuning

from recbole_ec4srec.config.space import whole
from recbole_ec4srec.tuning.trials import Search, run_trial


def search_with_hyperopt(search: Search, algo: str, max_evals: int, early_stop: int) -> None:
    """RecBole's ``HyperTuning``; trials may fail, and the same seed draws the same points."""
    import hyperopt

    class Tuning(HyperTuning):
        def trial(self, params: dict) -> dict:
            search.add(record := run_trial(_point(search, params), search.settings))
            if record["status"] == "failed":  # early stopping compares losses, by a formula that infinity breaks
                return {"status": hyperopt.STATUS_FAIL, "loss": sys.float_info.max}
            return {"status": hyperopt.STATUS_OK, "loss": record["best_valid_score"] * (-1 if search.bigger else 1)}

    space: dict[str, dict] = {}
    for name, (kind, values) in search.space.items():
        space.setdefault(kind, {})[name] = values
    tuning = Tuning(None, params_dict=space, algo=algo, max_evals=max_evals, early_stop=early_stop)
    with contextlib.suppress(hyperopt.exceptions.AllTrialsFailed):  # the caller ends with the reason
        hyperopt.fmin(  # as HyperTuning.run, seeded, and with a bar only where one is wanted
            tuning.trial,
            tuning.space,
            algo=lambda ids, domain, trials, _: tuning.algo(ids, domain, trials, search.seed + ids[0]),
            max_evals=tuning.max_evals,
            early_stop_fn=tuning.early_stop_fn,
            show_progressbar=search.settings.get("show_progress", True),
        )


def search_with_ray(search: Search, algo: str, max_evals: int, early_stop: int, max_concurrent: int = 0) -> None:
    """Search with Ray Tune on this machine: each trial has one CPU, and one GPU of ``gpu_id`` if RecBole uses a GPU."""
    import ray
    from ray import tune

    class Patience(tune.Stopper):
        def __call__(self, trial_id, result):
            record = result.get("record")  # RecBole reports the test result, too, and Ray the last result again
            if record and record not in search.records:
                search.add(record)
            return False

        def stop_all(self):
            return search.trials_since_best >= early_stop

    grid = algo == "exhaustive"
    kinds = {
        "choice": tune.grid_search if grid else tune.choice,
        "uniform": lambda values: tune.uniform(*values),
        "quniform": lambda values: tune.quniform(*values),
        "loguniform": lambda values: tune.loguniform(*map(math.exp, values)),
    }
    # Ctrl-C ends the search, as it does with hyperopt.
    os.environ.update(TUNE_DISABLE_SIGINT_HANDLER="1", TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    here = {"include_dashboard": False, "object_store_memory": 100 * 2**20, "_node_ip_address": "127.0.0.1"}
    ray.init("local", log_to_driver=False, logging_level="ERROR", **here)
    try:
        ended = tune.run(
            tune.with_parameters(trial_of_ray, search=search, folder=os.getcwd()),
            config={name: kinds[kind](values) for name, (kind, values) in search.space.items()},
            num_samples=1 if grid else max_evals,
            search_alg=tune.search.BasicVariantGenerator(max_concurrent=max_concurrent, random_state=search.seed),
            resources_per_trial={"cpu": 1, "gpu": search.gpus},
            storage_path=os.path.abspath("ray_log"),
            stop=Patience(),
            raise_on_failed_trial=False,
            verbose=0,
        )
        for trial in (trial for trial in ended.trials if trial.status == trial.ERROR):
            reason = f"its process died; what Ray knows is in {trial.local_path}"
            search.add({"params": _point(search, trial.config), "status": "failed", "reason": reason})
    finally:
        ray.shutdown()


def trial_of_ray(config: dict, search: Search, folder: str) -> dict:
    """Run a trial in a process of Ray's: ``config`` is its point, ``folder`` is that of the command."""
    os.chdir(folder)  # paths mean what they mean where the command was started
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")  # Ray's choice, which RecBole would overwrite
    return {"record": run_trial(_point(search, config), {**search.settings, "gpu_id": gpus})}


def _point(search: Search, drawn: dict) -> dict:
    """What an engine drew, in JSON's types; whole numbers where the space has only whole numbers."""
    point = json.loads(json.dumps(drawn, default=lambda value: value.item()))
    return {name: int(point[name]) if whole(*parameter) else point[name] for name, parameter in search.space.items()}
