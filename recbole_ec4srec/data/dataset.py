"""Training instances without materialised prefixes.

RecBole's ``SequentialDataset`` writes the prefix of every instance out as a row of ``MAX_ITEM_LIST_LENGTH`` for every
field. Here each interaction is kept once, in the order of users and time, and an instance is where its window starts
and how long it is; the rows are cut when a batch asks for them. Field names, order, splits and values are RecBole's.
"""

from __future__ import annotations

import numpy as np
import torch
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from scipy.sparse import spmatrix

from recbole_ec4srec.config.keys import SEQUENCES
from recbole_ec4srec.data import seen
from recbole_ec4srec.data.checks import missing
from recbole_ec4srec.data.presplit import item_list_field
from recbole_ec4srec.data.windows import WINDOW_START, cut_into_windows


class SequenceBatch(Interaction):
    """A batch that remembers the lengths of its sequences on the host, and which phase of training it is of.

    An ``Interaction`` on a GPU can tell its lengths only after a synchronisation; grouping sequences by length needs
    them at once. ``host_lengths`` maps a length field to a numpy array ``[B]`` and stays behind when the tensors move.
    The arrays must be copies: a worker process frees the memory of a tensor that it sends.

    ``guided`` is False in the warm-up, True after it, and None of a batch without views.
    """

    def __init__(self, interaction: dict, host_lengths: dict | None = None, guided: bool | None = None):
        # RecBole's asks every tensor for its number of rows by an operation.
        super().__init__({})
        self.interaction = dict(interaction)
        self.length = max((len(values) if values.ndim else 1 for values in interaction.values()), default=-1)
        self.host_lengths = dict(host_lengths or {})
        self.guided = guided

    def to(self, device: torch.device | str, selected_field: str | list[str] | None = None) -> SequenceBatch:
        """RecBole's, keeping what the host knows."""
        return SequenceBatch(super().to(device, selected_field).interaction, self.host_lengths, self.guided)

    def __getitem__(self, index):
        selected = super().__getitem__(index)
        return selected if isinstance(index, str) else SequenceBatch(selected.interaction, guided=self.guided)


class Table(Interaction):
    """An ``Interaction`` whose rows are selected without turning the selection into a Python list first."""

    def __getitem__(self, index):
        if isinstance(index, (list, np.ndarray, torch.Tensor)):
            rows = torch.as_tensor(index)
            rows = rows if len(rows) else rows.long()
            return Table({field: values[rows] for field, values in self.interaction.items()})
        return super().__getitem__(index)


class _Groups:
    """Rows with equal keys, in the order in which the keys first appear: what RecBole's splits iterate over."""

    def __init__(self, keys):
        _, first, key = np.unique(np.asarray(keys), return_index=True, return_inverse=True)
        rank = np.empty(len(first), dtype=np.int64)
        rank[np.argsort(first, kind="stable")] = np.arange(len(first))
        self.rank = rank[key]
        self.rows = np.argsort(self.rank, kind="stable")
        self.sizes = np.bincount(self.rank, minlength=len(first))

    def __iter__(self):
        return iter(np.split(self.rows, np.cumsum(self.sizes)[:-1]))


_NOT_IN_BATCHES = (WINDOW_START, seen.N_SEEN)


