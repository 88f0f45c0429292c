"""Histories of users from a file: an interaction a row, or a whole history a row."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from recbole_ec4srec.data.files import check_lines, encoding_of, line_of
from recbole_ec4srec.data.presplit import item_list_field
from recbole_ec4srec.errors import DataError

_SEPARATORS = {".inter": "\t", ".tsv": "\t", ".csv": ","}
_JSON = (".jsonl", ".json")
#: Columns by what they hold; RecBole's ``name:type`` is read as ``name``.
_COLUMNS = {
    "user": ("user", "user_id"),
    "item": ("item", "item_id"),
    "items": ("items", "item_ids", "history"),
    "timestamp": ("timestamp", "time"),
}


def read_histories(file, config=None) -> pd.DataFrame:
    """The interactions of a file, a row each with ``user`` and ``item``, every user's in the order of time.

    Args:
        file: ``.csv``, ``.tsv`` or RecBole's ``.inter`` with a header, or ``.jsonl`` with an object a line. The columns
            are ``user`` and either ``item`` and perhaps ``timestamp``, an interaction a row (without ``timestamp`` in
            the order of the file); or ``items``, a history a row, its items separated by spaces (in JSON a list).
        config: of a training, whose names of columns are known too, and how its ``.inter`` files are written.

    Raises:
        DataError: the file is not there, is of another kind, has not these columns, or a line that does not fit them.
    """
    file, config = Path(file), {} if config is None else config
    table, encoding, seq_separator = _read(file, config)
    names = _names(table.columns, config)
    if "user" not in names or not ("item" in names or "items" in names):
        found = ", ".join(map(str, table.columns)) or "none"
        raise DataError(f"{file}: needs the columns user and item, or user and items; it has {found}")
    table = pd.DataFrame({kind: table[column] for kind, column in names.items()})

    def refuse(rows, told):
        """Refuse the first of ``rows`` [N] (bool)."""
        if rows.any():
            row = int(rows.argmax())
            line = line_of(file, encoding, row + (file.suffix not in _JSON))
            raise DataError(f"{file}: line {line} {told(table.iloc[row])}")

    used = "items" if "items" in table else "item"
    for kind in ("user", used):
        refuse(table[kind].isna().to_numpy(), lambda row, kind=kind: f"has no {kind}")
    table["user"] = table["user"].astype(str)
    if used == "items":
        again = table["user"].duplicated().to_numpy()
        refuse(again, lambda row: f"is another history of user {row['user']!r}, allowed is one of each")
        table["item"] = [row if isinstance(row, list) else _split(str(row), seq_separator) for row in table["items"]]
        table = table[["user", "item"]].explode("item", ignore_index=True).dropna()
    elif "timestamp" in table:
        time = pd.to_numeric(table["timestamp"], errors="coerce")
        refuse(time.isna().to_numpy(), lambda row: f"has {row['timestamp']!r} as timestamp, allowed is a number")
        table = table.iloc[time.argsort(kind="stable")]
    return table[["user", "item"]].astype(str).reset_index(drop=True)


def _split(text, separator):
    return [item for item in text.split(separator) if item]


def _names(columns, config) -> dict:
    """The columns by what they hold; those that have the names of the training come first."""
    names = {}
    if config:
        own = {"user": "USER_ID_FIELD", "item": "ITEM_ID_FIELD", "timestamp": "TIME_FIELD"}
        own = {"items": item_list_field(config), **{kind: config[key] for kind, key in own.items()}}
        names = {kind: column for column in columns for kind, name in own.items() if _name(column) == name}
    for kind, spellings in _COLUMNS.items():
        for column in columns:
            if column not in names.values() and _name(column).lower() in spellings:
                names.setdefault(kind, column)
    return names


def _name(column):
    return str(column).split(":")[0]


def _read(file, config):
    """The table of a file, its encoding, and what separates items in a cell (None is any space)."""
    own = config if file.suffix == ".inter" and config else {"encoding": None, "seq_separator": None}
    try:
        encoding = encoding_of(file, own["encoding"])
        if file.suffix in _JSON:
            return pd.read_json(file, lines=True, dtype=False, convert_dates=False, encoding=encoding), encoding, None
        if file.suffix in _SEPARATORS:
            separator = config["field_separator"] if own is config else _SEPARATORS[file.suffix]
            check_lines(file, separator, encoding, whole=True)
            options = {"dtype": str, "keep_default_na": False, "index_col": False, "encoding": encoding}
            return pd.read_csv(file, sep=separator, **options), encoding, own["seq_separator"]
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{file}: cannot be read as {file.suffix[1:]} ({error})") from None
    raise DataError(f"{file}: allowed are the suffixes {', '.join([*_SEPARATORS, '.jsonl'])}")
