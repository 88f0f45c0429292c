"""One page with all tables and figures of the existing records."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from pathlib import Path

from recbole_ec4srec.config.keys import SEQUENCES
from recbole_ec4srec.experiments import records, tables
from recbole_ec4srec.experiments.plans import PLANS
from recbole_ec4srec.training.protocols import PROTOCOLS, protocols_of, under

_HEAD = """# Results

Written by `python -m recbole_ec4srec.experiments results` from the records in `{records}`, one for each training. The
last item of each user is the test item, the last but one the validation item. A table says what is ranked: all items,
or all but those that the user has already had ("without seen items"). The epoch is chosen on the validation set, for
each of the two by its own validation. With several seeds, a value is the mean ± the standard deviation. "paper" is the
value that the paper prints, with all items ranked; for ml-100k it is the value that the authors' code reports.
Every training has a line in `{folder}/points.csv`.
"""


def results(args: Namespace) -> None:
    """Write the page ``args.page``: the tables are made from the records, measurements are read from their files."""
    every_record = records.read_all(args.output)
    parts = [_HEAD.format(records=args.output / "records", folder=args.output)]
    shown: dict[str, set[str]] = {"test": set(), "valid": set()}
    for plan in PLANS.values():
        for dataset in sorted({record["dataset"] for record in every_record}):
            seeds = sorted({record["seed"] for record in every_record if record["dataset"] == dataset})
            for train_on, of_label in plan.read(args.output, dataset, seeds, args.settings).items():
                recorded = {records.name_of(record) for of_row in of_label.values() for record in of_row}
                of_times = plan.timed and dataset in plan.datasets
                if recorded <= shown[plan.split] and not of_times:  # an earlier table has all of them
                    continue
                shown[plan.split] |= recorded
                title = ", trained on sequences" if train_on == SEQUENCES else ""
                parts.append(f"## {plan.title}, {dataset}{title}\n")
                for text, path in tables.report(plan, dataset, of_label, args.output, train_on).values():
                    parts.append(f"{text}{_image(path, args.page)}")
    for file in sorted(args.output.glob("*.md")):
        if file.stem.split("-")[0] not in PLANS:
            parts.append(f"## {file.stem}\n\n{file.read_text(encoding='utf-8')}{_image(file, args.page)}")
    _write_points(every_record, args.output / "points.csv")
    args.page.parent.mkdir(parents=True, exist_ok=True)
    args.page.write_text("\n".join(parts), encoding="utf-8")
    print(args.page)


def _write_points(every_record: list[dict], path: Path) -> None:
    """A line for each training under each protocol that it was judged under: the settings that differ from those of the
    paper and of the data set, all metrics on validation and test, its best epoch, and how many there were."""
    splits, lines = ("valid", "test"), []
    metrics = list(dict.fromkeys(metric for record in every_record for metric in record["test"]))
    for record in every_record:
        usual = records.settings_of("", record["dataset"], {}, {})
        settings = {key: value for key, value in record["settings"].items() if usual.get(key) != value}
        for protocol in protocols_of(record):
            judged = under(record, protocol)
            values = (judged[split].get(metric, "") for split in splits for metric in metrics)
            run = [record["model"], record["dataset"], record["seed"], json.dumps(settings, sort_keys=True)]
            lines.append([*run, PROTOCOLS[protocol], *values, judged["best_epoch"], len(judged["epochs"])])
    of_metrics = [f"{split} {metric}" for split in splits for metric in metrics]
    header = ["model", "data set", "seed", "settings", "ranked", *of_metrics, "best epoch", "epochs"]
    tables.write_csv(path, [header, *lines])


def _image(path: Path, page: Path) -> str:
    image = path.with_suffix(".png")
    return f"\n![{image.stem}]({os.path.relpath(image, page.parent)})\n" if image.is_file() else ""
