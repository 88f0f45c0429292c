"""Many trainings: one after the other, several at a time in processes, or as tasks of a Ray cluster.

The engines start runs and tell what becomes of them; :func:`record_missing` decides which run is next, writes the
records and tells the progress. Only it writes records, so workers on other machines need no folder of results.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import connection
from pathlib import Path
from typing import Any, Protocol, Union

import torch

import recbole_ec4srec  # noqa: F401  (a worker process has to know our models)
from recbole_ec4srec.console import tell
from recbole_ec4srec.errors import ConfigError, RunError
from recbole_ec4srec.experiments import records, warmup
from recbole_ec4srec.experiments.progress import Epoch, Progress
from recbole_ec4srec.experiments.records import Run
from recbole_ec4srec.experiments.training import Refused, discard, train

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


def record_missing(runs: Iterable[Run], args: Namespace) -> None:
    """List ``runs``, train those that have no record, and tell the progress.

    A run that fails is told with its reason at the end; the others go on.

    Args:
        args: ``output`` and ``work``, the folders of records and of states; ``engine``, ``jobs``, ``address``,
            ``cpus_per_run`` and ``gpus_per_run``.

    Raises:
        RunError: some runs have failed.
    """
    runs = list({run.name: run for run in runs}.values())
    missing = [run for run in runs if not records.exists(args.output, run)]
    for run in runs:
        begun = (args.work / f"{run.name}.state").is_file()
        state = "recorded" if run not in missing else "begun" if begun else "to be trained"
        tell(f"{name_of(run)}: {state}")
    if missing:
        with _engine(args) as engine:
            _train_all(missing, engine, args.output, args.work)


def name_of(run: Run) -> str:
    """A run for people to read."""
    return f"{run.label}, {run.dataset}, seed {run.seed}"


@contextmanager
def _engine(args: Namespace) -> Iterator[Engine]:
    engine: Engine
    if args.engine == "ray":
        from recbole_ec4srec.experiments.on_ray import RayEngine

        engine = RayEngine(args.work, args.address, args.cpus_per_run, args.gpus_per_run)
    else:
        engine = Processes(args.work, args.jobs) if args.jobs > 1 else OneByOne(args.work)
    try:
        yield engine
    finally:
        engine.stop()


def _train_all(runs: list[Run], engine: Engine, output: Path, work: Path) -> None:
    waiting, running = list(runs), set[Run]()
    deaths: Counter[Run] = Counter()
    failures: dict[Run, Exception] = {}
    progress = Progress(len(runs))

    def told(run: Run, what: Epoch | dict | Exception) -> None:
        if isinstance(what, Epoch):
            progress(run, what, running)
            return
        running.remove(run)
        if isinstance(what, dict):
            records.write(output, run, what)
            discard(run, work)
            progress.ended(run)
            return
        deaths[run] += isinstance(what, Died)
        if isinstance(what, Died) and deaths[run] < TRIES:
            tell(f"{name_of(run)}: {what}; it is begun again")
            waiting.insert(0, run)
            return
        failures[run] = what
        progress.ended(run, failed=True)
        tell(f"{name_of(run)}: not trained: {what}")

    while waiting or running:
        for run in list(waiting):
            if len(running) < engine.capacity and not warmup.waits(run, running, work):
                waiting.remove(run)
                running.add(run)
                engine.start(run)
        engine.wait(told)
    tell(progress.summary())
    serious = {run: reason for run, reason in failures.items() if not isinstance(reason, Refused)}
    if serious:
        reasons = "; ".join(f"{name_of(run)}: {reason}" for run, reason in serious.items())
        raise RunError(f"{len(serious)} of {len(runs)} trainings failed: {reasons}")


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
        except RunError as error:
            what = error
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
        what = error if isinstance(error, RunError) else RunError(f"{type(error).__name__}: {error}")
    pipe.send(what)


def _how(exitcode: int | None) -> str:
    """How a process died."""
    if exitcode is not None and exitcode < 0:
        return f"its process was killed ({signal.Signals(-exitcode).name})"
    return f"its process ended with status {exitcode}"


def check_engine(args: Namespace) -> None:
    """Refuse options that do not go together, before anything is trained.

    Raises:
        ConfigError: there is one.
    """
    if args.jobs < 1:
        raise ConfigError(f"--jobs: got {args.jobs}, allowed is 1 or more")
    if args.engine != "ray" and args.address:
        raise ConfigError(f"--address: got {args.address}, allowed is none without --engine=ray")
    if args.engine == "ray" and args.jobs > 1:
        raise ConfigError(f"--jobs: got {args.jobs}, allowed is 1 with --engine=ray, which has --cpus_per_run")
    if args.engine == "ray" and os.name == "nt":
        raise ConfigError("--engine: got ray, allowed is local on Windows")
