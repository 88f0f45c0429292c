"""``python -m recbole_ec4srec.experiments NAME …``: see ``--help`` for the names."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import yaml

from recbole_ec4srec import console
from recbole_ec4srec.config import recbole_keys
from recbole_ec4srec.config.keys import KEYS
from recbole_ec4srec.experiments import explanations, tables
from recbole_ec4srec.experiments.diagnosis import diagnosis
from recbole_ec4srec.experiments.plans import PLANS
from recbole_ec4srec.experiments.results import results
from recbole_ec4srec.experiments.table2 import table2
from recbole_ec4srec.experiments.training import record_missing

OTHERS = {
    "results": (results, "a page with every table and figure that there are records of (--page)"),
    "table2": (table2, "Table 2: the sizes of the data sets"),
    "diagnosis": (diagnosis, "views, losses and representations of Table 3's models, side by side; trains"),
    "recovery": (explanations.recovery, "which explainer finds the important items of the synthetic data; trains"),
    "faithfulness": (explanations.faithfulness, "which explainer is the most faithful on test sequences; trains"),
}


def _arguments(argv):
    titles = {**{name: plan.title for name, plan in PLANS.items()}, **{name: t for name, (_, t) in OTHERS.items()}}
    listing = "\n".join(f"  {name:14}{titles[name]}" for name in sorted(titles))
    parser = console.parser(
        "python -m recbole_ec4srec.experiments",
        "Print an experiment's tables from the records of its runs, and write them (.md, .csv) and its "
        "figure (.png). With --train the runs that have no record are trained first; one that was killed is gone on "
        "with after its last whole epoch.",
        f"experiments:\n{listing}\n\nAny setting of RecBole's or ours: --key=value.\n\nexamples:\n"
        "  python -m recbole_ec4srec.experiments table3 --datasets amazon-beauty\n"
        "  python -m recbole_ec4srec.experiments table3 --datasets ml-100k --rows DuoRec EC4SRec --train --seeds 1 2\n"
        "  python -m recbole_ec4srec.experiments faithfulness --datasets ml-100k --num_updates=2",
    )
    parser.add_argument("name", choices=sorted(titles), metavar="NAME")
    parser.add_argument("--train", action="store_true", help="train what has no record")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="(default: 1)")
    parser.add_argument("--datasets", nargs="+", help="(default: the experiment's own)")
    parser.add_argument("--rows", nargs="+", help="some of the experiment's rows, by their labels (default: all)")
    parser.add_argument("--output", type=Path, default=Path("results"), help="(default: results)")
    parser.add_argument(
        "--work", type=Path, default=Path("saved/experiments"), help="states of runs (default: %(default)s)"
    )
    parser.add_argument("--page", type=Path, default=Path("docs/results.md"), help="of results (default: %(default)s)")
    console.add_options(parser, "tell how trainings go")
    args, settings = parser.parse_known_args(argv)
    args.settings = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not key.startswith("--") or not equals:
            parser.error(f"got {setting}, allowed are the options above and --key=value")
        args.settings[key[2:]] = yaml.safe_load(value)
    if args.rows and args.name in PLANS:
        labels = [row.label for row in PLANS[args.name].rows]
        unknown = [label for label in args.rows if label not in labels]
        if unknown:
            parser.error(f"--rows: got {unknown[0]!r}, allowed are {', '.join(map(repr, labels))}")
    return args


def _run(args):
    recbole_keys.refuse_unknown(args.settings, KEYS)
    if args.name in OTHERS:
        OTHERS[args.name][0](args)
        return
    plan = PLANS[args.name]
    plans = {
        dataset: plan.runs(dataset, args.seeds, args.settings, args.rows) for dataset in args.datasets or plan.datasets
    }
    if args.train:
        runs = [run for of_dataset in plans.values() for of_label in of_dataset.values() for run in of_label]
        record_missing(runs, args.output, args.work)
    for dataset, runs in plans.items():
        text, any_record = tables.report(args.name, plan, dataset, runs, args.output)
        missing = f"{args.name}: no record of {dataset} in {args.output}; --train makes them\n"
        console.show(text if any_record else missing)


def main(argv=None) -> int:
    console.end_with_the_reader()
    args = _arguments(argv)
    console.log_to_stderr(args, logging.WARNING)
    console.run(lambda: _run(args), args, "the same command goes on with what is left")
    return 0


if __name__ == "__main__":
    sys.exit(main())
