"""A self-contained HTML page: no script, no network, light and dark, from a phone's width up."""

from __future__ import annotations

from html import escape

_STYLE = """
:root { color-scheme: light dark;
  --text: #1b1f24; --soft: #57606a; --ground: #ffffff; --line: #d0d7de; --mark: 9, 105, 218; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --soft: #9da7b1; --ground: #0d1117; --line: #3d444d; --mark: 88, 166, 255; }
}
body { margin: 0 auto; max-width: 68rem; padding: 1rem; font: 16px/1.5 system-ui, sans-serif;
  color: var(--text); background: var(--ground); }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
p, li { max-width: 45rem; } .soft { color: var(--soft); }
.wide { overflow-x: auto; } .wide:focus-visible { outline: 2px solid rgb(var(--mark)); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
svg { max-width: 100%; height: auto; } svg text { fill: var(--text); font: 12px system-ui, sans-serif; }
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