class EC4SRecDataset(SequentialDataset):
    """RecBole's ``SequentialDataset`` with the windows cut per batch instead of stored.

    ``inter_feat`` holds a row per instance with the fields of its next item, its window's length and where in
    :attr:`history` the window starts; the ``*_list`` fields appear in what ``dataset[index]`` returns.
    """

    inter_feat: Interaction
    #: Every interaction once, of all users and in the order of time; None where windows were read from files.
    history: Interaction | None = None

    def _download(self):
        """Nothing is downloaded."""
        url = self._get_download_url("url", allow_none=True)
        raise missing(self, f"; nothing is downloaded, RecBole has it at {url}" if url else "")

    def data_augmentation(self) -> None:
        """RecBole's, of :meth:`_make_instances`."""
        seen.make_instances(EC4SRecDataset._make_instances, self)

    def _make_instances(self) -> None:
        """Every prefix of a user's sequence, cut to its last ``MAX_ITEM_LIST_LENGTH`` items, with its next item.

        The same rows in the same order as RecBole's.
        """
        self._aug_presets()
        self._check_field("uid_field", "time_field")
        self.sort(by=[self.uid_field, self.time_field], ascending=True)
        history: Interaction = self.inter_feat
        user = history[self.uid_field].numpy()
        row = np.arange(len(user))
        first = np.ones(len(user), dtype=bool)
        first[1:] = user[1:] != user[:-1]
        position = row - np.maximum.accumulate(np.where(first, row, 0))
        target = row[position > 0]
        length = np.minimum(position[target], self.max_item_list_len)
        index = torch.from_numpy(target)
        instances = {field: history[field][index] for field in history}
        instances[self.item_list_length_field] = torch.from_numpy(length)
        instances[WINDOW_START] = torch.from_numpy(target - length)
        self.history = history
        self.inter_feat = Table(instances)

    def build(self) -> list:
        """RecBole's; with ``train_on: sequences`` the training instances are prefixes of windows."""
        parts = super().build()
        if self.config["train_on"] == SEQUENCES:
            cut_into_windows(parts[0])
        return parts

    def _grouped_index(self, group_by_list):
        return _Groups(group_by_list)

    def _split_index_by_leave_one_out(self, grouped_index, leave_one_num):
        """RecBole's leave-one-out, of all users at once: of n rows the last ``min(leave_one_num, n - 1)`` are held out,
        the very last in the last part."""
        sizes = np.repeat(grouped_index.sizes, grouped_index.sizes)
        ends = np.repeat(np.cumsum(grouped_index.sizes), grouped_index.sizes)
        from_last = ends - 1 - np.arange(len(sizes))
        held_out = np.minimum(leave_one_num, sizes - 1)
        train = grouped_index.rows[from_last >= held_out]
        parts = [grouped_index.rows[(from_last == k) & (k < held_out)] for k in reversed(range(leave_one_num))]
        return [train, *parts]

    def __getitem__(self, index, join=True):
        """Instances with their windows, as a :class:`SequenceBatch`; ``index`` is anything that selects rows."""
        if self.history is None:  # pre-split files (benchmark_filename) come with their windows
            return super().__getitem__(index, join)
        rows = self._rows(index)
        batch = {field: self.inter_feat[field][rows] for field in self.inter_feat if field not in _NOT_IN_BATCHES}
        position, inside = self.window_cells(rows)
        unused = (self.config["unused_col"] or {}).get("inter", ())
        for field in self.history:
            if field != self.uid_field and f"{field}{self.config['LIST_SUFFIX']}" not in unused:
                batch[getattr(self, f"{field}_list_field")] = self._cut(self.history[field], position, inside)
        batch = SequenceBatch(batch, {self.item_list_length_field: inside.sum(1)})
        return self.join(batch) if join else batch

    @staticmethod
    def _cut(values, position, inside):
        """What windows hold of a column of the history, ``[R, L, …]``, 0 beside them."""
        cells = values.numpy()[position]
        mask = inside.reshape(inside.shape + (1,) * (cells.ndim - 2))
        return torch.from_numpy(np.where(mask, cells, cells.dtype.type(0)))

    def item_sequences(self, rows: torch.Tensor | np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Item ids ``[R, L]``, padded with 0 on the right, and lengths ``[R]`` of the instances ``rows``."""
        if self.history is None:
            rows = torch.as_tensor(rows)
            return self.inter_feat[self.item_seq_field][rows], self.item_seq_len[rows]
        position, inside = self.window_cells(rows)
        return self._cut(self.history[self.iid_field], position, inside), torch.from_numpy(inside.sum(1))

    def instances(self, rows: torch.Tensor) -> tuple:
        """What explainers ask of instances: :meth:`item_sequences`, next items ``[R]`` and users ``[R]``."""
        fields = (self.inter_feat[field][rows] for field in (self.iid_field, self.uid_field))
        return (*self.item_sequences(rows), *fields)

    @property
    def item_seq_field(self) -> str:
        """The name of the field of item sequences, as RecBole's models have it."""
        return item_list_field(self.config)

    @property
    def item_seq_len(self) -> torch.Tensor:
        """The length of every instance's window, ``[N]``."""
        return self.inter_feat[self.item_list_length_field]

    @property
    def window_start(self) -> torch.Tensor:
        """The interaction at which every instance's window starts, ``[N]``; of two windows that start at the same one,
        the shorter is a prefix of the longer."""
        return self.inter_feat[WINDOW_START]

    def _rows(self, index: slice | list | np.ndarray | torch.Tensor) -> torch.Tensor:
        if isinstance(index, slice):
            return torch.arange(len(self.inter_feat))[index]
        rows = torch.as_tensor(index)
        return rows.nonzero(as_tuple=True)[0] if rows.dtype == torch.bool else rows.long().flatten()

    def window_cells(self, rows: torch.Tensor | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where in the history each cell of the windows is read from, and which cells hold an item, both ``[R, L]``."""
        rows, cell = np.asarray(rows), np.arange(self.max_item_list_len)
        inside = cell < self.item_seq_len.numpy()[rows][:, None]
        start = self.window_start.numpy()[rows][:, None]
        return np.where(inside, start + cell, start), inside

    def inter_matrix(self, form: str = "coo", value_field: str | None = None) -> spmatrix:
        """RecBole's user-item matrix: the next item of every instance, and the first item of each user in it."""
        if self.history is None:
            return super().inter_matrix(form, value_field)
        user, start = self.inter_feat[self.uid_field], self.inter_feat[WINDOW_START]
        of_user = torch.full((self.user_num,), len(self.history)).scatter_reduce_(0, user, start, "amin")
        start = start[(self.inter_feat[self.item_list_length_field] == 1) & (start == of_user[user])]
        both = {
            field: torch.cat([self.inter_feat[field], self.history[field][start]])
            for field in self.history
            if field in self.inter_feat
        }
        return self._create_sparse_matrix(Interaction(both), self.uid_field, self.iid_field, form, value_field)
