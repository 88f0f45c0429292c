"""Histories of users from a file: an interaction a row, or a whole history a row."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from recbole.config import Config

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


def read_histories(file: str | Path, config: Config | dict | None = None) -> pd.DataFrame:
    """The interactions of a file, a row each with ``user`` and ``item``, every user's in the order of time.

    Args:
        file: ``.csv``, ``.tsv`` or RecBole's ``.inter`` with a header, or ``.jsonl`` with an object a line. The columns
            are ``user`` and either ``item`` and perhaps ``timestamp``, an interaction a row (without ``timestamp`` in
            the order of the file); or ``items``, a history a row, its items separated by spaces (in JSON a list).
        config: of a training; its names of columns are allowed too, and its ``.inter`` files are read as it says.

    Raises:
        DataError: the file is of another kind, does not have these columns, or has a line that does not fit them.
        OSError: the file cannot be opened.
    """
    file, config = Path(file), {} if config is None else config
    table, encoding, seq_separator = _read(file, config)
    names = _names(table.columns, config)
    if "user" not in names or not ("item" in names or "items" in names):
        columns = ", ".join(map(str, table.columns)) or "none"
        raise DataError(f"{file}: needs the columns user and item, or user and items; it has {columns}")
    table = pd.DataFrame({kind: table[column] for kind, column in names.items()})

    def refuse(wrong: np.ndarray, message: str) -> None:
        """Refuse the first row that is ``wrong [N]``; the message may quote its columns."""
        if wrong.any():
            row = int(wrong.argmax())
            line = line_of(file, encoding, row + (file.suffix not in _JSON))
            raise DataError(f"{file}: line {line} {message.format(**table.iloc[row])}")

    used = "items" if "items" in table else "item"
    for kind in ("user", used):
        refuse(table[kind].isna().to_numpy(), f"has no {kind}")
    table["user"] = table["user"].astype(str)
    if used == "items":
        again = table["user"].duplicated().to_numpy()
        refuse(again, "is another history of user {user!r}, allowed is one of each")
        table["item"] = [row if isinstance(row, list) else _split(str(row), seq_separator) for row in table["items"]]
        table = table[["user", "item"]].explode("item", ignore_index=True).dropna()
    elif "timestamp" in table:
        time = pd.to_numeric(table["timestamp"], errors="coerce")
        refuse(time.isna().to_numpy(), "has {timestamp!r} as timestamp, allowed is a number")
        table = table.iloc[time.argsort(kind="stable")]
    return table[["user", "item"]].astype(str).reset_index(drop=True)


def _split(text: str, separator: str | None) -> list[str]:
    return [item for item in text.split(separator) if item]


def _names(columns: pd.Index, config: Config | dict) -> dict:
    """The columns by what they hold; the names of the training have precedence."""
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


def _name(column: object) -> str:
    return str(column).split(":")[0]


def _read(file: Path, config: Config | dict) -> tuple[pd.DataFrame, str, str | None]:
    """The table of a file, its encoding, and what separates items in a cell (None is any space)."""
    separator, seq_separator, encoding = _SEPARATORS.get(file.suffix), None, None
    if file.suffix == ".inter" and config:
        separator, seq_separator, encoding = (config[f] for f in ("field_separator", "seq_separator", "encoding"))
    try:
        encoding = encoding_of(file, encoding)
        if file.suffix in _JSON:
            return pd.read_json(file, lines=True, dtype=False, convert_dates=False, encoding=encoding), encoding, None
        if separator:
            return read_table(file, separator, encoding, whole=True), encoding, seq_separator
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{file}: cannot be read as {file.suffix[1:]} ({error})") from None
    raise DataError(f"{file}: allowed are the suffixes {', '.join([*_SEPARATORS, '.jsonl'])}")


def read_table(
    file: Path, separator: str, encoding: str, whole: bool = False, engine: Literal["c", "python"] = "c"
) -> pd.DataFrame:
    """All columns of a file, as texts.

    Raises:
        DataError: a line has more fields than there are columns, or with ``whole`` fewer; see :func:`check_lines`.
    """
    check_lines(file, separator, encoding, whole)
    options = {"dtype": str, "keep_default_na": False, "index_col": False, "encoding": encoding, "engine": engine}
    return pd.read_csv(file, sep=separator, **options)
