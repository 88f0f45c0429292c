"""Interactions in the order of time that the file gives, for every model.

RecBole rounds times to 32 bits before it sorts by them (its issue 2204): Unix seconds less than two minutes apart
become equal, and what is equal stays in the order of the file. So each interaction remembers its place in the exact
order, and is put there before RecBole sorts. RecBole's sort is stable and rounding never swaps two times, so the exact
order stays. Interactions of exactly the same time stay in the order of the file.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from recbole.data.dataset import Dataset
from recbole.utils import FeatureType

from recbole_ec4srec.data.files import encoding_of

# From here on not every integer is a 64-bit floating-point number.
_INEXACT = 2.0**53
_PLACE = "_place_in_time"


def load_interactions(original: Callable, dataset: Dataset, token: str, dataset_path: str) -> None:
    """RecBole's ``Dataset._load_inter_feat``; the order of the times is taken from what was read."""
    original(dataset, token, dataset_path)
    dataset.place_in_time = None
    field, table = dataset.time_field, dataset.inter_feat
    is_number = dataset.field2type.get(field) == FeatureType.FLOAT
    if dataset.benchmark_filename_list is None and table is not None and is_number and field in table:
        time = table[field].to_numpy()
        if len(time) and np.nanmax(np.abs(time)) >= _INEXACT:
            time = _exact(dataset, Path(dataset_path, f"{token}.inter"), time)
        dataset.place_in_time = pd.Series(_places(time))


def _places(time: np.ndarray) -> np.ndarray:
    """The place of each row in the order of ``time``, ``[N]``; equal times keep the order of their rows."""
    place = np.empty(len(time), dtype=np.int64)
    place[np.argsort(time, kind="stable")] = np.arange(len(time))
    return place


def _exact(dataset, file, rounded):
    """The times of ``file`` as they are written there, for integers of any size."""
    text = pd.read_csv(
        file,
        sep=dataset.config["field_separator"],
        usecols=[f"{dataset.time_field}:{FeatureType.FLOAT.value}"],
        dtype=str,
        encoding=encoding_of(file, dataset.config["encoding"]),
        engine="python",
    ).iloc[:, 0]
    if text.isna().any():  # which the checks of the data tell
        return rounded
    try:
        return np.array([Decimal(value) for value in text], dtype=object)
    except InvalidOperation:  # no number, which they tell, too
        return rounded


def remove_duplication(original: Callable, dataset: Dataset) -> None:
    """RecBole's ``Dataset._remove_duplication``, which sorts by time first, and not stably."""
    if dataset.place_in_time is None:
        original(dataset)
        return
    field, dataset.time_field = dataset.time_field, _PLACE
    dataset.inter_feat[_PLACE] = dataset.place_in_time
    try:
        original(dataset)
    finally:
        dataset.time_field = field
        del dataset.inter_feat[_PLACE]


def follow_rows(dataset: Dataset) -> None:
    """Keep the places of the rows that are left and number them from 0 as ``inter_feat`` will be."""
    if dataset.place_in_time is not None:
        dataset.place_in_time = dataset.place_in_time[dataset.inter_feat.index].reset_index(drop=True)


def reset_index(original: Callable, dataset: Dataset) -> None:
    """RecBole's ``Dataset._reset_index``, after rows were left out."""
    follow_rows(dataset)
    original(dataset)


def sort(original: Callable, dataset: Dataset, by: str | list[str], ascending: bool | list[bool] = True) -> None:
    """RecBole's ``Dataset.sort``; where it sorts by time, the rows are in the exact order before."""
    if dataset.place_in_time is not None and dataset.time_field in ([by] if isinstance(by, str) else by):
        dataset.inter_feat._reindex(torch.from_numpy(np.argsort(dataset.place_in_time.to_numpy())))
        dataset.place_in_time = None
    original(dataset, by, ascending)
