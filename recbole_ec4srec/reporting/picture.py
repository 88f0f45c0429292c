"""A picture (SVG) of what each augmentation makes of a sequence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch

from recbole_ec4srec.config.objective import NEGATIVE, OPERATORS, POSITIVE
from recbole_ec4srec.errors import printable
from recbole_ec4srec.inference.views import MASK, SequenceViews
from recbole_ec4srec.reporting.drawing import style, svg

_OPERATORS = {
    (POSITIVE, False): "at random",
    (POSITIVE, True): "guided, positive: what matters stays",
    (NEGATIVE, False): "at random, negative",
    (NEGATIVE, True): "guided, negative: what matters goes",
}
_RETRIEVED = "of other users with the same next item"
_STEP, _TILE, _ROW, _BAR = 52, 44, 38, 64  # pixels of the screen, of which an inch has 96
_INK, _SOFT, _BLUE, _FAINT = "#1f2328", "#59636e", "#0969da", "#c8d1da"
_SMALL: dict[str, Any] = {"fontsize": 9.5, "color": _SOFT}


def picture(shown: SequenceViews) -> str:
    """The sequence with the importance above each item, and under it a row for each operator and for what is retrieved.

    An item is as blue as it is important. Items with long names are numbered in their tiles; of a retrieved sequence
    the items that are in this one too are shown, the others are dots.
    """
    with style(**{"font.size": 10.5, "text.color": _INK}):
        figure = Figure(facecolor="white", edgecolor="#d1d9e0", linewidth=1)
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set_axis_off()
        labels = _draw_importance(axis, shown)
        rows = [("sequence", list(range(1, len(shown.items) + 1)))]
        bottom = _draw_rows(axis, 10, rows, shown, labels)
        for title, rows in _groups(shown):
            axis.text(0, bottom + 26, title, **_SMALL)
            bottom = _draw_rows(axis, bottom + 36, rows, shown, labels)
        width = _STEP * len(labels)
        axis.set(xlim=(0, width), ylim=(bottom, 0))  # y grows downwards, as on a screen
        figure.set_size_inches(width / 96, bottom / 96)
        title = "A sequence, the importance of its items, and what each augmentation makes of it"
        return svg(figure, title, bbox_inches="tight", pad_inches=0.2)


def _groups(shown: SequenceViews) -> Iterator[tuple[str, list]]:
    """The rows ``[(name, cells)]`` of each group of operators, and of what is retrieved, with the group's title."""
    for kind, title in _OPERATORS.items():
        names = [name for name, operator in OPERATORS.items() if (operator.kind, operator.guided) == kind]
        if rows := [(name, shown.views[name]) for name in names if name in shown.views]:
            yield title, rows
    if rows := [(name, shown.positions(drawn[1])) for name, drawn in shown.retrieved.items() if drawn]:
        yield _RETRIEVED, rows


def _draw_importance(axis: Axes, shown: SequenceViews) -> list:
    """Draw a bar for each item over the line y = 0, and over it the item's name where that is too long for a tile;
    what stands in the tiles."""
    names = [printable(shown.title(item)) for item in shown.items]
    long = max(map(len, names)) > 4
    axis.text(-14, 0, "importance", ha="right", **_SMALL)
    for column, (name, importance) in enumerate(zip(names, shown.importance)):
        middle, height = _STEP * column + _TILE / 2, _BAR * importance / max(shown.importance)
        axis.add_patch(_box(middle - 11, -height, 22, height, 3, facecolor=_BLUE, edgecolor="none"))
        axis.text(middle, -height - 5, f"{100 * importance:.0f} %", ha="center", **_SMALL)
        if long:
            name = name if len(name) <= 30 else f"{name[:29]}…"
            axis.text(middle, -_BAR - 24, name, rotation=60, rotation_mode="anchor", **_SMALL)
    return [str(number) for number in range(1, len(names) + 1)] if long else names


def _draw_rows(axis: Axes, top: float, rows: list, shown: SequenceViews, labels: list) -> float:
    """Draw rows of tiles from ``top`` downwards, each with its name; where they end."""
    strength = [importance / max(shown.importance) for importance in shown.importance]
    for name, cells in rows:
        axis.text(-14, top + 20, printable(name), ha="right")
        for column, cell in enumerate(cells):
            left = _STEP * column
            if cell is None:
                axis.add_patch(Circle((left + _TILE / 2, top + 15), 2.5, color=_FAINT, clip_on=False))
            elif cell == MASK:
                axis.add_patch(_box(left, top, _TILE, 30, 7, edgecolor=_SOFT, linestyle="--", facecolor="none"))
                axis.text(left + _TILE / 2, top + 20, MASK, ha="center", **_SMALL)
            else:
                fill = to_rgba(_BLUE, 0.07 + 0.53 * strength[cell - 1])
                axis.add_patch(_box(left, top, _TILE, 30, 7, edgecolor=to_rgba(_BLUE, 0.35), facecolor=fill))
                axis.text(left + _TILE / 2, top + 20, labels[cell - 1], ha="center")
        top += _ROW
    return top


def _box(left: float, top: float, width: float, height: float, radius: float, **colours: Any) -> FancyBboxPatch:
    """A rectangle with round corners, also outside of the axis."""
    corners = f"round,pad=0,rounding_size={min(radius, height / 2)}"
    return FancyBboxPatch((left, top), width, height, boxstyle=corners, linewidth=0.75, clip_on=False, **colours)
