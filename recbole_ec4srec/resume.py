"""What a training needs to go on after its last whole epoch as if it had never been interrupted.

The state is tensors and plain values, written to a temporary file that then takes the place of the last one: a process
that dies while writing leaves the last state as it was, and ``torch.load(…, weights_only=True)`` reads it.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import torch


def save_state(path, trainer, train_data, **more) -> None:
    """Write the state of a training after an epoch.

    Args:
        path: the file; what it held before is replaced in one step.
        trainer: a RecBole trainer.
        train_data: the loader that it trains on.
        more: plain values to be kept beside it.
    """
    algorithm, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002  (RecBole draws from it)
    state = {
        **more,
        "cur_step": trainer.cur_step,
        "best_valid_score": float(trainer.best_valid_score),
        "best_valid_result": plain(trainer.best_valid_result),
        "model": trainer.model.state_dict(),
        "other_parameter": trainer.model.other_parameter(),
        "optimizer": trainer.optimizer.state_dict(),
        "schedule": _of(trainer),
        "loader": _of(train_data),
        "shuffling": train_data.generator.get_state(),
        "random": {
            "python": random.getstate(),
            "numpy": (algorithm, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        },
    }
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_state(path, trainer, train_data) -> dict:
    """Put a training back to where :func:`save_state` found it; the state, with what was kept beside it.

    The trainer, its model and the loader have to be made as they were then, from the same configuration.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    trainer.cur_step = state["cur_step"]
    trainer.best_valid_score = state["best_valid_score"]
    trainer.best_valid_result = state["best_valid_result"]
    trainer.model.load_state_dict(state["model"])
    trainer.model.load_other_parameter(state["other_parameter"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    for part, kept in ((trainer, state["schedule"]), (train_data, state["loader"])):
        if kept is not None:
            part.load_state_dict(kept)
    train_data.generator.set_state(state["shuffling"])
    drawn = state["random"]
    random.setstate(drawn["python"])
    algorithm, keys, *rest = drawn["numpy"]
    np.random.set_state((algorithm, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(drawn["torch"])
    if drawn["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(drawn["cuda"])
    return state


def plain(metrics) -> dict | None:
    """Metrics by name, as RecBole gives them, in Python's own numbers."""
    return None if metrics is None else {name: float(value) for name, value in metrics.items()}


def _of(part):
    """The state of what has more of one than RecBole's own classes."""
    return part.state_dict() if hasattr(part, "state_dict") else None
