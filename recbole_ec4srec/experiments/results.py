"""One page with every table and figure that there are records of."""

from __future__ import annotations

import os

from recbole_ec4srec.experiments import records, tables
from recbole_ec4srec.experiments.plans import PLANS

_HEAD = """# Results

Made by `python -m recbole_ec4srec.experiments results` from the records in `{records}`, each of one training. The last
item of each user is the test, the last but one the validation; ranking is over all items; the epoch is chosen on the
validation set. Where there are several seeds a figure is their mean ± standard deviation. "paper" is what the paper
prints, of ml-100k what the authors' code reports.
"""


def results(args) -> None:
    """Write the page ``args.page``; tables are made anew from the records, measurements are taken as they stand."""
    known = records.read_all(args.output)
    parts, shown = [_HEAD.format(records=args.output / "records")], {"test": set(), "valid": set()}
    for name, plan in PLANS.items():
        for dataset in sorted({record["dataset"] for record in known}):
            seeds = sorted({record["seed"] for record in known if record["dataset"] == dataset})
            runs = plan.runs(dataset, seeds, args.settings)
            there = {run.name for of_label in runs.values() for run in of_label if records.read(args.output, run)}
            if not there - shown[plan.split]:  # a table of nothing but what an earlier one has
                continue
            shown[plan.split] |= there
            text, _ = tables.report(name, plan, dataset, runs, args.output)
            parts.append(f"## {plan.title}, {dataset}\n\n{text}{_image(args.output / f'{name}-{dataset}', args.page)}")
    for file in sorted(args.output.glob("*.md")):
        if file.stem.split("-")[0] not in PLANS:
            parts.append(f"## {file.stem}\n\n{file.read_text(encoding='utf-8')}{_image(file, args.page)}")
    args.page.parent.mkdir(parents=True, exist_ok=True)
    args.page.write_text("\n".join(parts), encoding="utf-8")
    print(args.page)


def _image(path, page):
    image = path.with_suffix(".png")
    return f"\n![{image.stem}]({os.path.relpath(image, page.parent)})\n" if image.is_file() else ""
