"""The training loaders: batches of instances (``train_on: prefixes``) or of users (``train_on: sequences``), with the
views that the losses contrast."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataloader import TrainDataLoader

from recbole_ec4srec.config.objective import NEGATIVE_VIEW
from recbole_ec4srec.data.dataset import SequenceBatch
from recbole_ec4srec.data.importance import ImportanceTable
from recbole_ec4srec.data.ragged import ranges
from recbole_ec4srec.data.views import VALID, DrawnViews, Views
from recbole_ec4srec.data.windows import UserWindows


class TrainingBatch(SequenceBatch):
    """A batch whose views are drawn and not made.

    Args:
        drawn: the views that operators make, or None.
        sequences: the fields of the sequences that they are made of, and of their lengths.
    """

    def __init__(
        self,
        interaction: dict,
        host_lengths: dict,
        guided: bool | None,
        drawn: DrawnViews | None,
        sequences: tuple[str, str],
    ):
        super().__init__(interaction, host_lengths, guided)
        self.drawn, self.sequences = drawn, sequences

    def to(self, device: torch.device | str, selected_field: str | list[str] | None = None) -> TrainingBatch:
        """RecBole's, with what views are made of."""
        moved = super().to(device, selected_field)
        drawn = self.drawn and self.drawn.to(device)
        return TrainingBatch(moved.interaction, self.host_lengths, self.guided, drawn, self.sequences)

    def with_views(self) -> SequenceBatch:
        """The batch with the fields of its views ``V``: ``V_<item_id_list> [B, L]``, ``V_<item_length> [B]``, and of
        ``cl_neg`` where it differs from its sequence (``cl_neg_valid [B]`` bool), which it has to for L_cl-."""
        fields = dict(self.interaction)
        if self.drawn is not None:
            sequences, lengths = (fields[field] for field in self.sequences)
            if (size := self.drawn.size) < len(lengths):  # several negative items have repeated the instances
                sequences, lengths = sequences.narrow(0, 0, size), lengths.narrow(0, 0, size)
            for name, view in self.drawn.make(sequences, lengths).items():
                fields.update(zip(fields_of(name, self.sequences), view))
            if (negative := fields.get(fields_of(NEGATIVE_VIEW, self.sequences)[0])) is not None:
                fields[VALID] = (negative != sequences).any(1)
        return SequenceBatch(fields, self.host_lengths, self.guided)


def fields_of(view: str, sequences: tuple[str, str]) -> tuple[str, str]:
    """The fields of a view, as those of the instances with the name of the view before."""
    return f"{view}_{sequences[0]}", f"{view}_{sequences[1]}"


class WithViews(TrainDataLoader):
    """What the loaders of our models have beside RecBole's: views, and the phase of the training that these are of."""

    def __init__(self, config, dataset, sampler, shuffle=False):
        super().__init__(config, dataset, sampler, shuffle=shuffle)
        self.views = Views(config, dataset)

    def update_config(self, config: Config) -> None:
        """RecBole's; the settings of views are read anew."""
        super().update_config(config)
        self.views = Views(config, self._dataset)

    @property
    def needs_importance(self) -> bool:
        """Whether any loss after the warm-up uses importance scores."""
        return bool(self.views.needed[True])

    @property
    def guided(self) -> bool:
        """Whether the warm-up is over."""
        return self.views.guided

    @property
    def importance(self) -> ImportanceTable | None:
        """What the views are guided by."""
        return self.views.importance

    def set_importance(self, importance: ImportanceTable | None) -> None:
        """:meth:`Views.set_importance`."""
        self.views.set_importance(importance)

    def state_dict(self) -> dict:
        """:meth:`Views.state_dict`."""
        return self.views.state_dict()

    def load_state_dict(self, state: dict) -> None:
        """:meth:`Views.load_state_dict`."""
        self.views.load_state_dict(state)

    def __iter__(self):
        self._begin_epoch()
        return super().__iter__()

    def _begin_epoch(self):
        """Before worker processes start, which get what is drawn here."""
        self.views.begin_epoch()

    def _with_views(
        self,
        batch: SequenceBatch,
        rows: np.ndarray,
        sequences: tuple[str, str],
        others: Mapping[str, np.ndarray] | None = None,
    ) -> TrainingBatch:
        """``batch`` with the views of instances ``rows [B]``, whose sequences are fields of it, and with the sequences
        of ``others``, by what their fields begin with."""
        fields, lengths = dict(batch.interaction), dict(batch.host_lengths)
        own = lengths[sequences[1]][: len(rows)]
        drawn, retrieved = self.views.draw(rows, own, fields[sequences[0]].shape[1])
        if others := {**(others or {}), **retrieved}:
            read, sizes = np.concatenate(list(others.values())), [len(each) for each in others.values()]
            user = self._dataset.inter_feat[self.uid_field][torch.from_numpy(read)]
            columns = [column.split(sizes) for column in (*self._dataset.item_sequences(read), user)]
            for name, *parts in zip(others, *columns):
                fields.update(zip((*fields_of(name, sequences), f"{name}_{self.uid_field}"), parts))
                lengths[fields_of(name, sequences)[1]] = parts[1].numpy().copy()
        if drawn is not None:
            lengths.update((fields_of(name, sequences)[1], of_view) for name, of_view in drawn.lengths.items())
        return TrainingBatch(fields, lengths, self.views.guided, drawn, sequences)


