"""Trains what an experiment lacks: decides which run is next, writes the records and tells the progress.

Engines start runs and tell what becomes of them. Only here are records written, so workers on other machines need no
folder of results.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from recbole_ec4srec.console import tell
from recbole_ec4srec.errors import ConfigError, RunError
from recbole_ec4srec.experiments import records, warmup
from recbole_ec4srec.experiments.engines import TRIES, Died, Engine, OneByOne, Processes
from recbole_ec4srec.experiments.on_ray import RayEngine
from recbole_ec4srec.experiments.progress import Epoch, Progress
from recbole_ec4srec.experiments.records import Run
from recbole_ec4srec.experiments.training import Refused, discard


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
    if len(serious) == len(runs) and len(set(map(str, serious.values()))) == 1:  # it is what was asked for
        raise next(iter(serious.values()))
    if serious:
        reasons = "; ".join(f"{name_of(run)}: {reason}" for run, reason in serious.items())
        raise RunError(f"{len(serious)} of {len(runs)} trainings failed: {reasons}")


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
