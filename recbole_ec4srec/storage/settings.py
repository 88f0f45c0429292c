"""Settings and metrics as plain values, and what two sets of them differ in."""

from __future__ import annotations

import json

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
    "resume",
)


def plain_settings(config) -> dict:
    """What of RecBole's configuration decides a training's outcome, as values that JSON can hold."""
    found = {key: as_json(value) for key, value in config.final_config_dict.items() if key not in EXECUTION_KEYS}
    return {key: json.loads(text) for key, text in found.items() if text is not None}


def as_json(value) -> str | None:
    """JSON with sorted keys, or None for what JSON cannot hold."""
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError):  # objects of RecBole's own, which follow from the rest
        return None


def differences(theirs: dict, here: dict) -> str:
    """What two dicts differ in, in words, five keys at the most; empty where they are the same."""
    others = [key for key in {**theirs, **here} if theirs.get(key) != here.get(key)]
    return ", ".join(f"{key} {theirs.get(key)!r}, here {here.get(key)!r}" for key in others[:5])


def plain(metrics) -> dict | None:
    """Metrics by name, as RecBole gives them, in Python's own numbers."""
    return None if metrics is None else {name: float(value) for name, value in metrics.items()}
