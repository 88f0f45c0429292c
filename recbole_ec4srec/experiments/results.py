"""One page with all tables and figures of the existing records."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

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
            runs = plan.runs(dataset, seeds, args.settings)
            recorded = {run.name for of_label in runs.values() for run in of_label if records.exists(args.output, run)}
            if recorded <= shown[plan.split]:  # an earlier table has all of them
                continue
            shown[plan.split] |= recorded
            of_label = records.read_runs(args.output, runs)
            parts.append(f"## {plan.title}, {dataset}\n")
            for protocol, text in tables.report(plan, dataset, of_label, args.output).items():
                image = _image(tables.path_of(plan, dataset, protocol, args.output), args.page)
                parts.append(f"{text}{image}")
    for file in sorted(args.output.glob("*.md")):
        if file.stem.split("-")[0] not in PLANS:
            parts.append(f"## {file.stem}\n\n{file.read_text(encoding='utf-8')}{_image(file, args.page)}")
    args.page.parent.mkdir(parents=True, exist_ok=True)
    args.page.write_text("\n".join(parts), encoding="utf-8")
    print(args.page)


def _image(path: Path, page: Path) -> str:
    image = path.with_suffix(".png")
    return f"\n![{image.stem}]({os.path.relpath(image, page.parent)})\n" if image.is_file() else ""
