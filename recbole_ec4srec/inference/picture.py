"""A picture (SVG) of what each augmentation makes of a sequence: no script, its own ground, the system's font."""

from __future__ import annotations

from html import escape

from recbole_ec4srec.inference.rendering import shares
from recbole_ec4srec.inference.views import MASK

_GROUPS = (
    ("at random", ("crop", "mask", "reorder")),
    ("guided, positive: what matters stays", ("ecrop+", "emask+", "erord+")),
    ("guided, negative: what matters goes", ("ecrop-", "emask-")),
    ("of other users with the same next item", ("rtrl", "ertrl+")),
)
_LEFT, _STEP, _TILE, _BAR, _LONG = 104, 52, 44, 64, 4  # pixels; letters of an item that fit into a tile
_STYLE = """text { font: 14px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
.soft { fill: #59636e; font-size: 12.5px; } .middle { text-anchor: middle; }
.ground { fill: #ffffff; stroke: #d1d9e0; } .item { fill: #0969da; stroke: #0969da; stroke-opacity: .35; }
.masked { fill: none; stroke: #59636e; stroke-dasharray: 3 3; } .gone { fill: #c8d1da; }"""


def picture(items, importance, found: dict, titles: dict, retrieved: dict) -> str:
    """The sequence with the importance above each item, and under it a line for each operator, as
    :func:`~recbole_ec4srec.inference.rendering.views` takes them; an item is as blue as it is important.

    Items with long names are numbered in the tiles; of a retrieved sequence the items that are here too are shown.
    """
    share = shares(importance)
    names = [titles.get(item, item) for item in items]
    long = max(map(len, names)) > _LONG
    labels = [str(place) for place in range(1, len(items) + 1)] if long else names
    parts, width = [], len(items)

    def text(x, y, words, kind="", more=""):
        parts.append(f'<text x="{x}" y="{y}" class="{kind}"{more}>{escape(words)}</text>')

    def tile(column, y, place):
        x = _LEFT + _STEP * column
        if place is None:
            parts.append(f'<circle class="gone" cx="{x + _TILE / 2:g}" cy="{y + 15}" r="2.5"/>')
            return
        masked, strength = place == MASK, 0 if place == MASK else share[place - 1] / max(share)
        shape = f'x="{x}" y="{y}" width="{_TILE}" height="30" rx="7"'
        kind = 'class="masked"' if masked else f'class="item" fill-opacity="{0.07 + 0.53 * strength:.2f}"'
        parts.append(f"<rect {shape} {kind}/>")
        text(x + _TILE // 2, y + 20, MASK if masked else labels[place - 1], "soft middle" if masked else "middle")

    y = 26 + (7 * min(max(map(len, names)), 30) * long)
    for column, (name, of_item) in enumerate(zip(names, share)):
        x = _LEFT + _STEP * column + _TILE // 2
        height = _BAR * of_item / max(share)
        top = f"{y + 18 + _BAR - height:.1f}"
        parts.append(f'<rect class="item" x="{x - 11}" y="{top}" width="22" height="{height:.1f}" rx="3"/>')
        text(x, f"{float(top) - 5:.1f}", f"{100 * of_item:.0f} %", "soft middle")
        if long:
            shown = name if len(name) <= 30 else f"{name[:29]}…"
            text(x, y - 4, shown, "soft", f' transform="rotate(-60 {x} {y - 4})"')
    text(20, y + 14 + _BAR, "importance", "soft")
    y += 28 + _BAR
    text(20, y + 20, "sequence")
    for column in range(len(items)):
        tile(column, y, column + 1)
    y += 38
    for title, names_of_group in _GROUPS:
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
    width, height = _LEFT + _STEP * width + 14, y + 12
    label = escape("A sequence, the importance of its items, and what each augmentation makes of it", quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{label}">\n<style>{_STYLE}</style>\n'
        f'<rect class="ground" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="12"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
