"""``ec4srec explain``: what a model recommends, and how important each item of the history is for it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from recbole_ec4srec.commands.arguments import (
    HISTORIES,
    ITEMS,
    add_checkpoint,
    add_command,
    file_of,
    items_of,
    positive,
)
from recbole_ec4srec.console import show, tell
from recbole_ec4srec.errors import DataError
from recbole_ec4srec.inference import TrainedModel, explain_sequences, read_histories
from recbole_ec4srec.reporting import rendering


def _explain(args):
    trained = TrainedModel(args.checkpoint, args.data_path)
    histories = _histories(args, trained)
    explanations = explain_sequences(trained, histories, args.topk, args.explainer, args.filter_seen)
    if not explanations:
        raise DataError("the model knows no item of these histories")
    for file in args.output:
        rendering.WRITERS[file.suffix](file, explanations)
        tell(f"written: {file}")
    if not args.output:
        show("\n\n".join(map(rendering.text, explanations)))


def _histories(args, trained):
    if args.input:
        return read_histories(args.input, trained.config)
    if args.items is not None:
        return pd.DataFrame({"user": "", "item": items_of(args)})
    known = trained.interactions
    missing = [user for user in args.user if user not in set(known["user"])]
    if missing:
        raise DataError(f"--user: got {missing[0]!r}, who is not in {trained.config['dataset']}")
    return known[known["user"].isin(args.user)]


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to those of ``ec4srec``."""
    explain = add_command(
        commands,
        "explain",
        _explain,
        "What a model recommends, and how important each item of the history is for it.",
        f"{HISTORIES}\n\nexamples:\n"
        "  ec4srec explain --checkpoint=saved/EC4SRec.pth --user=196\n"
        "  ec4srec explain --checkpoint=saved/EC4SRec.pth --items='50 181 172' --explainer occlusion saliency\n"
        "  ec4srec explain --checkpoint=saved/EC4SRec.pth --items 'green tea' 'black tea' coffee\n"
        "  ec4srec explain --checkpoint=saved/EC4SRec.pth --user=196 --output why.html why.png",
    )
    add_checkpoint(explain, required=True)
    whose = explain.add_mutually_exclusive_group(required=True)
    whose.add_argument("--user", nargs="+", help="users of the data set; all their interactions are their histories")
    whose.add_argument("--items", nargs="+", metavar="ITEM", help=f"the items of one history, {ITEMS}")
    whose.add_argument("--input", type=Path, help="a file of histories, see below")
    explain.add_argument("--topk", type=positive, default=5, help="items recommended (default: %(default)s)")
    explain.add_argument("--filter_seen", action="store_true", help="do not recommend items of the history")
    explain.add_argument("--explainer", nargs="+", help="one or several explainers (default: that of the training)")
    kinds = tuple(rendering.WRITERS)
    explain.add_argument(
        "--output", type=file_of(*kinds), nargs="+", default=[], help=f"{', '.join(kinds)} (default: print a table)"
    )
