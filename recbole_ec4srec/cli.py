"""The command ``ec4srec``: what people do with a trained model."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import torch
import yaml

from recbole_ec4srec import console
from recbole_ec4srec.config.properties import properties_dir
from recbole_ec4srec.console import show, tell
from recbole_ec4srec.errors import ConfigError, DataError
from recbole_ec4srec.inference import TrainedModel, explain_sequences, read_histories, recommend, views
from recbole_ec4srec.reporting import rendering, report
from recbole_ec4srec.reporting.picture import picture
from recbole_ec4srec.storage.atomic import replacing
from recbole_ec4srec.storage.settings import differences, plain_settings
from recbole_ec4srec.version import __version__


def _explain(args):
    trained = TrainedModel(args.checkpoint, args.data_path)
    histories = _histories(args, trained)
    found = explain_sequences(trained, histories, args.topk, args.explainer, args.filter_seen)
    if not found:
        raise DataError("the model knows no item of these histories")
    for file in args.output:
        rendering.WRITERS[file.suffix](file, found)
        tell(f"written: {file}")
    if not args.output:
        show("\n\n".join(map(rendering.text, found)))


def _histories(args, trained):
    if args.input:
        return read_histories(args.input, trained.config)
    if args.items is not None:
        return pd.DataFrame({"user": "", "item": _items(args)})
    known = trained.interactions
    missing = [user for user in args.user if user not in set(known["user"])]
    if missing:
        raise DataError(f"--user: got {missing[0]!r}, who is not in {trained.config['dataset']}")
    return known[known["user"].isin(args.user)]


def _items(args) -> list:
    """The ids of ``--items``: one text is split at spaces, of several each is an id."""
    return args.items[0].split() if len(args.items) == 1 else args.items


def _recommend(args):
    trained = TrainedModel(args.checkpoint, args.data_path)
    histories = read_histories(args.input, trained.config)
    table, counts = recommend(trained, histories, args.topk, args.filter_seen, show_progress=console.show_bars(args))
    with replacing(args.output) if args.output else nullcontext(sys.stdout) as target:
        if not args.output and sys.stdout.isatty():
            show(table.to_csv(index=False).rstrip("\n"))
        elif args.output and args.output.suffix == ".jsonl":
            table.to_json(target, orient="records", lines=True, force_ascii=False)
        else:
            table.to_csv(target, index=False)
    tell(f"{counts['users'] - counts['left_out']} of {counts['users']} users got recommendations")
    if counts["unknown"]:
        kinds = counts["unknown_items"]
        tell(f"{counts['unknown']} interactions were left out: the model does not know their {kinds} items")


def _sequence(args, run=None) -> tuple:
    """What ``rendering.views`` and others show of a sequence; a checkpoint has to be of the training ``run``."""
    generator = torch.Generator().manual_seed(args.seed)
    found = {}
    if args.checkpoint:
        if args.user is None:
            raise ConfigError("--user: missing; tell with --checkpoint whose sequence is to be shown")
        trained = TrainedModel(args.checkpoint, args.data_path)
        if run and (told := differences(plain_settings(trained.config), run["config"])):
            raise DataError(f"{args.checkpoint} is of another training than {args.run}: {told}")
        found = views.retrieved(trained, args.user, args.explainer, generator)
        items, importance, settings, titles = found["sequence"], found["importance"], trained.config, trained.titles
    else:
        items, importance, titles = _items(args), args.importance, {}
        settings = yaml.safe_load((properties_dir() / "model" / "EC4SRec.yaml").read_text(encoding="utf-8"))
        if len(items) != len(importance):
            raise ConfigError(
                f"--importance: got {len(importance)} numbers, allowed is one for each of {len(items)} items"
            )
    return items, importance, views.augmentations(importance, settings, generator), titles, found


def _views(args):
    shown = _sequence(args)
    if args.output is None:
        show(rendering.views(*shown))
        return
    draw = picture if args.output.suffix == ".svg" else rendering.views_html
    args.output.write_text(draw(*shown), encoding="utf-8")
    tell(f"written: {args.output}")


def _report(args):
    run, control = (path and report.read_run(path) for path in (args.run, args.control))
    shown = rendering.views_tables(*_sequence(args, run)) if args.checkpoint else []
    args.output.write_text(report.report(run, control, shown), encoding="utf-8")
    tell(f"written: {args.output}")


def _file_of(*suffixes):
    def file(text):
        if Path(text).suffix not in suffixes:
            raise argparse.ArgumentTypeError(f"got {text}, allowed are the suffixes {', '.join(suffixes)}")
        return Path(text)

    return file


def _positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {text}, allowed is an integer >= 1")
    return number


_ITEMS = "oldest first: one text with spaces between the ids, or several, each an id that may hold spaces"
_HISTORIES = """histories: .csv, .tsv, RecBole's .inter or .jsonl with the columns user and item (perhaps timestamp),
an interaction a row, or user and items (separated by spaces, in JSON a list), a history a row; columns may have
the names that the training had"""


def _parser():
    parser = console.parser(
        "ec4srec",
        "What people do with a trained model.",
        "examples:\n"
        "  ec4srec explain --checkpoint=saved/EC4SRec.pth --user=196\n"
        "  ec4srec recommend --checkpoint=saved/EC4SRec.pth --input=histories.csv --output=best.csv\n"
        "  ec4srec COMMAND --help      has more",
    )
    parser.add_argument("--version", action="version", version=f"recbole_ec4srec {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, function, summary, epilog):
        raw = argparse.RawDescriptionHelpFormatter
        found = commands.add_parser(name, help=summary, description=summary, formatter_class=raw, epilog=epilog)
        found.set_defaults(function=function)
        console.add_options(found)
        return found

    def checkpoint(parser, group=None, **options):
        (group or parser).add_argument("--checkpoint", type=Path, help="what a training saved", **options)
        parser.add_argument("--data_path", help="the folder of the data set's folder (default: as in the training)")

    explain = command(
        "explain",
        _explain,
        "What a model recommends, and how much each item of the history matters for it.",
        f"{_HISTORIES}\n\nexamples:\n"
        "  ec4srec explain --checkpoint=saved/EC4SRec.pth --user=196\n"
        "  ec4srec explain --checkpoint=saved/EC4SRec.pth --items='50 181 172' --explainer occlusion saliency\n"
        "  ec4srec explain --checkpoint=saved/EC4SRec.pth --items 'green tea' 'black tea' coffee\n"
        "  ec4srec explain --checkpoint=saved/EC4SRec.pth --user=196 --output why.html why.png",
    )
    checkpoint(explain, required=True)
    whose = explain.add_mutually_exclusive_group(required=True)
    whose.add_argument("--user", nargs="+", help="users of the data set, with all their interactions")
    whose.add_argument("--items", nargs="+", metavar="ITEM", help=f"the items of one history, {_ITEMS}")
    whose.add_argument("--input", type=Path, help="a file of histories, see below")
    explain.add_argument("--topk", type=_positive, default=5, help="items recommended (default: %(default)s)")
    explain.add_argument("--filter_seen", action="store_true", help="recommend nothing that is in the history")
    explain.add_argument("--explainer", nargs="+", help="one or several (default: the one of the training)")
    kinds = tuple(rendering.WRITERS)
    explain.add_argument(
        "--output", type=_file_of(*kinds), nargs="+", default=[], help=f"{', '.join(kinds)} (default: a table here)"
    )

    recommend = command(
        "recommend",
        _recommend,
        "The best next items for many histories, of users that the model has seen or not.",
        f"{_HISTORIES}\n\nexamples:\n"
        "  ec4srec recommend --checkpoint=saved/EC4SRec.pth --input=histories.csv --output=best.csv\n"
        "  ec4srec recommend --checkpoint=saved/SASRec.pth --input=new.inter --topk=20 --filter_seen | head",
    )
    checkpoint(recommend, required=True)
    recommend.add_argument("--input", type=Path, required=True, help="a file of histories, see below")
    recommend.add_argument("--topk", type=_positive, default=10, help="items a user (default: %(default)s)")
    recommend.add_argument("--filter_seen", action="store_true", help="leave out what is in the history")
    recommend.add_argument("--output", type=_file_of(".csv", ".jsonl"), help=".csv or .jsonl (default: CSV here)")

    views = command(
        "views",
        _views,
        "What each augmentation makes of one sequence, random and explanation guided.",
        "examples:\n"
        "  ec4srec views --items='a b c d e' --importance .05 .4 .1 .35 .1\n"
        "  ec4srec views --checkpoint=saved/EC4SRec.pth --user=196 --output=views.svg",
    )
    whose = views.add_mutually_exclusive_group(required=True)
    checkpoint(views, whose)
    whose.add_argument("--items", nargs="+", metavar="ITEM", help=f"a sequence, {_ITEMS}")
    views.add_argument("--user", help="whose last training sequence is shown, with --checkpoint")
    views.add_argument("--explainer", help="what tells importance, with --checkpoint (default: that of the training)")
    views.add_argument("--importance", type=float, nargs="+", default=[], help="a number for each of --items")
    views.add_argument("--seed", type=int, default=0, help="of what is drawn (default: %(default)s)")
    views.add_argument("--output", type=_file_of(".svg", ".html"), help=".svg or .html (default: a table here)")

    about = command(
        "report",
        _report,
        "A page about a training, finished or not: curves, importance updates, metrics, configuration.",
        "examples:\n"
        "  ec4srec report --run=saved                      of a training with --resume=auto, also while it runs\n"
        "  ec4srec report --run=saved --checkpoint=saved/EC4SRec.pth --user=196        with the views of a sequence\n"
        "  ec4srec report --run=results/records/RUN.json --control=results/records/CONTROL.json",
    )
    about.add_argument("--run", required=True, help="a record of an experiment, a .state file, or a folder of these")
    about.add_argument("--control", help="the same of a training to compare it with")
    about.add_argument("--output", type=_file_of(".html"), default=Path("report.html"), help="(default: %(default)s)")
    checkpoint(about)
    about.add_argument("--user", help="whose last training sequence is shown with its views, with --checkpoint")
    about.set_defaults(explainer=None, seed=0)
    return parser


def main(argv=None) -> None:
    """Run the command; ends with status 1 and one line where it cannot go on, 2 for options that do not exist."""
    console.end_with_the_reader()
    args = _parser().parse_args(argv)
    sys.argv = sys.argv[:1]  # where RecBole would read our options as its own
    console.log_to_stderr(args)
    console.run(lambda: args.function(args), args)
