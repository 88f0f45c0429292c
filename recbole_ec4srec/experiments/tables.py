"""Tables and figures from records; nothing is trained here."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure  # without pyplot, which looks for a display

from recbole_ec4srec.config.keys import PREFIXES, SEQUENCES
from recbole_ec4srec.config.schedule import update_schedule
from recbole_ec4srec.errors import printable
from recbole_ec4srec.experiments.plans import Plan
from recbole_ec4srec.experiments.records import metric_value
from recbole_ec4srec.experiments.significance import Comparison, compare, holm
from recbole_ec4srec.reporting.markdown import markdown_table
from recbole_ec4srec.training.protocols import ALL, PROTOCOLS, protocols_of, under

#: The records of a plan on one data set, by the label of their row, one for each seed.
Records = dict[str, list[dict]]
#: Comparisons by the label, that of the other row, and the metric.
Comparisons = dict[tuple[str, str, str], Comparison]


def spread(values: Sequence[float]) -> str:
    """The mean of ``values``, and their standard deviation if there are several."""
    mean = f"{statistics.mean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.4f}"


def write_csv(path: Path, rows: Iterable[Iterable]) -> None:
    """Write ``rows``, the header among them, to ``path``."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def write_table(path: Path, header: Sequence, rows: Sequence[Sequence], caption: str) -> str:
    """Write a table to ``path.md`` and ``path.csv``; the text of the former."""
    text = printable("\n".join([caption, "", *markdown_table(header, rows)]) + "\n", lines=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    write_csv(path.with_suffix(".csv"), [header, *rows])
    return text


def stem(name: str, dataset: str, train_on: str = PREFIXES, protocol: str = ALL) -> str:
    """What the files of an experiment on a data set are called, without their ending; the defaults are left out."""
    return "-".join([name, dataset, *(part for part in (train_on, protocol) if part not in (PREFIXES, ALL))])


def mode(train_on: str) -> list[str]:
    """What a caption says of how the models were trained; nothing of the default."""
    return ["trained on sequences"] if train_on == SEQUENCES else []


def report(
    plan: Plan, dataset: str, of_label: Records, output: Path, train_on: str = PREFIXES
) -> dict[str, tuple[str, Path]]:
    """Write a plan's tables and figure for a data set to the folder ``output``, those under each protocol to files of
    their own.

    A record stands only in the tables of the protocols that it was judged under.

    Args:
        train_on: what was asked for of the rows that can be trained on prefixes and on sequences.

    Returns:
        By the protocol the text of the tables, and the path of the files without what their names end in.
    """
    present = {protocol for records in of_label.values() for record in records for protocol in protocols_of(record)}
    written = {}
    for protocol in PROTOCOLS:
        if protocol not in (present or {ALL}):
            continue
        judged = {
            label: [under(record, protocol) for record in records if protocol in protocols_of(record)]
            for label, records in of_label.items()
        }
        where = [dataset, PROTOCOLS[protocol], *mode(train_on)]
        path = output / stem(plan.name, dataset, train_on, protocol)
        paper = plan.paper if protocol == ALL else {}  # which ranks all items
        written[protocol] = _report_under(plan, where, paper, judged, path), path
    return written


def _report_under(plan: Plan, where: list[str], paper: dict, of_label: Records, path: Path) -> str:
    texts = [_write_results(plan, where, paper, of_label, path)]
    compared = _compare(plan, of_label)
    if compared:
        texts.append(_write_significance(", ".join(where), compared, path.with_name(f"{path.name}-significance")))
    if compared if plan.figure == "differences" else plan.figure and any(of_label.values()):
        _write_figure(plan, ", ".join(where), of_label, compared, path)
    return "\n".join(texts)


def _write_results(plan: Plan, where: list[str], paper: dict, of_label: Records, path: Path) -> str:
    """The metrics of each row, beside those of the ``paper`` if it prints any."""
    dataset, *others = where
    columns = [
        (split, metric) for split in (("valid", "test") if plan.timed else (plan.split,)) for metric in plan.metrics
    ]
    header = [""]
    for split, metric in columns:
        header.append(f"{_NAMES[split]} {_title(metric)}" if plan.timed else _title(metric))
        header += ["paper", "difference"] if paper else []
    header += ["epoch", *(["epochs", "minutes to the best epoch"] if plan.timed else []), "seeds"]
    rows = []
    for label, records in of_label.items():
        if not records and plan.split == "valid":  # the search has many rows that nobody trains
            continue
        row = [label]
        for split, metric in columns:
            row += _metric_cells(paper, dataset, label, split, metric, records)
        of_each = [[record["best_epoch"] for record in records]]
        if plan.timed:
            of_each += [
                [len(record["epochs"]) for record in records],
                [f"{_minutes(record):.0f}" for record in records],
            ]
        of_each.append([record["seed"] for record in records])
        rows.append([*row, *(", ".join(map(str, values)) for values in of_each)])
    what = "test set" if plan.timed else f"{_NAMES[plan.split]} set"
    return write_table(path, header, rows, f"{plan.title}; {', '.join([dataset, what, *others])}.")


_NAMES = {"test": "test", "valid": "validation"}


def _minutes(record: dict) -> float:
    """From the beginning of a training to the end of its best epoch, of epochs that take their median: a pause of the
    machine does not count."""
    seconds = [epoch["seconds"] for epoch in record["epochs"] if epoch["epoch"] <= record["best_epoch"]]
    return statistics.median(seconds) * len(seconds) / 60


def _metric_cells(paper: dict, dataset: str, label: str, split: str, metric: str, records: list[dict]) -> list[str]:
    """Our value, and beside it the ``paper``'s and the difference, if it has any; empty cells for what there is not."""
    ours = [metric_value(record, split, metric) for record in records if metric in record[split]]
    cells = [spread(ours) if ours else ""]
    if paper:
        theirs = paper.get(dataset, {}).get((label.removesuffix(", tuned"), metric))  # the paper's are tuned
        cells.append("" if theirs is None else f"{theirs:.4f}")
        cells.append(f"{statistics.mean(ours) - theirs:+.4f}" if ours and theirs is not None else "")
    return cells


def _title(metric: str) -> str:
    name, cut_off = metric.split("@")
    return f"{'HR' if name == 'hit' else name.upper()}@{cut_off}"


def _compare(plan: Plan, of_label: Records) -> Comparisons:
    """Every row against the control, and the plan's pairs."""
    pairs = [(label, plan.control) for label in of_label if plan.control and label != plan.control]
    compared = {
        (label, other, metric): compare(of_label[label], of_label[other], metric)
        for label, other in (*pairs, *plan.pairs)
        for metric in plan.metrics
        if of_label.get(label) and of_label.get(other)
    }
    return {key: comparison for key, comparison in compared.items() if comparison}


def _write_significance(where: str, compared: Comparisons, path: Path) -> str:
    rows = []
    for ((label, other, metric), c), p_holm in zip(compared.items(), holm([c.p for c in compared.values()])):
        difference = [f"{c.difference:+.4f}", f"{c.low:+.4f} … {c.high:+.4f}", f"{c.effect:+.3f}"]
        p_values = [f"{c.p:.2g}", f"{p_holm:.2g}", "" if c.p_seeds is None else f"{c.p_seeds:.2g}"]
        rows.append([label, other, _title(metric), *difference, *p_values, c.seeds])
    header = [
        "",
        "against",
        "metric",
        "difference",
        "95 % interval",
        "effect",
        "p, users",
        "p, Holm",
        "p, seeds",
        "seeds",
    ]
    caption = (
        f"Differences, {where}: paired t-tests over test users (Holm: corrected for the {len(rows)} "
        "comparisons of this table) and over seeds; effect in standard deviations of the users' differences."
    )
    return write_table(path, header, rows, caption)


def _write_figure(plan: Plan, where: str, of_label: Records, compared: Comparisons, path: Path) -> None:
    """Write ``path.png``; its data is in ``path.csv``, for curves by epoch in ``path-curves.csv``, and for differences
    in ``path-significance.csv``."""
    figure = Figure(figsize=(9, 5))
    axis = figure.subplots()
    of_label = {label: records for label, records in of_label.items() if records}
    if plan.figure == "epochs":
        _draw_curves(axis, plan, of_label, path.with_name(f"{path.name}-curves.csv"))
    elif plan.figure == "lines":
        _draw_lines(axis, plan, of_label)
    elif plan.figure == "differences":
        _draw_differences(axis, plan, compared)
    else:
        _draw_points(axis, plan, of_label)
    axis.set_title(f"{plan.title}; {where}", fontsize=10)
    axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path.with_suffix(".png"), dpi=110)


