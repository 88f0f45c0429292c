"""Trainings as tasks of a Ray cluster, on this machine or on any."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from recbole_ec4srec.console import command_line
from recbole_ec4srec.errors import ConfigError, RunError
from recbole_ec4srec.experiments.engines import TRIES, Listener
from recbole_ec4srec.experiments.progress import Epoch
from recbole_ec4srec.experiments.records import Run
from recbole_ec4srec.experiments.training import train


class RayEngine:
    """An :class:`~recbole_ec4srec.experiments.engines.Engine` that has Ray find a place for every run.

    A task whose worker or node dies is tried again by Ray; it resumes from its state where ``work`` is on a folder that
    the nodes share, and begins anew where it is not.

    Args:
        work: the folder of states, the same path on every node.
        address: of a cluster, ``auto`` for the one that this machine is of; None starts one here.
        cpus, gpus: what a run takes.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """

    capacity = float("inf")  # Ray has a queue

    def __init__(self, work: Path, address: str | None, cpus: float, gpus: float):
        try:
            import ray
            from ray.util.queue import Queue
        except ImportError as error:
            raise ConfigError(
                f"--engine: got ray, allowed is local without Ray ({error}): pip install 'recbole_ec4srec[tune]'"
            ) from None
        self._ray: Any = ray
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray.init(address or "local", log_to_driver=False, logging_level="ERROR", include_dashboard=None)
        except ConnectionError as error:
            raise ConfigError(f"--address: got {address}, but there is no cluster of Ray's ({error})") from None
        self._told = Queue(actor_options={"num_cpus": 0})
        self._work = work.resolve()
        self._task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=TRIES - 1)(train_on_ray)
        self._running: dict[Any, Run] = {}

    def start(self, run: Run) -> None:
        """Put a run in Ray's queue."""
        self._running[self._task.remote(run, self._work, os.getcwd(), self._told)] = run

    def wait(self, told: Listener) -> None:
        """Tell of epochs, then of runs that have ended."""
        ended, _ = self._ray.wait(list(self._running), num_returns=1, timeout=1)
        by_name = {run.name: run for run in self._running.values()}
        while not self._told.empty():
            name, epoch = self._told.get()
            if name in by_name:
                told(by_name[name], epoch)
        for task in ended:
            told(self._running.pop(task), self._outcome(task))

    def _outcome(self, task):
        """The record of a run, or why it has none."""
        try:
            return self._ray.get(task)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            return cause if isinstance(cause, RunError) else RunError(f"{type(cause).__name__}: {cause}")
        except self._ray.exceptions.RayError as error:  # after Ray has tried again
            return RunError(f"its worker died {TRIES} times ({type(error).__name__})")

    def stop(self) -> None:
        """End what runs."""
        for task in self._running:
            self._ray.cancel(task, force=True)
        self._ray.shutdown()


def train_on_ray(run: Run, work: Path, folder: str, told: Any) -> dict:
    """A task: train a run, in the folder that the command was started in, and give its record."""
    os.chdir(folder)  # paths mean what they mean there
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")  # Ray's choice, which RecBole would overwrite
    with command_line():  # the process has words of Ray's, which are no settings
        return train(run, work, lambda trainer: told.put((run.name, Epoch.of(trainer))), gpu_id=gpus)
