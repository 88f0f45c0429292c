"""``repeatable: False`` for sequential models: full ranking without the items that the user has already had.

RecBole ranks all items for sequential models, and refuses the key. With it the items of the user's whole history before
the target, however long, are not ranked, for RecBole's sequential models too. A target that is in the history itself
stays, as in RecBole's evaluation of general models. :func:`tell_histories` is for a trainer that ranks both ways.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils import ModelType
from torch import Tensor

from recbole_ec4srec.data.ragged import ranges

#: The field of how many interactions a user had before the target.
N_SEEN = "_n_seen"


class History:
    """All interactions of all users in the order of time.

    Args:
        user: ``[T]``, ascending.
        item: ``[T]``.
        n_users: the number of user ids, the padding included.
    """

    def __init__(self, user: Tensor, item: Tensor, n_users: int):
        self._items = item.clone()
        self._first = torch.searchsorted(user, torch.arange(n_users))

    def before(self, user: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """The first ``count [B]`` items of each ``user [B]``: the row of each, from 0 to B - 1, and the item."""
        row = torch.repeat_interleave(torch.arange(len(user)), count)
        return row, self._items[torch.from_numpy(ranges(self._first[user].numpy(), count.numpy()))]


def leaves_out_seen(repeatable: bool | int | None) -> bool:
    """What a value of ``repeatable`` asks for; nothing, where it is not set."""
    return repeatable is not None and not repeatable


def tell_histories(dataset: Dataset) -> None:
    """Let the evaluation loaders that will be made of a data set tell the histories whatever ``repeatable`` is."""
    dataset.tells_histories = True


def _tells_histories(dataset):
    return leaves_out_seen(dataset.config["repeatable"]) or getattr(dataset, "tells_histories", False)


def make_instances(original: Callable, dataset: SequentialDataset) -> None:
    """RecBole's ``SequentialDataset.data_augmentation``; the histories are kept where they will be told."""
    if not _tells_histories(dataset):
        original(dataset)
        return
    dataset.sort(by=[dataset.uid_field, dataset.time_field], ascending=True)
    user = dataset.inter_feat[dataset.uid_field]
    dataset.seen = History(user, dataset.inter_feat[dataset.iid_field], dataset.user_num)
    original(dataset)
    # The targets of a user are all interactions but the first, in their order.
    targets_of = dataset.inter_feat[dataset.uid_field].numpy()
    first = np.searchsorted(targets_of, targets_of)
    n_seen = torch.from_numpy(np.arange(1, len(targets_of) + 1) - first)
    dataset.inter_feat.update(Interaction({N_SEEN: n_seen}))


def full_ranking(original: Callable, loader: FullSortEvalDataLoader, index: list[int]) -> tuple:
    """RecBole's ``FullSortEvalDataLoader.collate_fn``: what is not ranked is told as it is for general models."""
    interaction, not_ranked, positive_u, positive_i = original(loader, index)
    config, dataset = loader.config, loader._dataset
    if config["MODEL_TYPE"] != ModelType.SEQUENTIAL or not _tells_histories(dataset):
        return interaction, not_ranked, positive_u, positive_i
    user, target = interaction[dataset.uid_field], interaction[dataset.iid_field]
    if hasattr(dataset, "seen"):
        row, item = dataset.seen.before(user, dataset.inter_feat[N_SEEN][torch.as_tensor(index)])
    else:  # files that were split by their owner: the history is in the row
        sequences, lengths = interaction[dataset.item_id_list_field], interaction[dataset.item_list_length_field]
        row, place = (torch.arange(sequences.shape[1]) < lengths.unsqueeze(1)).nonzero(as_tuple=True)
        item = sequences[row, place]
    others = item != target[row]
    return interaction, (row[others], item[others]), positive_u, positive_i
