"""``ec4srec report``: a page about a training."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_ec4srec.commands.arguments import add_checkpoint, add_command, file_of
from recbole_ec4srec.commands.views import sequence_of
from recbole_ec4srec.console import tell
from recbole_ec4srec.reporting import rendering, report


def _report(args):
    run, control = (path and report.read_run(path) for path in (args.run, args.control))
    shown = rendering.views_tables(sequence_of(args, run)) if args.checkpoint else []
    args.output.write_text(report.report(run, control, shown), encoding="utf-8")
    tell(f"written: {args.output}")


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to those of ``ec4srec``."""
    command = add_command(
        commands,
        "report",
        _report,
        "A page about a training, finished or not: curves, importance updates, metrics, configuration.",
        "examples:\n"
        "  ec4srec report --run=saved                      a training with --resume=auto, also while it runs\n"
        "  ec4srec report --run=saved --checkpoint=saved/EC4SRec.pth --user=196        with the views of a sequence\n"
        "  ec4srec report --run=results/records/RUN.json --control=results/records/CONTROL.json",
    )
    command.add_argument("--run", required=True, help="a record of an experiment, a .state file, or a folder of these")
    command.add_argument("--control", help="the same, for a training to compare it with")
    command.add_argument("--output", type=file_of(".html"), default=Path("report.html"), help="(default: %(default)s)")
    add_checkpoint(command)
    command.add_argument(
        "--user", help="with --checkpoint: the user whose last training sequence is shown with its views"
    )
    command.set_defaults(explainer=None, seed=0)
