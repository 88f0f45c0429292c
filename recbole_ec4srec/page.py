"""A self-contained HTML page: no script, no network, light and dark, from a phone's width up."""

from __future__ import annotations

from html import escape

_STYLE = """
:root { color-scheme: light dark;
  --text: #1b1f24; --soft: #57606a; --ground: #ffffff; --line: #d0d7de; --mark: 9, 105, 218;
  --line-0: 9, 105, 218; --line-1: 154, 62, 0; --line-2: 26, 110, 50; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --soft: #9da7b1; --ground: #0d1117; --line: #3d444d; --mark: 88, 166, 255;
    --line-0: 88, 166, 255; --line-1: 255, 166, 87; --line-2: 86, 211, 100; }
}
body { margin: 0 auto; max-width: 68rem; padding: 1rem; font: 16px/1.5 system-ui, sans-serif;
  color: var(--text); background: var(--ground); }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
p, li { max-width: 45rem; } .soft { color: var(--soft); }
.wide { overflow-x: auto; margin-top: 1rem; } .wide:focus-visible { outline: 2px solid rgb(var(--mark)); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
figure { margin: 1rem 0; } figcaption { color: var(--soft); }
.key { margin-right: 1.2rem; white-space: nowrap; color: var(--text); }
svg text { fill: var(--text); font: 12px system-ui, sans-serif; }
"""


def page(title: str, *parts: str) -> str:
    """The document of a ``title`` (plain text) and ``parts`` of HTML."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def table(caption: str, header, rows, shade=None) -> str:
    """A table that scrolls sideways where the screen is narrow; the first column names its row.

    Args:
        header, rows: plain text.
        shade: of every cell but the first of its row a number from 0 to 1, the strength of its colour.
    """

    def cell(value, strength):
        style = f' style="background: rgba(var(--mark), {0.45 * strength:.2f})"' if strength else ""
        return f"<td{style}>{escape(str(value))}</td>"

    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in header)
    body = "\n".join(
        f'<tr><th scope="row">{escape(str(first))}</th>'
        + "".join(cell(value, shade[number][column] if shade is not None else 0) for column, value in enumerate(others))
        + "</tr>"
        for number, (first, *others) in enumerate(rows)
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def chart(caption: str, lines: dict, marks=(), marked: str = "") -> str:
    """Lines over whole numbers from 1 on, as a picture that needs no script; :func:`table` has its numbers for those
    who cannot see it.

    Args:
        lines: by name, ``[(x, y), …]``, at least one of them not empty.
        marks: where there is a vertical line, which ``marked`` says the meaning of.
    """
    points = [point for line in lines.values() for point in line]
    right, low, high = max(x for x, _ in points), min(y for _, y in points), max(y for _, y in points)
    low, high = (low, high) if high > low else (low - 1, high + 1)

    def across(x):
        return 60 + 560 * (x - 1) / max(right - 1, 1)

    def up(y):
        return 230 - 200 * (y - low) / (high - low)

    parts = ['<path d="M60 30V230H620" stroke="currentColor" fill="none"/>']
    for value in (low, (low + high) / 2, high):
        parts.append(f'<text x="54" y="{up(value) + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    for value in sorted({1, (1 + right) // 2, right}):
        parts.append(f'<text x="{across(value):.1f}" y="248" text-anchor="middle">{value}</text>')
    for x in marks:
        parts.append(f'<path d="M{across(x):.1f} 30V230" stroke="currentColor" stroke-dasharray="2 4" opacity=".7"/>')
    legend = []
    for number, (name, line) in enumerate(lines.items()):
        path = "L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in line)
        dashes = _DASHES[number % len(_DASHES)]
        style = f'stroke="rgb(var(--line-{number % 3}))" stroke-width="2" stroke-dasharray="{dashes}" fill="none"'
        parts.append(f'<path d="M{path}" {style}/>')
        if len(line) == 1:  # which has no length to be seen by
            parts.append(f'<circle cx="{across(line[0][0]):.1f}" cy="{up(line[0][1]):.1f}" r="3" {style}/>')
        legend.append((name, f'<path d="M0 6h28" {style}/>'))
    if marks:
        legend.append((marked, '<path d="M14 0v12" stroke="currentColor" stroke-dasharray="2 4" opacity=".7"/>'))
    picture = "\n".join(parts)
    names = "".join(
        f'<span class="key"><svg width="28" height="12" aria-hidden="true">{sample}</svg> {escape(name)}</span>'
        for name, sample in legend
    )
    return (
        f'<figure><div class="wide" tabindex="0"><svg viewBox="0 0 640 260" width="640" height="260" role="img" '
        f'aria-label="{escape(caption)}">\n{picture}\n</svg></div>\n<figcaption>{escape(caption)}<br>{names}</figcaption>'
        "</figure>"
    )


# Lines are told apart without colour too.
_DASHES = ("none", "8 4", "2 3", "10 3 2 3", "4 4", "1 5")
