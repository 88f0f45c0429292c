"""The titles of items, which are shown instead of their ids."""

from __future__ import annotations

from pathlib import Path

from recbole.config import Config

from recbole_ec4srec import console
from recbole_ec4srec.data.files import encoding_of
from recbole_ec4srec.errors import DataError
from recbole_ec4srec.inference.histories import read_table


def read_titles(file: str | Path, config: Config | dict, item_field: str) -> dict[str, str]:
    """``{external item id: title}`` of a ``.item`` file of RecBole's.

    The titles are those of the first field whose name has "title" or "name" in it. They are empty if there is no such
    field or no such file, and, with a warning, if the file cannot be read: the training may not have needed it.

    Args:
        config: has ``field_separator`` and ``encoding``.
        item_field: the name of the field of ids.
    """
    file = Path(file)
    if not file.is_file():
        return {}
    try:
        encoding = encoding_of(file, config["encoding"])
        table = read_table(file, config["field_separator"], encoding, engine="python")
    except (OSError, ValueError) as error:
        reason = str(error) if isinstance(error, DataError) else f"{file}: {error}"
        console.warn(f"{reason}; items are shown by their ids")
        return {}
    names = {column.split(":")[0]: column for column in table.columns}
    title = next((column for name, column in names.items() if "title" in name or "name" in name), None)
    if title is None or item_field not in names:
        return {}
    table = table[[names[item_field], title]].dropna()
    return {item: text for item, text in table.itertuples(index=False) if text}
