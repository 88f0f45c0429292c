"""A picture (SVG) of what each augmentation makes of a sequence: no script, its own ground, the system's font."""

from __future__ import annotations

from recbole_ec4srec.config.objective import NEGATIVE, OPERATORS, POSITIVE
from recbole_ec4srec.inference.views import MASK
from recbole_ec4srec.reporting.page import render
from recbole_ec4srec.reporting.rendering import shares

_TITLES = {
    (POSITIVE, False): "at random",
    (POSITIVE, True): "guided, positive: what matters stays",
    (NEGATIVE, False): "at random, negative",
    (NEGATIVE, True): "guided, negative: what matters goes",
}
_RETRIEVED = ("of other users with the same next item", ("rtrl", "ertrl+"))
_LEFT, _STEP, _TILE, _BAR, _LONG = 104, 52, 44, 64, 4  # pixels; letters of an item that fit into a tile


def picture(items, importance, found: dict, titles: dict, retrieved: dict) -> str:
    """The sequence with the importance above each item, and under it a line for each operator, as
    :func:`~recbole_ec4srec.reporting.rendering.views` takes them; an item is as blue as it is important.

    Items with long names are numbered in the tiles; of a retrieved sequence the items that are here too are shown.
    """
    share = shares(importance)
    names = [titles.get(item, item) for item in items]
    long = max(map(len, names)) > _LONG
    labels = [str(place) for place in range(1, len(items) + 1)] if long else names
    parts, width = [], len(items)

    def add(shape, kind, words=None, **attributes):
        parts.append((shape, {"class": kind, **attributes}, words))

    def text(x, y, words, kind=None, **more):
        add("text", kind, words, x=x, y=y, **more)

    def tile(column, y, place):
        x = _LEFT + _STEP * column
        if place is None:
            add("circle", "gone", cx=f"{x + _TILE / 2:g}", cy=y + 15, r=2.5)
            return
        masked, strength = place == MASK, 0 if place == MASK else share[place - 1] / max(share)
        colour = {} if masked else {"fill-opacity": f"{0.07 + 0.53 * strength:.2f}"}
        add("rect", "masked" if masked else "item", x=x, y=y, width=_TILE, height=30, rx=7, **colour)
        text(x + _TILE // 2, y + 20, MASK if masked else labels[place - 1], "soft middle" if masked else "middle")

    y = 26 + (7 * min(max(map(len, names)), 30) * long)
    for column, (name, of_item) in enumerate(zip(names, share)):
        x = _LEFT + _STEP * column + _TILE // 2
        height = _BAR * of_item / max(share)
        top = f"{y + 18 + _BAR - height:.1f}"
        add("rect", "item", x=x - 11, y=top, width=22, height=f"{height:.1f}", rx=3)
        text(x, f"{float(top) - 5:.1f}", f"{100 * of_item:.0f} %", "soft middle")
        if long:
            shown = name if len(name) <= 30 else f"{name[:29]}…"
            text(x, y - 4, shown, "soft", transform=f"rotate(-60 {x} {y - 4})")
    text(20, y + 14 + _BAR, "importance", "soft")
    y += 28 + _BAR
    text(20, y + 20, "sequence")
    for column in range(len(items)):
        tile(column, y, column + 1)
    y += 38
    for title, names_of_group in [*_groups(), _RETRIEVED]:
        lines = {name: found[name] for name in names_of_group if name in found}
        for name in names_of_group:
            if retrieved.get(name):
                sequence = retrieved[name][1]
                lines[name] = [items.index(item) + 1 if item in items else None for item in sequence]
        if not lines:
            continue
        text(20, y + 26, title, "soft")
        y += 36
        for name, places in lines.items():
            text(20, y + 20, name)
            for column, place in enumerate(places):
                tile(column, y, place)
            width = max(width, len(places))
            y += 38
    return render("views.svg", parts=parts, width=_LEFT + _STEP * width + 14, height=y + 12)


def _groups():
    """The operators by what they do, each group with its title."""
    for does, title in _TITLES.items():
        yield title, [name for name, operator in OPERATORS.items() if (operator.kind, operator.guided) == does]
