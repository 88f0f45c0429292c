"""Explanations and views as text, tables, pictures and pages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from recbole_ec4srec.errors import printable
from recbole_ec4srec.inference.explanation import Explanation
from recbole_ec4srec.inference.views import SequenceViews
from recbole_ec4srec.reporting.drawing import style
from recbole_ec4srec.reporting.page import render


def text(explanation: Explanation) -> str:
    """The recommendations of one history, and under them its items with the percentages of their importance."""
    lines = [f"user {printable(explanation.user)}" if explanation.user else "recommended"]
    lines += [
        f"{rank:4}. {_title_and_id(explanation, item)}  {score:.4g}"
        for rank, (item, score) in enumerate(zip(explanation.recommended, explanation.scores), 1)
    ]
    titles = [_title_and_id(explanation, item) for item in explanation.history]
    width = max(map(len, titles))
    for name in explanation.attributions:
        lines.append(f"importance of the history for each, in percent ({name})")
        lines.append(" " * (width + 2) + "".join(f"{rank:6}" for rank in range(1, len(explanation.recommended) + 1)))
        for title, importance in zip(titles, explanation.importance(name).T):
            lines.append(f"  {title:{width}}" + "".join(f"{100 * value:6.1f}" for value in importance))
    return "\n".join(lines)


def _title_and_id(explanation, item):
    title = explanation.title(item)
    return printable(item if title == item else f"{title} [{item}]")


def heatmap(explanation: Explanation) -> Figure:
    """A picture of the importance of each item of the history (down) for each recommended one (across)."""
    count, height, width = len(explanation.attributions), len(explanation.history), len(explanation.recommended)
    with style():
        figure = Figure(figsize=(3 + 0.9 * width * count, 1.8 + 0.3 * height), layout="constrained")
        axes = figure.subplots(1, count, sharey=True, squeeze=False)[0]
        recommended, history = (
            [_short(explanation.title(item)) for item in items]
            for items in (explanation.recommended, explanation.history)
        )
        for axis, name in zip(axes, explanation.attributions):
            image = axis.imshow(explanation.importance(name).T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
            axis.set_title(name)
            axis.set_xticks(range(width), recommended, rotation=40, ha="right", rotation_mode="anchor")
        axes[0].set_yticks(range(height), history)
        figure.colorbar(image, ax=list(axes), label="importance", shrink=0.6)
    return figure


def _short(title, width=28):
    return printable(title if len(title) <= width else title[: width - 1] + "…")


def views_text(shown: SequenceViews) -> str:
    """A sequence, an item a line, with its importance in percent and what stands in its place in each view."""

    def name(item):
        return printable(shown.title(item))

    width = max(len(name(item)) for item in shown.items)
    lines = [f"{'':{width + 5}}importance" + "".join(f"{operator:>8}" for operator in shown.views)]
    for item, row in zip(shown.items, _rows(shown)):
        number, importance, *cells = row
        lines.append(
            f"{number:3}  {name(item):{width}}{importance:>10}{''.join(f'{cell:>8}' for cell in cells)}".rstrip()
        )
    if shown.next_item is None:
        return "\n".join(lines)
    lines.append(f"next item: {name(shown.next_item)}")
    for operator, drawn in shown.retrieved.items():
        if drawn:
            user, sequence = drawn
            names = ", ".join(("*" if item in shown.items else "") + name(item) for item in sequence)
            lines.append(f"{operator}: user {printable(user)}: {names}")
        else:
            lines.append(f"{operator}: no other user has this next item")
    lines.append("(* is in the sequence above too)")
    return "\n".join(lines)


def _rows(shown: SequenceViews) -> list[list]:
    """For each item its number, its importance in percent, and what stands in its place in each view."""
    cells = [["" if cell is None else cell for cell in view] for view in shown.views.values()]
    numbers = range(1, len(shown.items) + 1)
    return [list(row) for row in zip(numbers, (f"{100 * value:.1f}" for value in shown.importance), *cells)]


def views_tables(shown: SequenceViews) -> list[dict]:
    """What :func:`views_text` shows, as tables for a page (``templates/table.html``), in which items are shaded by
    their importance."""
    strength = {number: value / max(shown.importance) for number, value in enumerate(shown.importance, 1)}
    rows = _rows(shown)
    tables = [
        {
            "caption": "The items, oldest first, with their importance in percent, and the number of the item in its "
            "place in each view; [m] is the mask",
            "header": ["", "importance", *shown.views],
            "rows": [[f"{row[0]}. {shown.title(item)}", *row[1:]] for item, row in zip(shown.items, rows)],
            "shade": [[strength[row[0]], *(strength.get(cell, 0) for cell in row[2:])] for row in rows],
        }
    ]
    drawn = {f"{name}: user {instance[0]}": instance[1] for name, instance in shown.retrieved.items() if instance}
    if drawn:
        numbers = [shown.positions(sequence) for sequence in drawn.values()]
        names = [
            [shown.title(item) if number is None else f"{number}. {shown.title(item)}" for item, number in zip(*column)]
            for column in zip(drawn.values(), numbers)
        ]
        caption = f"Sequences of other users with the next item {shown.title(str(shown.next_item))}"
        tables.append(
            {
                "caption": f"{caption}; items with a number are above too",
                "header": ["", *drawn],
                "rows": [[number, *cells] for number, cells in enumerate(zip_longest(*names, fillvalue=""), 1)],
                "shade": [[strength.get(number, 0) for number in row] for row in zip_longest(*numbers)],
                "kind": "text",
            }
        )
    return tables


def views_html(shown: SequenceViews) -> str:
    """A page with :func:`views_tables`."""
    return render("views.html", tables=views_tables(shown))


def html(explanations: Sequence[Explanation]) -> str:
    """A page with what is recommended to each, and a table for each explainer."""
    return render("explanations.html", explanations=[(each, _tables(each)) for each in explanations])


def _tables(explanation: Explanation) -> Iterator[dict]:
    titles = [explanation.title(item) for item in explanation.history]
    for name in explanation.attributions:
        importance = explanation.importance(name).T.tolist()
        yield {
            "caption": "How much each item of the history (rows, oldest first) matters for each recommended one "
            f"(columns, by rank), in percent: {name}",
            "header": ["", *range(1, len(explanation.recommended) + 1)],
            "rows": [[title, *(f"{100 * value:.1f}" for value in row)] for title, row in zip(titles, importance)],
            "shade": importance,
        }


def _write_json(file: Path, explanations: Sequence[Explanation]) -> None:
    content = [explanation.to_dict() for explanation in explanations]
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_csv(file: Path, explanations: Sequence[Explanation]) -> None:
    pd.DataFrame(row for explanation in explanations for row in explanation.rows()).to_csv(file, index=False)


def _write_html(file: Path, explanations: Sequence[Explanation]) -> None:
    file.write_text(html(explanations), encoding="utf-8")


def _write_png(file: Path, explanations: Sequence[Explanation]) -> None:
    for number, explanation in enumerate(explanations, 1):
        name = file if len(explanations) == 1 else file.with_name(f"{file.stem}-{number}.png")
        with style():
            heatmap(explanation).savefig(name, dpi=150)


#: Functions of a path and explanations, by the suffix of the file that they write; of several explanations there are
#: as many pictures, numbered from 1.
WRITERS = {".json": _write_json, ".csv": _write_csv, ".html": _write_html, ".png": _write_png}
