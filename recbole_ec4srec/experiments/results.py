"""One page with all tables and figures of the existing records."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from recbole_ec4srec.config.keys import SEQUENCES
from recbole_ec4srec.experiments import records, tables
from recbole_ec4srec.experiments.plans import PLANS

_HEAD = """# Results

Written by `python -m recbole_ec4srec.experiments results` from the records in `{records}`, one for each training. The
last item of each user is the test item, the last but one the validation item. A table says what is ranked: all items,
or all but those that the user has already had ("without seen items"). The epoch is chosen on the validation set, for
each of the two by its own validation. With several seeds, a value is the mean ± the standard deviation. "paper" is the
value that the paper prints, with all items ranked; for ml-100k it is the value that the authors' code reports.
"""


def results(args: Namespace) -> None:
    """Write the page ``args.page``: the tables are made from the records, measurements are read from their files."""
    every_record = records.read_all(args.output)
    parts = [_HEAD.format(records=args.output / "records")]
    shown: dict[str, set[str]] = {"test": set(), "valid": set()}
    for plan in PLANS.values():
        for dataset in sorted({record["dataset"] for record in every_record}):
            seeds = sorted({record["seed"] for record in every_record if record["dataset"] == dataset})
            for train_on, of_label in plan.read(args.output, dataset, seeds, args.settings).items():
                recorded = {_name(record) for of_row in of_label.values() for record in of_row}
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
    args.page.parent.mkdir(parents=True, exist_ok=True)
    args.page.write_text("\n".join(parts), encoding="utf-8")
    print(args.page)


def _name(record: dict) -> str:
    """The name of a record."""
    return records.Run("", *(record[key] for key in ("model", "dataset", "seed", "settings"))).name


def _image(path: Path, page: Path) -> str:
    image = path.with_suffix(".png")
    return f"\n![{image.stem}]({os.path.relpath(image, page.parent)})\n" if image.is_file() else ""
