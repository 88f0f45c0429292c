"""What the trials of a search share, and how one is run."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
from logging import getLogger
from pathlib import Path
from time import time

from recbole.config import Config
from recbole.data import create_dataset

from recbole_ec4srec.config import recbole_keys
from recbole_ec4srec.config.keys import KEYS
from recbole_ec4srec.config.rules import did_you_mean
from recbole_ec4srec.console import command_line
from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.plugin.registry import known_keys
from recbole_ec4srec.quick_start import objective_function
from recbole_ec4srec.storage.settings import plain, plain_settings
from recbole_ec4srec.tuning.journal import Journal
from recbole_ec4srec.tuning.space import Space, draw, name_of_point


class Search:
    """The trials of a search: what they share, and how one is run.

    Args:
        space: see :func:`read_space`.
        journal: the file of the :class:`Journal`.
        model, dataset, config_files: as for RecBole's ``Config``; the command line is read as well.
        asked: settings of the trials that do not change their results.

    Raises:
        ConfigError: a parameter is no key of RecBole's or ours, or the settings allow no trial.
    """

    def __init__(
        self,
        space: Space,
        journal: str | Path,
        model: str | None = None,
        dataset: str | None = None,
        config_files: list[str] | None = None,
        asked: dict | None = None,
    ):
        config = _config(space, model, dataset, config_files)
        known = known_keys(config) | set(config.file_config_dict)
        for name in space:
            if name not in known:
                hint = did_you_mean(name, known)
                raise ConfigError(f"params_file: {name} is no key of RecBole's or ours for {config.model}{hint}")
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
        """The values that hyperopt drew, in JSON's types; whole numbers where the space has only whole numbers."""
        point = json.loads(json.dumps(drawn, default=lambda value: value.item()))
        for name, (kind, values) in self.space.items():
            if kind == "quniform" and all(isinstance(value, int) for value in values):
                point[name] = int(point[name])
        return point


def _config(space: Space, model: str | None, dataset: str | None, files: list[str] | None) -> Config:
    """The configuration of the first point of the space that is allowed."""
    known = recbole_keys.known(KEYS)
    space = {name: parameter for name, parameter in space.items() if name in known}  # others are refused by the caller
    for number in range(max((len(values) for _, values in space.values()), default=1)):
        point = {
            name: values[number % len(values)] if kind == "choice" else draw(kind, values, random.Random(number))
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
        The line of the journal: ``params``, ``status`` (``ok`` or ``failed``), ``seconds``, and RecBole's result or the
        ``reason``.
    """
    started = time()
    # Checkpoints are named by the second, in which several trials may start.
    folder = os.path.join(settings["checkpoint_dir"], hashlib.sha256(name_of_point(point).encode()).hexdigest()[:8])
    try:
        with command_line():  # its settings are among the others already
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
    return {"params": point, **outcome, "seconds": round(time() - started, 2)}