def _draw_curves(axis: Axes, plan: Plan, of_label: Records, file: Path) -> None:
    """The validation metric by epoch, a line for each record, which is written to ``file``, too."""
    metric = plan.metrics[0]
    rows: list[list] = [["", "seed", "epoch", f"validation {metric}"]]
    for label, records in of_label.items():
        for record in records:
            planned = update_schedule(*(record["config"][key] for key in ("epochs", "num_updates", "update_epochs")))
            epochs = [epoch["epoch"] for epoch in record["epochs"]]
            values = [metric_value(epoch, "valid", metric) for epoch in record["epochs"]]
            updates = [place for place, epoch in enumerate(epochs) if epoch in planned]
            axis.plot(epochs, values, label=f"{label}, seed {record['seed']}", marker="o", markevery=updates)
            rows += [[label, record["seed"], *point] for point in zip(epochs, values)]
    write_csv(file, rows)
    axis.set(xlabel="epoch (●: begins with an update)", ylabel=f"validation {_title(metric)}")
    axis.legend()


def _draw_lines(axis: Axes, plan: Plan, of_label: Records) -> None:
    """The mean over seeds, over the rows' ``x``."""
    metric = plan.metrics[0]
    lines: dict[str, list[tuple]] = {}
    for row in plan.rows:
        if row.label in of_label:
            mean = statistics.mean(metric_value(record, "test", metric) for record in of_label[row.label])
            lines.setdefault(row.line, []).append((row.x, mean))
    for line, points in lines.items():
        axis.plot(*zip(*points), label=line, marker="o")
    axis.set(ylabel=_title(metric))
    axis.legend()


def _draw_points(axis: Axes, plan: Plan, of_label: Records) -> None:
    """A point for each seed, and a line of them for each row, the first on top."""
    metric = plan.metrics[0]
    for number, records in enumerate(of_label.values()):
        axis.plot([metric_value(record, "test", metric) for record in records], [-number] * len(records), "o")
    axis.set_yticks(range(0, -len(of_label), -1), list(of_label))
    axis.set(xlabel=_title(metric))


def _draw_differences(axis: Axes, plan: Plan, compared: Comparisons) -> None:
    """The differences in the first metric with their 95 % intervals, the first on top."""
    metric = plan.metrics[0]
    of_metric = {
        f"{label} against {other.rsplit(', ', 1)[-1]}": c for (label, other, of), c in compared.items() if of == metric
    }
    places, found = range(0, -len(of_metric), -1), list(of_metric.values())
    middle = [c.difference for c in found]
    beside = [c.difference - c.low for c in found], [c.high - c.difference for c in found]
    axis.errorbar(middle, places, xerr=beside, fmt="o", capsize=3)
    axis.axvline(0, color="grey", linewidth=1)
    axis.set_yticks(places, list(of_metric))
    axis.set(xlabel=f"difference in {_title(metric)}, with its 95 % interval over users")
