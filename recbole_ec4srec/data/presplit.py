"""Files that are split already (``benchmark_filename``), whose rows have the sequence of items as a list.

RecBole takes such lists as they are. Here they are checked for what it would train on in silence, and cut to their last
``MAX_ITEM_LIST_LENGTH`` items, as the sequences that it makes itself are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from recbole.config import Config
from recbole.data.dataset import SequentialDataset
from recbole.utils import FeatureType

from recbole_ec4srec.data.seen import leaves_out_seen
from recbole_ec4srec.errors import ConfigError, DataError

#: What lists are padded with, where they are.
_PAD = "0"


def benchmark_presets(original: Callable, dataset: SequentialDataset) -> None:
    """RecBole's ``SequentialDataset._benchmark_presets``, for items of any name: it asks for ``item_id_list_field``."""
    dataset.item_id_list_field = item_list_field(dataset.config)
    original(dataset)


def item_list_field(config: Config) -> str:
    """The name of the sequences of items, as RecBole's models have it."""
    return f"{config['ITEM_ID_FIELD']}{config['LIST_SUFFIX']}"


def check_lists(dataset: SequentialDataset, file: str, table: pd.DataFrame, place_of: Callable[[int], str]) -> None:
    """Check and cut the rows of one file, in place.

    Args:
        table: what RecBole has read, before ids are numbered.
        place_of: gives of a row, from 0, the file and line, for messages.

    Raises:
        DataError: a column is missing, an id or a list is empty, or lists are padded.
        ConfigError: the lists would have numbers of their own.
    """
    config, user, item, items = dataset.config, dataset.uid_field, dataset.iid_field, item_list_field(dataset.config)
    for field, kind in ((user, FeatureType.TOKEN), (item, FeatureType.TOKEN), (items, FeatureType.TOKEN_SEQ)):
        if table is None or field not in table:
            loaded = "nothing" if table is None else ", ".join(table.columns)
            raise DataError(f"{file}: no {field} in what is loaded of it, {loaded}; see its first line and load_col")
        if dataset.field2type[field] != kind:
            raise DataError(f"{file}: {field} has the type {dataset.field2type[field].value}, allowed is {kind.value}")
    alias = config["alias_of_item_id"]
    if not isinstance(alias, (list, tuple)) or items not in alias:
        raise ConfigError(
            f"alias_of_item_id: got {alias!r}, allowed is {[items]!r}: without it the items of the lists in {file} "
            f"have other numbers than those of {item}"
        )
    lengths = table[items].map(len).to_numpy()
    for field, missing in ((user, table[user].isna()), (item, table[item].isna()), (items, lengths == 0)):
        if missing.any():
            raise DataError(f"{place_of(int(np.argmax(missing)))} has no {field}")
    training = Path(file).name == f"{dataset.dataset_name}.{dataset.benchmark_filename_list[0]}.inter"
    if training and (row := _padded(table[items], lengths, table[item])) is not None:
        raise DataError(
            f"{place_of(row)} has {items} padded with {_PAD}, which is no {item} of this file; lists are written as "
            "long as they are"
        )
    limit = config["MAX_ITEM_LIST_LENGTH"]
    if leaves_out_seen(config["repeatable"]) and lengths.max(initial=0) > limit:
        raise ConfigError(
            f"repeatable: got False, allowed is True where {file} has lists longer than MAX_ITEM_LIST_LENGTH, {limit}"
        )
    for field in [f"{field}{config['LIST_SUFFIX']}" for field in table]:
        if field in table and dataset.field2seqlen[field] > limit:
            table[field] = [values[-limit:] for values in table[field]]
            dataset.field2seqlen[field] = limit


def _padded(lists, lengths, next_items):
    """The first row whose list is padded, or None.

    An item may be called like the pad. So it counts as one where nobody goes on to it, and all lists that have it are
    as long as the longest and have it at an end.
    """
    end = np.cumsum(lengths)
    tokens = np.concatenate(lists.to_list())
    held = tokens == _PAD
    if not held.any() or (next_items == _PAD).any():
        return None
    rows = np.unique(np.repeat(np.arange(len(lengths)), lengths)[held])
    at_an_end = held[end - 1] | held[end - lengths]
    padded = (lengths[rows] == lengths.max()) & (lengths[rows] > 1) & at_an_end[rows]
    return int(rows[0]) if padded.all() else None
