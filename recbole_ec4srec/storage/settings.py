"""Settings and metrics as plain values, and in what two sets of them differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

#: Settings that say where and how a training is computed, not what.
EXECUTION_KEYS = (
    "data_path",
    "checkpoint_dir",
    "pre_model_path",
    "gpu_id",
    "use_gpu",
    "device",
    "show_progress",
    "worker",
    "state",
    "ddp_backend",
    "log_mlflow",
    "resume",
    "nproc",
    "world_size",
    "ip",
    "port",
    "offset",
)
#: Settings that RecBole makes for one of several processes, as a single one has them.
_SINGLE = {"single_spec": True, "local_rank": 0}


def plain_settings(config: Any) -> dict[str, Any]:
    """The settings of RecBole's ``Config`` that decide a training's outcome, as values that JSON can hold; the same for
    any number of processes."""
    kept = {**config.final_config_dict, **_SINGLE}
    settings = {key: as_json(value) for key, value in kept.items() if key not in EXECUTION_KEYS}
    return {key: json.loads(text) for key, text in settings.items() if text is not None}


def as_json(value: Any) -> str | None:
    """JSON with sorted keys; None if JSON cannot hold the value."""
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False, default=_of_numpy)
    except (TypeError, ValueError):  # RecBole's own objects, which follow from the rest
        return None


def _of_numpy(value):
    """Called for what JSON does not know: a number of numpy as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError


def differences(theirs: dict, here: dict) -> str:
    """In words, in what two dicts differ, for at most five keys; empty if they are the same."""
    others = [key for key in {**theirs, **here} if theirs.get(key) != here.get(key)]
    return ", ".join(f"{key} {theirs.get(key)!r}, here {here.get(key)!r}" for key in others[:5])


def plain(metrics: Mapping[str, Any] | None) -> dict[str, float] | None:
    """RecBole's metrics by name, as Python's numbers."""
    return None if metrics is None else {name: float(value) for name, value in metrics.items()}
