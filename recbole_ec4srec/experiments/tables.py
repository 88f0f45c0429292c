"""Tables and figures from records; nothing is trained here."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path

from recbole_ec4srec.config.schedule import update_schedule
from recbole_ec4srec.errors import printable
from recbole_ec4srec.experiments import records
from recbole_ec4srec.experiments.plans import Plan
from recbole_ec4srec.experiments.significance import compare, holm


def spread(values) -> str:
    """The mean of ``values``, and their standard deviation where there are several."""
    mean = f"{statistics.mean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.4f}"


def write_csv(path: Path, rows) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def write_table(path: Path, header, rows, caption: str) -> str:
    """Write ``path.md`` and ``path.csv``; the text of the former."""
    lines = [caption, "", *(f"| {' | '.join(map(str, row))} |" for row in (header, ["---"] * len(header), *rows))]
    text = printable("\n".join(lines) + "\n", lines=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    write_csv(path.with_suffix(".csv"), [header, *rows])
    return text


def report(name: str, plan: Plan, dataset: str, runs: dict, output: Path) -> tuple[str, bool]:
    """Write a plan's tables and figure for a data set from the records that there are.

    Args:
        runs: ``{label: runs}``, one a seed.

    Returns:
        The text of the tables, and whether there is any record.
    """
    found = {label: [records.read(output, run) for run in of_seeds] for label, of_seeds in runs.items()}
    found = {label: [record for record in of_seeds if record] for label, of_seeds in found.items()}
    path, of_set = output / f"{name}-{dataset}", {"test": "test", "valid": "validation"}[plan.split]
    printed, rows = plan.paper.get(dataset, {}), []
    beside = ["paper", "difference"] if plan.paper else []
    header = ["", *(cell for metric in plan.metrics for cell in (_title(metric), *beside)), "epoch", "seeds"]
    for label, of_seeds in found.items():
        if not of_seeds and plan.split == "valid":  # the search has many rows that nobody trains
            continue
        row = [label]
        for metric in plan.metrics:
            ours = [record[plan.split][metric] for record in of_seeds]
            theirs = printed.get((label.removesuffix(", tuned"), metric))  # the paper's models are
            difference = f"{statistics.mean(ours) - theirs:+.4f}" if ours and theirs is not None else ""
            row.append(spread(ours) if ours else "")
            row += ["" if theirs is None else f"{theirs:.4f}", difference] if plan.paper else []
        epochs, seeds = (", ".join(str(record[key]) for record in of_seeds) for key in ("best_epoch", "seed"))
        rows.append([*row, epochs, seeds])
    texts = [write_table(path, header, rows, f"{plan.title}; {dataset}, {of_set} set.")]
    tested = _significance(plan, found, path, dataset)
    texts += [tested] if tested else []
    if plan.figure and any(found.values()):
        _figure(plan, found, path, dataset)
    return "\n".join(texts), any(found.values())


def _title(metric):
    name, cut_off = metric.split("@")
    return f"{'HR' if name == 'hit' else name.upper()}@{cut_off}"


def _significance(plan, found, path, dataset):
    """Every model against the control, and what is guided against what it guides, by every metric."""
    pairs = [(label, plan.control) for label in found if label != plan.control] + list(plan.pairs)
    compared = {
        (label, other, metric): compare(found[label], found[other], metric)
        for label, other in pairs
        for metric in plan.metrics
        if found.get(label) and found.get(other)
    }
    compared = {key: comparison for key, comparison in compared.items() if comparison}
    if not compared:
        return None
    rows = [
        [
            label,
            other,
            _title(metric),
            f"{c.difference:+.4f}",
            f"{c.low:+.4f} … {c.high:+.4f}",
            f"{c.effect:+.3f}",
            f"{c.p:.2g}",
            f"{adjusted:.2g}",
            "" if c.p_seeds is None else f"{c.p_seeds:.2g}",
            c.seeds,
        ]
        for ((label, other, metric), c), adjusted in zip(compared.items(), holm([c.p for c in compared.values()]))
    ]
    tests = ["95 % interval", "effect", "p, users", "p, Holm", "p, seeds", "seeds"]
    caption = (
        f"Differences, {dataset}: paired t-tests over test users (Holm: corrected for the {len(rows)} "
        "comparisons of this table) and over seeds; effect in standard deviations of the users' differences."
    )
    return write_table(
        path.with_name(f"{path.name}-significance"), ["", "against", "metric", "difference", *tests], rows, caption
    )


def _figure(plan, found, path, dataset):
    """Write ``path.png``; its data is in ``path.csv``, for curves by epoch in ``path-curves.csv``."""
    from matplotlib.figure import Figure  # without pyplot no display is looked for

    figure = Figure(figsize=(9, 5))
    axis, metric = figure.subplots(), plan.metrics[0]
    values = {label: [r["test"][metric] for r in of_seeds] for label, of_seeds in found.items() if of_seeds}
    if plan.figure == "epochs":
        curves = [
            (label, record, [(epoch["epoch"], epoch["valid"][metric]) for epoch in record["epochs"]])
            for label, of_seeds in found.items()
            for record in of_seeds
        ]
        for label, record, curve in curves:
            planned = update_schedule(*(record["config"][key] for key in ("epochs", "num_updates", "update_epochs")))
            updates = [place for place, (epoch, _) in enumerate(curve) if epoch in planned]
            axis.plot(*zip(*curve), label=f"{label}, seed {record['seed']}", marker="o", markevery=updates)
        rows = [[label, record["seed"], *point] for label, record, curve in curves for point in curve]
        write_csv(path.with_name(f"{path.name}-curves.csv"), [["", "seed", "epoch", f"validation {metric}"], *rows])
        axis.set(xlabel="epoch (●: begins with an update)", ylabel=f"validation {_title(metric)}")
    elif plan.figure == "lines":
        points = {}
        for row in plan.rows:
            if row.label in values:
                points.setdefault(row.line, []).append((row.x, statistics.mean(values[row.label])))
        for line, of_line in points.items():
            axis.plot(*zip(*of_line), label=line, marker="o")
        axis.set(ylabel=_title(metric))
    else:
        for place, of_label in enumerate(values.values()):
            axis.plot(of_label, [-place] * len(of_label), "o")
        axis.set_yticks(range(0, -len(values), -1), values)
        axis.set(xlabel=_title(metric))
    if plan.figure != "points":
        axis.legend()
    axis.set_title(f"{plan.title}; {dataset}", fontsize=10)
    axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path.with_suffix(".png"), dpi=110)