class EC4SRecTrainDataLoader(WithViews):
    """RecBole's training loader, with views.

    A batch has RecBole's fields and, once its views are made (:meth:`TrainingBatch.with_views`), for each view ``V``
    that a loss term of positive weight takes (:data:`~recbole_ec4srec.config.objective.LOSSES`), the fields
    ``V_<item_id_list>`` ``[B, L]`` and ``V_<item_length>`` ``[B]``; what is retrieved has ``V_<user_id>`` ``[B]`` too.

    The views of a batch depend on the seed, the epoch and the batch alone, so worker processes give the same batches.
    With several negative items per instance (``loss_type: BPR``) the instances are repeated, their views are not.
    """

    def collate_fn(self, index: list[int]) -> TrainingBatch:
        """The batch of instances ``index``."""
        batch = super().collate_fn(index)
        dataset = self._dataset
        sequences = dataset.item_seq_field, dataset.item_list_length_field
        lengths = {sequences[1]: batch[sequences[1]].numpy().copy()}
        return self._with_views(SequenceBatch(batch.interaction, lengths), np.asarray(index), sequences)


#: The field of where prefixes end among the cells of windows.
CELL = "cell"
#: What the names of the fields of windows begin with, and the field of where instances are among the prefixes of these.
WINDOW, PLACE = "window", "place"


class SequencesTrainDataLoader(TrainDataLoader):
    """``train_on: sequences`` for RecBole's models: batches of users, with next items at all places of windows.

    ``train_batch_size`` is the number of users in a batch. A batch has the fields of the longest instance of each of
    its ``C`` windows; ``<item_id>`` is the next item of every prefix of every window, ``[P]``, and ``cell [P]`` is
    where that prefix ends among the ``C * L`` cells of ``<item_id_list>``.
    """

    def _init_batch_size_and_step(self):
        self.windows = UserWindows(self._dataset)
        self.sample_size = len(self.windows)
        super()._init_batch_size_and_step()

    def collate_fn(self, index: list[int]) -> SequenceBatch:
        """The batch of users ``index``."""
        rows, lengths = self.windows.of(np.asarray(index))
        batch = self._dataset[rows[np.cumsum(lengths) - 1]]
        width = batch[self._dataset.item_seq_field].shape[1]
        batch.interaction[self.iid_field] = self._dataset.inter_feat[self.iid_field][torch.from_numpy(rows)]
        batch.interaction[CELL] = torch.from_numpy(ranges(np.arange(len(lengths)) * width, lengths))
        return batch


class EC4SRecSequencesTrainDataLoader(WithViews, SequencesTrainDataLoader):
    """``train_on: sequences``, for our models: the windows of users, and of each user one instance with its views.

    Instances are drawn anew each epoch, uniformly among those of the user. A batch of ``B`` users has the fields of
    :class:`EC4SRecTrainDataLoader` for them, with ``place [B]``, where their representations are among those of all
    prefixes; and ``window_<item_id_list> [C, L]``, ``window_<item_length> [C]``, ``window_<user_id> [C]`` and the next
    items of all prefixes, ``window_<item_id> [P]``.
    """

    def _begin_epoch(self):
        super()._begin_epoch()
        self._drawn = self.windows.draw(self.views.generator(1 + len(self._dataset)))
        self.views.prepare(self.windows.rows[self._drawn])

    def collate_fn(self, index: list[int]) -> TrainingBatch:
        """The batch of users ``index``."""
        users, dataset = np.asarray(index), self._dataset
        sequences = dataset.item_seq_field, dataset.item_list_length_field
        drawn = self._drawn[users]
        rows = self.windows.rows[drawn]
        batch = dataset[rows]
        fields, lengths = dict(batch.interaction), dict(batch.host_lengths)
        prefixes, of_windows = self.windows.of(users)
        fields[f"{WINDOW}_{self.iid_field}"] = dataset.inter_feat[self.iid_field][torch.from_numpy(prefixes)]
        fields[PLACE] = torch.from_numpy(self.windows.places(users, drawn))
        longest = {WINDOW: prefixes[np.cumsum(of_windows) - 1]}
        return self._with_views(SequenceBatch(fields, lengths), rows, sequences, longest)
