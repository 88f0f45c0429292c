"""What the trials of a search share, and how one is run."""

from __future__ import annotations

import hashlib
import json
import math
import os
from logging import getLogger
from pathlib import Path
from time import time
from typing import Any

from recbole.config import Config
from recbole.data import create_dataset
from recbole.trainer import HyperTuning

from recbole_ec4srec.config import recbole_keys
from recbole_ec4srec.config.keys import KEYS
from recbole_ec4srec.config.rules import did_you_mean
from recbole_ec4srec.config.space import Space
from recbole_ec4srec.console import command_line, tell
from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.plugin.registry import known_keys
from recbole_ec4srec.quick_start import objective_function
from recbole_ec4srec.storage.settings import plain, plain_settings
from recbole_ec4srec.training.resume import Listener, listening


class Search:
    """The trials of a search: what they share, and the results of those that have ended.

    Args:
        asked: settings of the trials that do not change their results.
        shared: ``model``, ``dataset`` and ``config_file_list`` of ``Config``, which reads the command line too.

    Attributes:
        bigger: whether a larger validation score is better.
        identity: the space, the settings that all trials share and the data's fingerprint.
        records: what :func:`run_trial` gave.

    Raises:
        ConfigError: a parameter is no key of RecBole's or ours, or the settings allow no trial.
    """

    def __init__(self, space: Space, output_file: str, asked: dict, **shared: Any):
        config = _config(space, **shared)
        known = known_keys(config) | set(config.file_config_dict)
        for name in space:
            if name not in known:
                hint = did_you_mean(name, known)
                raise ConfigError(f"params_file: {name} is no key of RecBole's or ours for {config.model}{hint}")
            if name in config.cmd_config_dict:
                raise ConfigError(f"params_file: {name} is searched; leave --{name} out of the command line")
        self.space, self.output_file = space, Path(output_file)
        self.seed, self.bigger = config["seed"], config["valid_metric_bigger"]
        where = {"model": config.model, "dataset": config.dataset, "checkpoint_dir": config["checkpoint_dir"]}
        self.settings = {**config.external_config_dict, **where, **asked}
        self.gpus = int(config["device"].type == "cuda")  # that a trial takes
        settings = {key: value for key, value in plain_settings(config).items() if key not in space}
        data = create_dataset(config).fingerprint
        self.identity = json.loads(json.dumps({"space": space, "settings": settings, "data": data}))
        self.records: list[dict] = []

    def add(self, record: dict) -> None:
        """Keep the result of a trial, and tell it."""
        self.records.append(record)
        done, reason = record["status"] == "ok", record.get("reason")
        told = f"{record['best_valid_score']:.4f} on validation" if done else f"{record['status']}: {reason}"
        tell(f"trial {len(self.records)}: {HyperTuning.params2str(record['params'])}: {told}")

    @property
    def best(self) -> dict | None:
        """The first trial with the best validation score, or None."""
        done, sign = [record for record in self.records if record["status"] == "ok"], 1 if self.bigger else -1
        return max(done, key=lambda record: sign * record["best_valid_score"], default=None)

    @property
    def trials_since_best(self) -> int:
        """The number of trials after the best one; of all trials where none succeeded."""
        return len(self.records) - 1 - (self.records.index(self.best) if self.best else -1)


def _config(space: Space, **shared: Any) -> Config:
    """The configuration of the first point of the space that is allowed."""
    known = recbole_keys.known(KEYS)
    space = {name: parameter for name, parameter in space.items() if name in known}  # others are refused by the caller
    for number in range(max((len(values) for _, values in space.values()), default=1)):
        tried = {name: (kind, values[number % len(values)]) for name, (kind, values) in space.items()}  # a range's ends
        point = {name: math.exp(value) if kind == "loguniform" else value for name, (kind, value) in tried.items()}
        try:
            return Config(**shared, config_dict=point)
        except ConfigError as error:
            refused = error
    raise refused


class Hopeless(Exception):
    """Ends a trial that is not worth its time."""


def run_trial(point: dict, settings: dict, listener: Listener | None = None) -> dict:
    """Train, validate and test one point of the space; a failure is a result too.

    Args:
        listener: hears of each epoch, and may raise :class:`Hopeless`.

    Returns:
        ``params``, ``status`` (``ok``, ``pruned`` or ``failed``), ``seconds``, and RecBole's result or the ``reason``.
    """
    started = time()
    # Checkpoints are named by the second, in which several trials may start.
    digest = hashlib.sha256(json.dumps(point, sort_keys=True).encode()).hexdigest()
    folder = os.path.join(settings["checkpoint_dir"], digest[:8])
    try:
        with command_line(), listening(listener):  # the command line's settings are among the others already
            result = objective_function({**settings, **point, "checkpoint_dir": folder})
        result.update({key: plain(result[key]) for key in ("best_valid_result", "test_result")})
        result["best_valid_score"] = float(result["best_valid_score"])
        if not math.isfinite(result["best_valid_score"]):
            raise ValueError(f"the validation score is {result['best_valid_score']}")
        outcome = {"status": "ok", **result}
    except Hopeless as stopped:
        outcome = {"status": "pruned", "reason": str(stopped)}
    except (Exception, SystemExit) as error:  # RecBole ends the process here and there
        if not isinstance(error, ConfigError):
            getLogger().exception("the trial failed")
        outcome = {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
    return {"params": point, **outcome, "seconds": round(time() - started, 2)}
