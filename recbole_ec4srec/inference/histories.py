"""Histories of users, in a file or in a data frame: an interaction a row, or a whole history a row."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import narwhals as nw
import numpy as np
import pandas as pd
from recbole.config import Config

from recbole_ec4srec.data.files import check_lines, encoding_of, line_of
from recbole_ec4srec.data.presplit import item_list_field
from recbole_ec4srec.errors import DataError, require

_SEPARATORS = {".inter": "\t", ".tsv": "\t", ".csv": ","}
_JSON = (".jsonl", ".json")
_PARQUET = ".parquet"
#: Columns by what they hold; RecBole's ``name:type`` is read as ``name``.
_COLUMNS = {
    "user": ("user", "user_id"),
    "item": ("item", "item_id"),
    "items": ("items", "item_ids", "history"),
    "timestamp": ("timestamp", "time"),
}


class Histories(NamedTuple):
    """The interactions of users, each user's in the order of time.

    Attributes:
        users: the column of users of the data frame, of the kind that was given; a narwhals Series.
        row: of each interaction, its user's row there, ``[N]``.
        item: external ids of the items, ``[N]``.
    """

    users: nw.Series
    row: np.ndarray
    item: np.ndarray

    def table(self) -> pd.DataFrame:
        """``user`` and ``item``, an interaction a row."""
        user = self.users.to_numpy()
        user = _texts(user) if user.dtype == object else user
        return pd.DataFrame({"user": user[self.row], "item": self.item})


def read_histories(file: str | Path, config: Config | dict | None = None) -> pd.DataFrame:
    """The interactions of a file, a row each with ``user`` and ``item``, every user's in the order of time.

    Args:
        file: ``.csv``, ``.tsv`` or RecBole's ``.inter`` with a header, ``.jsonl`` with an object a line, or
            ``.parquet``. The columns are ``user`` and either ``item`` and perhaps ``timestamp``, an interaction a row
            (without ``timestamp`` in the order of the file); or ``items``, a history a row, its items separated by
            spaces (in JSON and Parquet a list).
        config: of a training; its names of columns are allowed too, and its ``.inter`` files are read as it says.

    Returns:
        items are texts; users are too, but for numbers of JSON and Parquet.

    Raises:
        DataError: the file is of another kind, does not have these columns, or has a line that does not fit them.
        ConfigError: the file is Parquet and pyarrow is not installed.
        OSError: the file cannot be opened.
    """
    file, config = Path(file), {} if config is None else config
    if file.suffix == _PARQUET:
        return _histories(_read_parquet(file), config, str(file), _row).table()
    table, encoding, seq_separator = _read(file, config)

    def line(row: int) -> str:
        return f"line {line_of(file, encoding, row + (file.suffix not in _JSON))}"

    return _histories(nw.from_native(table, eager_only=True), config, str(file), line, seq_separator).table()


def histories_of(frame: Any, config: Config | dict | None = None) -> Histories:
    """The interactions of a data frame, with columns as :func:`read_histories` has them.

    Args:
        frame: of pandas, polars, Arrow, or whatever narwhals takes for a data frame. Items are read as texts; a
            ``timestamp`` may be a date and time, and ``items`` lists.
        config: of a training; its names of columns are allowed too.

    Raises:
        DataError: it is no such data frame, does not have these columns, or has a row that does not fit them.
    """
    try:
        given = nw.from_native(frame, eager_only=True)
    except TypeError:
        kind = f"{type(frame).__module__.partition('.')[0]}.{type(frame).__name__}"
        raise DataError(f"histories: got a {kind}, allowed is a data frame of pandas, polars or Arrow") from None
    return _histories(given, {} if config is None else config, "histories", _row)


def _row(row: int) -> str:
    return f"row {row} (counted from 0)"


def _histories(
    frame: nw.DataFrame, config: Config | dict, what: str, place: Callable[[int], str], separator: str | None = None
) -> Histories:
    """The interactions of ``frame``, which messages call ``what``.

    Args:
        place: what messages call a row.
        separator: of items in a text.
    """
    names = _names(frame.columns, config)
    if "user" not in names or not ("item" in names or "items" in names):
        has = ", ".join(map(str, frame.columns)) or "none"
        raise DataError(f"{what}: needs the columns user and item, or user and items; it has {has}")
    columns = {kind: frame[column] for kind, column in names.items()}

    def refuse(wrong: np.ndarray, message: str) -> None:
        """Refuse the first row that is ``wrong [N]``; the message may quote its columns."""
        if wrong.any():
            row = int(wrong.argmax())
            values = {kind: column[row] for kind, column in columns.items()}
            raise DataError(f"{what}: {place(row)} {message.format(**values)}")

    used = "items" if "items" in columns else "item"
    for kind in ("user", used):
        refuse(columns[kind].is_null().to_numpy(), f"has no {kind}")
    row = np.arange(len(frame))
    if used == "items":
        again = pd.Series(columns["user"].to_numpy()).duplicated().to_numpy()
        refuse(again, "is another history of user {user!r}, allowed is one of each")
        lists = [
            _split(text, separator) if isinstance(text, str) else list(text) for text in columns["items"].to_list()
        ]
        lists = [[item for item in items if item is not None] for items in lists]
        row = row.repeat([len(items) for items in lists])
        return Histories(columns["user"], row, np.array([*map(str, chain(*lists))], dtype=object))
    if "timestamp" in columns:
        time = columns["timestamp"]
        if time.dtype.is_temporal():
            refuse(time.is_null().to_numpy(), "has no timestamp")
            moment = time.to_numpy()
        else:
            moment = pd.to_numeric(pd.Series(time.to_numpy()), errors="coerce").to_numpy()
            refuse(np.isnan(moment), "has {timestamp!r} as timestamp, allowed is a number")
        row = moment.argsort(kind="stable")
    return Histories(columns["user"], row, _texts(columns["item"].to_numpy())[row])


def _texts(values: np.ndarray) -> np.ndarray:
    return pd.Series(values).astype(str).to_numpy(object)


def _split(text: str, separator: str | None) -> list[str]:
    return [item for item in text.split(separator) if item]


def _names(columns: list, config: Config | dict) -> dict:
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


def _read_parquet(file: Path) -> nw.DataFrame:
    require(f"{file}:", "pyarrow", install="pyarrow")
    from pyarrow import parquet

    with file.open("rb") as opened:
        try:
            table = parquet.read_table(opened)
        except (ValueError, OSError) as error:  # both are raised for files of another kind
            raise DataError(f"{file}: cannot be read as parquet ({error})") from None
    return nw.from_native(table, eager_only=True)


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
    raise DataError(f"{file}: allowed are the suffixes {', '.join([*_SEPARATORS, '.jsonl', _PARQUET])}")


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
