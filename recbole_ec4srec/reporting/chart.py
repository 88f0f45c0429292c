"""Lines by epoch, as a picture in a page that is light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from recbole_ec4srec.errors import printable
from recbole_ec4srec.reporting.drawing import style, svg

_INK = "#010203"  # in the picture, for the colour of the page's text
_SETTINGS = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 11,
}
_COLOURS, _STYLES = ("#2f81f7", "#c2570c", "#2c974b"), ("-", "--", "-.", ":")  # for a light and for a dark ground


def chart(label: str, lines: dict[str, list[tuple]], updates: Sequence[int] = ()) -> str:
    """``lines``, by name ``[(number, value), …]``, as a picture (SVG) that is a part of a page.

    Args:
        label: of the values.
        updates: epochs, where there is a vertical line.
    """
    with style(**_SETTINGS):
        figure = Figure(figsize=(5.2, 3.2), layout="constrained")
        axis = figure.subplots()
        for number, (name, points) in enumerate(lines.items()):
            look: dict[str, Any] = {
                "color": _COLOURS[number % 3],
                "linestyle": _STYLES[number % 4],
            }  # told apart without colour too
            marker = "o" if len(points) == 1 else None  # a line through one point is not seen
            axis.plot(*zip(*points), label=_short(name), marker=marker, **look)
        for epoch in updates:
            once = "importance update" if epoch == updates[0] else None
            axis.axvline(epoch, color=_INK, linestyle=":", alpha=0.6, linewidth=1, label=once)
        axis.set(xlabel="epoch", ylabel=_short(label))
        axis.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
        return svg(figure, transparent=True).replace(_INK, "currentColor")


def _short(name: str) -> str:
    return printable(str(name))[:30]
