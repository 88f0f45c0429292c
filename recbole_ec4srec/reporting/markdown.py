"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable


def markdown_table(header: Iterable, rows: Iterable[Iterable]) -> list[str]:
    """The lines of a table; unlike those of pandas' ``to_markdown`` they are not padded, so that a new row changes no
    other line of a committed table."""
    header = list(header)
    return [markdown_row(cells) for cells in (header, ["---"] * len(header), *rows)]


def markdown_row(cells: Iterable) -> str:
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |"
