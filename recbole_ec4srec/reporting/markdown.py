"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable


def markdown_table(header: Iterable, rows: Iterable[Iterable]) -> list[str]:
    """The lines of a table, one for each row.

    Cells are not padded to the width of their column, as pandas' ``to_markdown`` does it: a row that is added changes
    no other line of a committed table.
    """
    header = list(header)
    return [f"| {' | '.join(map(str, row))} |" for row in (header, ["---"] * len(header), *rows)]
