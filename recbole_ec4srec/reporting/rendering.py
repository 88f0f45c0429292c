"""Explanations as text, tables, pictures and pages."""

from __future__ import annotations

import json
from itertools import zip_longest

import pandas as pd
import torch

from recbole_ec4srec.data.importance import normalise
from recbole_ec4srec.errors import printable
from recbole_ec4srec.reporting.page import render

_RETRIEVED = ("rtrl", "ertrl+")


def text(explanation) -> str:
    """The recommendations of one history, and under them its items with the percentages of their importance."""
    lines = [f"user {printable(explanation.user)}" if explanation.user else "recommended"]
    lines += [
        f"{rank:4}. {_named(explanation, item)}  {score:.4g}"
        for rank, (item, score) in enumerate(zip(explanation.recommended, explanation.scores), 1)
    ]
    titles = [_named(explanation, item) for item in explanation.history]
    width = max(map(len, titles))
    for name in explanation.attributions:
        lines.append(f"importance of the history for each, in percent ({name})")
        lines.append(" " * (width + 2) + "".join(f"{rank:6}" for rank in range(1, len(explanation.recommended) + 1)))
        for title, shares in zip(titles, explanation.importance(name).T):
            lines.append(f"  {title:{width}}" + "".join(f"{100 * share:6.1f}" for share in shares))
    return "\n".join(lines)


def _named(explanation, item):
    title = explanation.title(item)
    return printable(item if title == item else f"{title} [{item}]")


def shares(importance) -> list:
    """Raw importance ``[n]`` as shares of 1 (Eq. 5)."""
    return normalise(torch.tensor([importance], dtype=torch.float), torch.tensor([len(importance)]))[0].tolist()


def views(items, importance, found: dict, titles: dict, retrieved: dict) -> str:
    """A sequence, an item a line, with its importance and what stands in its place in the view of each operator.

    Args:
        items: external ids, ``[n]``.
        importance: theirs, ``[n]``, raw; shown as percentages (Eq. 5).
        found: what :func:`~recbole_ec4srec.inference.views.augmentations` gave.
        titles: of items, by external id.
        retrieved: what :func:`~recbole_ec4srec.inference.views.retrieved` gave, or empty.
    """

    def name(item):
        return printable(titles.get(item, item))

    width = max(len(name(item)) for item in items)
    lines = [f"{'':{width + 5}}importance" + "".join(f"{operator:>8}" for operator in found)]
    for place, (item, share) in enumerate(zip(items, shares(importance))):
        cells = "".join(f"{'' if cells[place] is None else cells[place]!s:>8}" for cells in found.values())
        lines.append(f"{place + 1:3}  {name(item):{width}}{100 * share:10.1f}{cells}".rstrip())
    if retrieved:
        lines.append(f"next item: {name(retrieved['next_item'])}")
    for operator in _RETRIEVED:
        if operator in retrieved:
            user, sequence = retrieved[operator] or ("", [])
            shown = ", ".join(("*" if item in items else "") + name(item) for item in sequence)
            told = f"user {printable(user)}: {shown}" if user else "no other user has this next item"
            lines.append(f"{operator}: {told}")
    if retrieved:
        lines.append("(* is in the sequence above too)")
    return "\n".join(lines)


def views_tables(items, importance, found: dict, titles: dict, retrieved: dict) -> list:
    """What :func:`views` shows, as tables for a page (``templates/table.html``), in which items are shaded by their
    importance."""
    share = shares(importance)
    strength = {place: value / max(share) for place, value in enumerate(share, 1)}
    rows = [
        [f"{place}. {titles.get(item, item)}", f"{100 * share[place - 1]:.1f}"]
        + ["" if cells[place - 1] is None else cells[place - 1] for cells in found.values()]
        for place, item in enumerate(items, 1)
    ]
    shade = [[strength[place], *(strength.get(cell, 0) for cell in row[2:])] for place, row in enumerate(rows, 1)]
    tables = [
        {
            "caption": "The items, oldest first, with their importance in percent, and the number of the item in its "
            "place in each view; [m] is the mask",
            "header": ["", "importance", *found],
            "rows": rows,
            "shade": shade,
        }
    ]
    others = {f"{name}: user {retrieved[name][0]}": retrieved[name][1] for name in _RETRIEVED if retrieved.get(name)}
    if others:
        places = [[items.index(item) + 1 if item in items else 0 for item in sequence] for sequence in others.values()]
        shown = [
            [f"{place}. " * (place > 0) + titles.get(item, item) for item, place in zip(*both)]
            for both in zip(others.values(), places)
        ]
        next_item = titles.get(retrieved["next_item"], retrieved["next_item"])
        tables.append(
            {
                "caption": f"Sequences of other users that go on with {next_item}; items with a number are above too",
                "header": ["", *others],
                "rows": [[number, *cells] for number, cells in enumerate(zip_longest(*shown, fillvalue=""), 1)],
                "shade": [[strength.get(place, 0) for place in row] for row in zip_longest(*places)],
                "kind": "text",
            }
        )
    return tables


def views_html(*shown) -> str:
    """A page with :func:`views_tables`, which takes the same."""
    return render("views.html", tables=views_tables(*shown))


def html(explanations) -> str:
    """A page with what is recommended to each, and a table for each explainer."""
    return render("explanations.html", explained=[(each, _tables(each)) for each in explanations])


def _tables(explanation):
    named = [explanation.title(item) for item in explanation.history]
    for name in explanation.attributions:
        shares = explanation.importance(name).T.tolist()
        yield {
            "caption": "How much each item of the history (rows, oldest first) matters for each recommended one "
            f"(columns, by rank), in percent: {name}",
            "header": ["", *range(1, len(explanation.recommended) + 1)],
            "rows": [[title, *(f"{100 * share:.1f}" for share in of_item)] for title, of_item in zip(named, shares)],
            "shade": shares,
        }


def _write_json(file, explanations):
    found = [explanation.to_dict() for explanation in explanations]
    file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_csv(file, explanations):
    pd.DataFrame(row for explanation in explanations for row in explanation.rows()).to_csv(file, index=False)


def _write_html(file, explanations):
    file.write_text(html(explanations), encoding="utf-8")


def _write_png(file, explanations):
    for number, explanation in enumerate(explanations, 1):
        name = file if len(explanations) == 1 else file.with_name(f"{file.stem}-{number}.png")
        explanation.plot().savefig(name, dpi=150)


#: Functions of a path and explanations, by the suffix of the file that they write; of several explanations there are
#: as many pictures, numbered from 1.
WRITERS = {".json": _write_json, ".csv": _write_csv, ".html": _write_html, ".png": _write_png}
