"""Data that cannot be trained on, refused in words, for RecBole's own models too.

What RecBole says in words comes as the same kind of error. Of sequential models more is checked: no missing time is
replaced by the mean of the others, and no training starts without users, items or instances.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.utils import FeatureType

from recbole_ec4srec.data import order
from recbole_ec4srec.data.files import place_of
from recbole_ec4srec.errors import DataError, RunError

_FILTERS = (
    "rm_dup_inter",
    "val_interval",
    "filter_inter_by_user_or_item",
    "user_inter_num_interval",
    "item_inter_num_interval",
)


@contextmanager
def _in_words(where):
    """What RecBole and pandas refuse, with the file or folder that they refuse."""
    try:
        yield
    except RunError:
        raise
    except ValueError as error:
        raise DataError(f"{where}: {' '.join(str(error).split())}") from error


def from_scratch(original: Callable, dataset: Dataset) -> None:
    """RecBole's ``Dataset._from_scratch``."""
    with _in_words(dataset.config["data_path"]):
        original(dataset)


def download(original: Callable, dataset: Dataset) -> None:
    """RecBole's ``Dataset._download``, of data sets that it has."""
    if dataset._get_download_url("url", allow_none=True) is None:
        raise missing(dataset)
    original(dataset)


def missing(dataset: Dataset, more: str = "") -> DataError:
    """The error of a data set that is not there."""
    return DataError(
        f"dataset: got {dataset.dataset_name!r}, but there is no folder {dataset.dataset_path} with "
        f"{_file(dataset).name} in it; set data_path if it is elsewhere{more}"
    )


def _file(dataset):
    return Path(dataset.dataset_path, f"{dataset.dataset_name}.inter")


def load_data(original: Callable, dataset: Dataset, token: str, dataset_path: str) -> None:
    """RecBole's ``Dataset._load_data``; a sequential model needs users, items and times of the right types."""
    original(dataset, token, dataset_path)
    if not isinstance(dataset, SequentialDataset):
        return
    kinds = {"USER_ID_FIELD": FeatureType.TOKEN, "ITEM_ID_FIELD": FeatureType.TOKEN}
    if dataset.benchmark_filename_list is None:
        kinds["TIME_FIELD"] = FeatureType.FLOAT
    for key, kind in kinds.items():
        _check_field_type(dataset, key, kind)
    _check_finite(dataset, dataset.time_field)
    _check_finite(dataset, dataset.config["oracle_scores"])


def _check_field_type(dataset, key, kind):
    field, loaded = dataset.config[key], () if dataset.inter_feat is None else dataset.inter_feat.columns
    if field not in loaded:
        raise DataError(
            f"{key}: got {field!r}, but what is loaded of {_file(dataset)} is {', '.join(loaded) or 'nothing'}; see "
            "its first line and load_col"
        )
    if dataset.field2type[field] != kind:
        raise DataError(
            f"{_file(dataset)}: {field} has the type {dataset.field2type[field].value}, allowed is {kind.value}"
        )


def _check_finite(dataset, field):
    """RecBole would replace what is missing by the mean."""
    if dataset.field2type.get(field) != FeatureType.FLOAT or field not in dataset.inter_feat:
        return
    wrong = np.flatnonzero(~np.isfinite(dataset.inter_feat[field].to_numpy()))
    if len(wrong):
        file, line = place_of(dataset, dataset.inter_feat.index[wrong].min())
        raise DataError(
            f"{file}: {field} is missing or no finite number in {len(wrong)} of {len(dataset.inter_feat)} "
            f"interactions, the first on line {line}"
        )


def data_filtering(original: Callable, dataset: Dataset) -> None:
    """RecBole's ``Dataset._data_filtering``."""
    dataset.interactions_read = len(dataset.inter_feat)
    original(dataset)


def reset_index(original: Callable, dataset: Dataset) -> None:
    """RecBole's ``Dataset._reset_index``, which filtering ends with; a sequential model needs users and items."""
    if isinstance(dataset, SequentialDataset):
        _check_something_is_left(dataset)
    order.reset_index(original, dataset)


def _check_something_is_left(dataset):
    left, read, config = "is there", dataset.interactions_read, dataset.config
    if len(dataset.inter_feat) < read:
        filters = [f"{key}: {config[key]}" for key in _FILTERS if config[key] not in (None, "[0,inf)")]
        left = f"is left of {read} interactions by {', '.join(filters) or 'leaving out those without ids'}"
    if dataset.inter_feat.empty:
        raise DataError(f"{_file(dataset)}: nothing {left}")
    for field, one in ((dataset.uid_field, "user"), (dataset.iid_field, "item")):
        if dataset.inter_feat[field].nunique() < 2:
            raise DataError(f"{_file(dataset)}: one {one} alone {left}, at least 2 are needed")


def build(original: Callable, dataset: Dataset) -> list:
    """RecBole's ``Dataset.build``: training, validation and test data; of a sequential model none is empty where one
    item of each is left out."""
    with _in_words(_file(dataset)):
        parts = original(dataset)
    split = dataset.config["eval_args"]["split"]
    parts_needed = 3 if split == {"LS": "valid_and_test"} and dataset.benchmark_filename_list is None else 1
    for name, part in list(zip(("training", "validation", "test"), parts))[:parts_needed]:
        if isinstance(dataset, SequentialDataset) and not len(part):
            raise DataError(
                f"{_file(dataset)}: the split {split} leaves no {name} instance; a user needs 4 interactions for one "
                "of each kind"
            )
    return parts
