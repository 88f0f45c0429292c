"""RecBole's files, checked line by line before they are read, for RecBole's own models too.

RecBole reads with pandas, which takes a line that is longer than the first for one with an index, and joins the lines
from a quote that opens a field to the next quote, wherever it is. Such lines are refused with their number.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pandas as pd
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.utils import FeatureSource, FeatureType

from recbole_ec4srec.data import presplit
from recbole_ec4srec.errors import DataError

_TYPES = [kind.value for kind in FeatureType]
_QUOTE = (
    "has a field that begins with a quote and does not end with one on the same line; a field with a quote "
    'at its begin is written in quotes, with each quote in it twice, as in """Best"" tea"'
)


def encoding_of(file: str | Path, encoding: str | None) -> str:
    """``encoding``, UTF-8 where it is None, or for a file that begins with a byte order mark the one that knows it."""
    with open(file, "rb") as content:
        marked = content.read(3) == codecs.BOM_UTF8
    encoding = encoding or "utf-8"
    return "utf-8-sig" if marked and codecs.lookup(encoding).name == "utf-8" else encoding


def check_lines(file: str | Path, separator: str, encoding: str, whole: bool = False) -> int:
    """Refuse lines whose fields pandas would read as those of other columns or lines.

    Args:
        whole: a line has to have all columns; without, its last fields may be missing.

    Returns:
        The number of lines below the first that are not blank.

    Raises:
        DataError: with the number of the line.
        UnicodeDecodeError: the file has another encoding.
    """
    columns, count = None, -1
    with open(file, encoding=encoding) as lines:
        for number, line in enumerate(lines, 1):
            if line.count(separator) + 1 != columns or '"' in line:
                if not line.strip(" \n"):
                    continue
                fields = len(_fields(line, separator, f"{file}: line {number}"))
                columns = columns or fields
                if fields > columns or (whole and fields < columns):
                    more = "more" if fields > columns else "fewer"
                    raise DataError(f"{file}: line {number} has {more} than the {columns} columns that line 1 names")
            count += 1
    return max(count, 0)


def _fields(line, separator, place):
    if len(separator) > 1:  # pandas takes quotes for letters then
        return line.split(separator)
    try:
        return next(csv.reader([line], delimiter=separator, strict=True))
    except csv.Error as error:
        if '"' in line:
            raise DataError(f"{place} {_QUOTE}") from None
        raise DataError(f"{place}: {error}") from None


def line_of(file: str | Path, encoding: str, row: int) -> int:
    """The number of the line that holds ``row``, from 0, of those that are not blank."""
    with open(file, encoding=encoding) as lines:
        return next(islice((number for number, line in enumerate(lines, 1) if line.strip(" \n")), row, None))


def place_of(dataset: Dataset, row: int) -> tuple[Path, int]:
    """The file and line from which the interaction ``row`` of a data set was read, nothing having been left out."""
    names, first = dataset.benchmark_filename_list, 0
    name = dataset.dataset_name
    for part, size in zip(names or (), dataset.file_size_list if names else ()):
        if row - first < size:
            name = f"{dataset.dataset_name}.{part}"
            break
        first += size
    file = Path(dataset.dataset_path, f"{name}.inter")
    return file, line_of(file, encoding_of(file, dataset.config["encoding"]), row - first + 1)


def load_feat(original: Callable, dataset: Dataset, file: str, source: FeatureSource) -> pd.DataFrame | None:
    """RecBole's ``Dataset._load_feat``.

    Raises:
        DataError: the file cannot be read, or would be read otherwise than it looks.
    """
    if dataset._get_load_and_unload_col(source)[0] == set():  # RecBole leaves the file alone
        return original(dataset, file, source)
    split = (
        isinstance(dataset, SequentialDataset)
        and dataset.benchmark_filename_list is not None
        and source == FeatureSource.INTERACTION
    )
    with _encoding(dataset.config, file) as encoding:
        separator = dataset.config["field_separator"]
        try:
            _check_first_line(file, separator, encoding)
            if not check_lines(file, separator, encoding):
                raise DataError(f"{file}: nothing is there")
            table = original(dataset, file, source)
        except DataError:
            raise
        except ValueError as error:
            raise DataError(f"{file}: {_wrong_number(file, separator, encoding) or error}") from error
        if split:
            presplit.check_lists(dataset, file, table, lambda row: f"{file}: line {line_of(file, encoding, row + 1)}")
    return table


@contextmanager
def _encoding(config, file):
    """RecBole would take a byte order mark for a part of the first name."""
    settings = config.final_config_dict
    given = dict(settings)
    settings["encoding"] = encoding_of(file, given.get("encoding"))
    try:
        yield settings["encoding"]
    finally:
        settings.clear()
        settings.update(given)


def _check_first_line(file, separator, encoding):
    with open(file, encoding=encoding) as lines:
        fields = lines.readline().rstrip("\n").split(separator)
    for field in fields:
        name, _, kind = field.partition(":")
        if not name or kind not in _TYPES:
            raise DataError(
                f"{file}: line 1 has {field!r}, allowed is name:type, separated by {separator!r} (field_separator), "
                f"with one of the types {', '.join(_TYPES)}"
            )
    names = [field.partition(":")[0] for field in fields]
    for name in names:
        if names.count(name) > 1:  # of which pandas would read the first for RecBole, or one too many
            raise DataError(f"{file}: line 1 has {name!r} {names.count(name)} times, allowed is once")


def _wrong_number(file, separator, encoding):
    """Which line has what is no number in a column of them, or None."""
    with open(file, encoding=encoding, errors="replace") as lines:
        fields = [field.partition(":") for field in lines.readline().rstrip("\n").split(separator)]
        for number, line in enumerate(lines, 2):
            for (name, _, kind), cell in zip(fields, line.rstrip("\n").split(separator)):
                if kind == FeatureType.FLOAT.value and cell and not _is_number(cell):
                    return f"line {number} has {cell!r} as {name}, allowed is a number"
    return None


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True
