"""Which of the planned trainings have a record, which run, which are missing, and how long these will take."""

from __future__ import annotations

import statistics
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from time import time

from recbole_ec4srec.config.keys import PREFIXES
from recbole_ec4srec.console import show, tell
from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.experiments import records
from recbole_ec4srec.experiments.plans import PLANS
from recbole_ec4srec.experiments.records import Run
from recbole_ec4srec.reporting.markdown import markdown_table
from recbole_ec4srec.training.resume import read_state

RECORDED, RUNNING, BEGUN, MISSING = STATES = ("recorded", "running", "begun", "missing")


def status(args: Namespace) -> None:
    """Print a line for each table and figure and each of its data sets, and one for all trainings, of which some are
    shared. A data set of which no table is, is taken for one of each.

    A training runs if its state in ``--work`` is younger than two of its epochs. Hours are those of one training after
    the other, by the records of the same model, or else of all models, on the data set in the same mode; what a
    training that was begun has taken is taken off.
    """
    hours, named = _Hours(records.read_all(args.output)), {of for plan in PLANS.values() for of in plan.datasets}
    every_run: dict[str, Run] = {}
    rows = []
    for plan in PLANS.values():
        for dataset in args.datasets or plan.datasets:
            if dataset in named and dataset not in plan.datasets:
                continue
            of_label = plan.runs(dataset, args.seeds, args.settings)
            runs = {run.name: run for of_row in of_label.values() for run in of_row}
            every_run = {**runs, **every_run}  # under its first label
            rows.append((plan.name, dataset, runs))
    states = {name: _state(run, args.output, args.work) for name, run in every_run.items()}
    table = [[name, dataset, *_line(runs, states, hours)] for name, dataset, runs in rows]
    table.append(["all", "", *_line(every_run, states, hours)])
    show("\n".join(markdown_table(["experiment", "data set", "trainings", *STATES, "hours left"], table)))
    for name, (state, seconds, epoch) in states.items():
        if state in (RUNNING, BEGUN):
            run = every_run[name]
            tell(f"{state}: {run.label}, {run.dataset}, seed {run.seed}: epoch {epoch}, {seconds / 3600:.1f} h")


def _state(run: Run, output: Path, work: Path) -> tuple[str, float, int]:
    """Its state, the seconds that it has taken, and its last epoch."""
    if records.exists(output, run):
        return RECORDED, 0.0, 0
    file = work / f"{run.name}.state"
    try:
        age, epochs = time() - file.stat().st_mtime, read_state(file)["history"]
    except (OSError, ConfigError):
        return MISSING, 0.0, 0
    last = epochs[-1]
    state = RUNNING if age < 2 * last["seconds"] + 60 else BEGUN
    return state, sum(epoch["seconds"] for epoch in epochs), last["epoch"]


class _Hours:
    """What trainings take, by the records that there are."""

    def __init__(self, every_record: Iterable[dict]):
        self._seconds: dict[tuple, list[float]] = {}
        for record in every_record:
            for key in self._keys(record["model"], record["dataset"], record["settings"]):
                self._seconds.setdefault(key, []).append(record["seconds"])

    @staticmethod
    def _keys(model, dataset, settings):
        mode = settings.get("train_on", PREFIXES)
        return (dataset, mode, model), (dataset, mode)

    def of(self, run: Run) -> float | None:
        """The mean of the like, or None if there are none."""
        for key in self._keys(run.model, run.dataset, run.settings):
            if key in self._seconds:
                return statistics.mean(self._seconds[key]) / 3600
        return None


def _line(runs: dict[str, Run], states: dict[str, tuple[str, float, int]], hours: _Hours) -> list:
    counts = Counter(states[name][0] for name in runs)
    left, unknown = 0.0, 0
    for name, run in runs.items():
        state, seconds, _ = states[name]
        if state != RECORDED:
            expected = hours.of(run)
            unknown += expected is None
            left += max(0.0, (expected or 0) - seconds / 3600)
    known = [f"{left:.1f}"] if left or not unknown else []
    unlike = [f"{unknown} trainings unlike any before"] if unknown else []
    return [len(runs), *(counts[state] for state in STATES), " + ".join(known + unlike)]
