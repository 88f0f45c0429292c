"""``ec4srec recommend``: the best next items for many histories."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

from recbole_ec4srec import console
from recbole_ec4srec.commands.arguments import HISTORIES, PARQUET, add_checkpoint, add_command, file_of, positive
from recbole_ec4srec.console import show, tell
from recbole_ec4srec.errors import require
from recbole_ec4srec.inference import TrainedModel, read_histories, recommend
from recbole_ec4srec.storage.atomic import replacing


def _recommend(args):
    if args.output and args.output.suffix == PARQUET:
        require(f"--output={args.output}", "pyarrow", install="pyarrow")
    trained = TrainedModel(args.checkpoint, args.data_path)
    histories = read_histories(args.input, trained.config)
    table, counts = recommend(trained, histories, args.topk, args.filter_seen, show_progress=console.show_bars(args))
    with replacing(args.output) if args.output else nullcontext(sys.stdout) as target:
        if not args.output and sys.stdout.isatty():
            show(table.to_csv(index=False).rstrip("\n"))
        elif args.output and args.output.suffix == ".jsonl":
            table.to_json(target, orient="records", lines=True, force_ascii=False)
        elif args.output and args.output.suffix == PARQUET:
            table.to_parquet(target, engine="pyarrow", index=False)
        else:
            table.to_csv(target, index=False)
    tell(f"{counts['users'] - counts['left_out']} of {counts['users']} users got recommendations")
    if counts["unknown"]:
        kinds = counts["unknown_items"]
        tell(f"{counts['unknown']} interactions were left out: the model does not know their {kinds} items")


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to those of ``ec4srec``."""
    recommend = add_command(
        commands,
        "recommend",
        _recommend,
        "The best next items for many histories, of users of the training or of others.",
        f"{HISTORIES}\n\nexamples:\n"
        "  ec4srec recommend --checkpoint=saved/EC4SRec.pth --input=histories.csv --output=best.csv\n"
        "  ec4srec recommend --checkpoint=saved/SASRec.pth --input=new.inter --topk=20 --filter_seen | head\n"
        "  ec4srec recommend --checkpoint=saved/EC4SRec.pth --input=histories.parquet --output=best.parquet",
    )
    add_checkpoint(recommend, required=True)
    recommend.add_argument("--input", type=Path, required=True, help="a file of histories, see below")
    recommend.add_argument("--topk", type=positive, default=10, help="items per user (default: %(default)s)")
    recommend.add_argument("--filter_seen", action="store_true", help="do not recommend items of the history")
    recommend.add_argument(
        "--output", type=file_of(".csv", ".jsonl", PARQUET), help=".csv, .jsonl or .parquet (default: print CSV)"
    )
