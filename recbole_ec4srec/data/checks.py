"""RecBole's data set, checked where its files are read: what cannot be trained on is refused in words."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import numpy as np
from recbole.data.dataset import SequentialDataset
from recbole.utils import FeatureType

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
        raise DataError(f"{where}: {error}") from error


class CheckedDataset(SequentialDataset):
    """RecBole's ``SequentialDataset`` for files that may be wrong.

    Nothing is downloaded, no missing timestamp is replaced by the mean of the others, and what RecBole says in words
    comes as the same kind of error.

    Raises:
        DataError: the data cannot be trained on.
    """

    def _from_scratch(self):
        with _in_words(self.config["data_path"]):
            super()._from_scratch()

    def build(self):
        """RecBole's training, validation and test data; none is empty where one item of each is left out."""
        with _in_words(self._file):
            parts = super().build()
        split = self.config["eval_args"]["split"]
        wanted = 3 if split == {"LS": "valid_and_test"} and self.benchmark_filename_list is None else 1
        for name, part in list(zip(("training", "validation", "test"), parts))[:wanted]:
            if not len(part):
                raise DataError(
                    f"{self._file}: the split {split} leaves no {name} instance; a user needs 4 interactions for one "
                    "of each kind"
                )
        return parts

    @property
    def _file(self):
        return Path(self.dataset_path, f"{self.dataset_name}.inter")

    def _download(self):
        url = self._get_download_url("url", allow_none=True)
        elsewhere = f"; nothing is downloaded, RecBole has it at {url}" if url else ""
        raise DataError(
            f"dataset: got {self.dataset_name!r}, but there is no folder {self.dataset_path} with {self._file.name} in "
            f"it; set data_path if it is elsewhere{elsewhere}"
        )

    def _load_data(self, token, dataset_path):
        super()._load_data(token, dataset_path)
        kinds = {"USER_ID_FIELD": FeatureType.TOKEN, "ITEM_ID_FIELD": FeatureType.TOKEN}
        if self.benchmark_filename_list is None:
            kinds["TIME_FIELD"] = FeatureType.FLOAT
        for key, kind in kinds.items():
            self._check_field_type(key, kind)
        self._check_finite(self.time_field)
        self._check_finite(self.config["oracle_scores"])

    def _check_field_type(self, key, kind):
        field, loaded = self.config[key], () if self.inter_feat is None else self.inter_feat.columns
        if field not in loaded:
            raise DataError(
                f"{key}: got {field!r}, but what is loaded of {self._file} is {', '.join(loaded) or 'nothing'}; see "
                "its first line and load_col"
            )
        if self.field2type[field] != kind:
            raise DataError(
                f"{self._file}: {field} has the type {self.field2type[field].value}, allowed is {kind.value}"
            )

    def _check_finite(self, field):
        """RecBole would replace what is missing by the mean."""
        if self.field2type.get(field) != FeatureType.FLOAT or field not in self.inter_feat:
            return
        wrong = np.flatnonzero(~np.isfinite(self.inter_feat[field].to_numpy()))
        if len(wrong):
            file, line = place_of(self, self.inter_feat.index[wrong].min())
            raise DataError(
                f"{file}: {field} is missing or no finite number in {len(wrong)} of {len(self.inter_feat)} "
                f"interactions, the first on line {line}"
            )

    def _data_filtering(self):
        self._read = len(self.inter_feat)
        super()._data_filtering()

    def _reset_index(self):
        """What RecBole's filtering ends with."""
        left = "is there"
        if len(self.inter_feat) < self._read:
            filters = [f"{key}: {self.config[key]}" for key in _FILTERS if self.config[key] not in (None, "[0,inf)")]
            left = f"is left of {self._read} interactions by {', '.join(filters) or 'leaving out those without ids'}"
        if self.inter_feat.empty:
            raise DataError(f"{self._file}: nothing {left}")
        for field, one in ((self.uid_field, "user"), (self.iid_field, "item")):
            if self.inter_feat[field].nunique() < 2:
                raise DataError(f"{self._file}: one {one} alone {left}, at least 2 are needed")
        super()._reset_index()
