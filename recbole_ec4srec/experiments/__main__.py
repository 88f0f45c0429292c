"""``python -m recbole_ec4srec.experiments NAME …``: see ``--help`` for the names."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import yaml

from recbole_ec4srec import console
from recbole_ec4srec.config import recbole_keys
from recbole_ec4srec.config.keys import KEYS, PREFIXES
from recbole_ec4srec.experiments import explanations, tables
from recbole_ec4srec.experiments.diagnosis import diagnosis
from recbole_ec4srec.experiments.plans import OF_ONE_ENCODER, PLANS
from recbole_ec4srec.experiments.results import results
from recbole_ec4srec.experiments.runner import check_engine, record_missing
from recbole_ec4srec.experiments.shuffle import shuffle
from recbole_ec4srec.experiments.status import status
from recbole_ec4srec.experiments.table2 import table2
from recbole_ec4srec.experiments.trec import trec

OTHERS = {
    "results": (results, "a page with all tables and figures of the existing records (--page)"),
    "status": (status, "which trainings have a record, run or are missing, and how long these will take"),
    "trec": (trec, "the ranks of Table 3's records as files that ranx and trec_eval read"),
    "table2": (table2, "Table 2: the sizes of the data sets"),
    "diagnosis": (diagnosis, "views, losses and representations of Table 3's models, compared; trains"),
    "shuffle": (shuffle, "how much of a prediction is by the order of the history, and by the last item alone; trains"),
    "recovery": (explanations.recovery, "which explainer finds the important items of the synthetic data; trains"),
    "faithfulness": (explanations.faithfulness, "which explainer is the most faithful on test sequences; trains"),
}
#: What ``--rows`` can name, by the experiment.
ROWS = {
    **{name: plan.rows for name, plan in PLANS.items()},
    "trec": PLANS["table3"].rows,
    "diagnosis": OF_ONE_ENCODER,
    "shuffle": OF_ONE_ENCODER,
}


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    titles = {name: plan.title for name, plan in PLANS.items()} | {name: title for name, (_, title) in OTHERS.items()}
    listing = "\n".join(f"  {name:14}{titles[name]}" for name in sorted(titles))
    parser = console.parser(
        "python -m recbole_ec4srec.experiments",
        "Print an experiment's tables from the records of its runs, and write them (.md, .csv) and its "
        "figure (.png). With --train, the runs without a record are trained first; a run that was killed resumes after "
        "its last completed epoch.",
        f"experiments:\n{listing}\n\nAny key of RecBole or of this package: --key=value.\n\nexamples:\n"
        "  python -m recbole_ec4srec.experiments table3 --datasets amazon-beauty\n"
        "  python -m recbole_ec4srec.experiments table3 --datasets ml-100k --rows DuoRec EC4SRec --train --seeds 1 2\n"
        "  python -m recbole_ec4srec.experiments faithfulness --datasets ml-100k --num_updates=2",
    )
    parser.add_argument("name", choices=sorted(titles), metavar="NAME")
    parser.add_argument("--train", action="store_true", help="train the runs without a record")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="random seeds (default: 1)")
    parser.add_argument("--datasets", nargs="+", help="(default: those of the experiment)")
    parser.add_argument("--rows", nargs="+", help="labels of the rows to make (default: all)")
    parser.add_argument("--engine", choices=["local", "ray"], default="local", help="what trains them (default: local)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, with --engine=local (default: 1)")
    parser.add_argument("--address", help="of a Ray cluster, auto for this machine's (default: one is started here)")
    for name, one in (("cpus_per_run", 1.0), ("gpus_per_run", 0.0)):
        parser.add_argument(f"--{name}", type=float, default=one, help="of a task of Ray's (default: %(default)g)")
    for name, default, what in (
        ("output", "results", "folder of records and tables"),
        ("work", "saved/experiments", "folder of checkpoints and states"),
        ("page", "docs/results.md", "file that `results` writes"),
    ):
        parser.add_argument(f"--{name}", type=Path, default=Path(default), help=f"{what} (default: %(default)s)")
    console.add_options(parser, "show the log of the trainings")
    args, settings = parser.parse_known_args(argv)
    args.settings = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not key.startswith("--") or not equals:
            parser.error(f"got {setting}, allowed are the options above and --key=value")
        args.settings[key[2:]] = yaml.safe_load(value)
    labels = [row.label for row in ROWS.get(args.name, ())]
    if unknown := [label for label in args.rows or () if label not in labels]:
        allowed = f"allowed are {', '.join(map(repr, labels))}" if labels else f"{args.name} has no rows to choose from"
        parser.error(f"--rows: got {unknown[0]!r}, {allowed}")
    return args


def _run(args: argparse.Namespace) -> None:
    recbole_keys.refuse_unknown(args.settings, KEYS)
    check_engine(args)
    if args.name in OTHERS:
        OTHERS[args.name][0](args)
        return
    plan, datasets = PLANS[args.name], args.datasets or PLANS[args.name].datasets
    settings = {"train_on": PREFIXES, **args.settings} if args.train else args.settings
    if args.train:
        of_datasets = [plan.runs(dataset, args.seeds, settings, args.rows) for dataset in datasets]
        every_run = [run for of_labels in of_datasets for of_label in of_labels.values() for run in of_label]
        record_missing(every_run, args)
    for dataset in datasets:
        for train_on, of_label in plan.read(args.output, dataset, args.seeds, settings, args.rows).items():
            written = tables.report(plan, dataset, of_label, args.output, train_on)
            missing = f"{args.name}: no record of {dataset} in {args.output}; --train makes them\n"
            console.show("\n".join(text for text, _ in written.values()) if any(of_label.values()) else missing)


def main(argv: list[str] | None = None) -> int:
    """The command; ``argv`` without its name. 0 is its exit status if there was no error."""
    console.end_with_the_reader()
    args = _arguments(argv)
    console.log_to_stderr(args, logging.WARNING)
    console.run(lambda: _run(args), args, "the same command trains the runs that are left")
    return 0


if __name__ == "__main__":
    sys.exit(main())
