"""What trains runs: this process, several processes, or (:mod:`recbole_ec4srec.experiments.on_ray`) a Ray cluster."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing import connection
from pathlib import Path
from typing import Any, Protocol, Union

import torch

import recbole_ec4srec  # noqa: F401  (a worker process has to know our models)
from recbole_ec4srec.errors import RunError
from recbole_ec4srec.experiments.progress import Epoch
from recbole_ec4srec.experiments.records import Run
from recbole_ec4srec.experiments.training import train

#: How often a training whose process died is begun again; it resumes from its state.
TRIES = 3

#: Is told what becomes of a run: the :class:`Epoch` that it completed, its record, or why it has none.
Listener = Callable[[Run, Union[Epoch, dict, Exception]], None]


class Died(Exception):
    """The process of a training ended without a word."""


class Engine(Protocol):
    """Trains runs; to be left by :meth:`stop`."""

    @property
    def capacity(self) -> float:
        """How many runs it can have at a time."""

    def start(self, run: Run) -> None:
        """Begin with a run, or put it in a queue."""

    def wait(self, told: Listener) -> None:
        """Tell what becomes of the runs, of each in order; for about a second, or until the next one ends."""

    def stop(self) -> None:
        """End the trainings that run; their states stay."""


class OneByOne:
    """In this process."""

    capacity = 1

    def __init__(self, work: Path):
        self._work = work
        self._next: list[Run] = []

    def start(self, run: Run) -> None:
        """See :class:`Engine`."""
        self._next.append(run)

    def wait(self, told: Listener) -> None:
        """See :class:`Engine`."""
        run = self._next.pop()
        try:
            what: dict | Exception = train(run, self._work, lambda trainer: told(run, Epoch.of(trainer)))
        except Exception as error:
            what = _reason(error)
        told(run, what)

    def stop(self) -> None:
        """See :class:`Engine`."""


class Processes:
    """In ``jobs`` processes of this machine, each with its share of the threads.

    What a process tells comes by a pipe of its own: if it is killed while it writes, no other one is disturbed.
    """

    def __init__(self, work: Path, jobs: int):
        self.capacity = jobs
        self._work, self._threads = work, max(1, torch.get_num_threads() // jobs)
        self._context = multiprocessing.get_context("spawn")
        self._running: dict[connection.Connection, tuple[Run, Any]] = {}  # and its process, by our end of its pipe

    def start(self, run: Run) -> None:
        """See :class:`Engine`."""
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_work, args=(run, self._work, self._threads, theirs), daemon=True)
        process.start()
        theirs.close()
        self._running[ours] = run, process

    def wait(self, told: Listener) -> None:
        """See :class:`Engine`."""
        ready = connection.wait(list(self._running), timeout=1)
        for pipe in [pipe for pipe in self._running if pipe in ready]:
            run, process = self._running[pipe]
            try:
                what = pipe.recv()
            except (EOFError, OSError):
                process.join()
                what = Died(_how(process.exitcode))
            if not isinstance(what, Epoch):
                process.join()
                del self._running[pipe]
            told(run, what)

    def stop(self) -> None:
        """See :class:`Engine`."""
        for _, process in self._running.values():
            process.terminate()
        for _, process in self._running.values():
            process.join()


def _work(run: Run, work: Path, threads: int, pipe: connection.Connection) -> None:
    """A process: train a run, and tell what becomes of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process, which ends this one
    torch.set_num_threads(threads)
    logging.basicConfig(level=logging.ERROR)
    try:
        what: dict | Exception = train(run, work, lambda trainer: pipe.send(Epoch.of(trainer)))
    except Exception as error:
        what = _reason(error)
    pipe.send(what)


def _reason(error: Exception) -> RunError:
    return error if isinstance(error, RunError) else RunError(f"{type(error).__name__}: {error}")


def _how(exitcode: int | None) -> str:
    """How a process died."""
    if exitcode is not None and exitcode < 0:
        return f"its process was killed ({signal.Signals(-exitcode).name})"
    return f"its process ended with status {exitcode}"
