"""Lines by epoch or trial, as a picture in a page that is light or dark."""

from __future__ import annotations

import io
import warnings

from recbole_ec4srec.errors import printable

_INK = "#010203"  # in the picture, for the colour of the page's text
_LOOK = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.sans-serif": "DejaVu Sans",
    "font.size": 11,
    "svg.fonttype": "none",
    "svg.hashsalt": "ec4srec",  # the same picture of the same training
    "text.parse_math": False,
}
_COLOURS, _STYLES = ("#2f81f7", "#c2570c", "#2c974b"), ("-", "--", "-.", ":")  # for a light and for a dark ground


def chart(label: str, lines: dict, updates=(), over: str = "epoch") -> str:
    """``lines``, by name ``[(number, value), …]``, as a picture (SVG) that is a part of a page.

    Args:
        label: of the values.
        updates: epochs, where there is a vertical line.
        over: of the numbers: what is counted, from 1.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # without pyplot no display is looked for

    picture = io.StringIO()
    with rc_context(_LOOK), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # at letters that matplotlib's own font has not
        figure = Figure(figsize=(5.2, 3.2), layout="constrained")
        axis = figure.subplots()
        for number, (name, points) in enumerate(lines.items()):
            look = {"color": _COLOURS[number % 3], "linestyle": _STYLES[number % 4]}  # told apart without colour too
            marker = "o" if len(points) == 1 else None  # which has no length to be seen by
            axis.plot(*zip(*points), label=_short(name), marker=marker, **look)
        for epoch in updates:
            named = "importance update" if epoch == updates[0] else None
            axis.axvline(epoch, color=_INK, linestyle=":", alpha=0.6, linewidth=1, label=named)
        axis.set(xlabel=over, ylabel=_short(label))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
        figure.savefig(
            picture, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    svg = picture.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")


def _short(name):
    return printable(str(name))[:30]
