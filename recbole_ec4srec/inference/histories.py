"""Histories of users from a file: an interaction a row, or a whole history a row."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from recbole_ec4srec.errors import DataError

_SEPARATORS = {".inter": "\t", ".tsv": "\t", ".csv": ","}
#: Columns by what they hold; RecBole's ``name:type`` is read as ``name``.
_COLUMNS = {
    "user": ("user", "user_id"),
    "item": ("item", "item_id"),
    "items": ("items", "item_ids", "history"),
    "timestamp": ("timestamp", "time"),
}


def read_histories(file) -> pd.DataFrame:
    """The interactions of a file, a row each with ``user`` and ``item``, every user's in the order of time.

    Args:
        file: ``.csv``, ``.tsv`` or RecBole's ``.inter`` with a header, or ``.jsonl`` with an object a line. The columns
            are ``user`` and either ``item`` and perhaps ``timestamp``, an interaction a row (without ``timestamp`` in
            the order of the file); or ``items``, a history a row, its items separated by spaces (in JSON a list).

    Raises:
        DataError: the file is not there, is of another kind, or has not these columns.
    """
    file = Path(file)
    table = _read(file)
    names = {}
    for column in table.columns:
        name = str(column).split(":")[0].lower()
        names.update({kind: column for kind, spellings in _COLUMNS.items() if name in spellings})
    if "user" not in names or not ("item" in names or "items" in names):
        found = ", ".join(map(str, table.columns)) or "none"
        raise DataError(f"{file}: needs the columns user and item, or user and items; it has {found}")
    table = table.rename(columns={column: kind for kind, column in names.items()})
    if "items" in table:
        table["item"] = [row if isinstance(row, list) else str(row).split() for row in table["items"]]
        table = table[["user", "item"]].explode("item", ignore_index=True)
    elif "timestamp" in table:
        time = pd.to_numeric(table["timestamp"], errors="coerce")
        if time.isna().any():
            row = int(time.isna().argmax())
            raise DataError(f"{file}: timestamp {table['timestamp'][row]!r} in row {row + 1} is not a number")
        table = table.iloc[time.argsort(kind="stable")]
    return table[["user", "item"]].dropna().astype(str).reset_index(drop=True)


def _read(file):
    try:
        if file.suffix in (".jsonl", ".json"):
            return pd.read_json(file, lines=True, dtype=False, convert_dates=False)
        if file.suffix in _SEPARATORS:
            return pd.read_csv(file, sep=_SEPARATORS[file.suffix], dtype=str, keep_default_na=False, encoding="utf-8")
    except (ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{file}: cannot be read as {file.suffix[1:]} ({error})") from None
    raise DataError(f"{file}: allowed are the suffixes {', '.join([*_SEPARATORS, '.jsonl'])}")
