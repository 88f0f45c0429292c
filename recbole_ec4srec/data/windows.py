"""Users' training sequences as windows, of which one pass represents every prefix (``train_on: sequences``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from recbole_ec4srec.data.ragged import ranges
from recbole_ec4srec.errors import ConfigError

if TYPE_CHECKING:
    from recbole_ec4srec.data.dataset import EC4SRecDataset

#: The field of the interaction at which the window of an instance starts.
WINDOW_START = "_window_start"


def cut_into_windows(dataset: EC4SRecDataset) -> None:
    """Let the training instances of a user be prefixes of as few windows as possible, in place.

    A sequence of at most ``MAX_ITEM_LIST_LENGTH`` inputs is one window, and nothing changes. A longer one is cut from
    its end, so that its last window is full and its first one has the rest. The instance of a next item is then what
    its window has before it: it has fewer items than the last ``MAX_ITEM_LIST_LENGTH`` where it is near to a cut.

    Raises:
        ConfigError: the sequences were cut by their owner (``benchmark_filename``), or do not begin with the user's
            first interaction.
    """
    if dataset.history is None:
        raise ConfigError("train_on: got 'sequences', allowed is prefixes with benchmark_filename")
    instances, limit = dataset.inter_feat, dataset.max_item_list_len
    user = instances[dataset.uid_field].numpy()
    target = dataset.window_start.numpy() + dataset.item_seq_len.numpy()  # where in the history the next items are
    # Of each user: the first interaction, and the last next item.
    first = np.searchsorted(dataset.history[dataset.uid_field].numpy(), np.arange(dataset.user_num))
    last = np.zeros(dataset.user_num, dtype=np.int64)
    np.maximum.at(last, user, target)
    if (np.bincount(user, minlength=len(last)) != np.where(last > 0, last - first, 0)).any():
        raise ConfigError("train_on: got 'sequences', allowed is prefixes where training leaves out early interactions")
    first, last = first[user], last[user]
    start = np.maximum(first, last - ((last - target) // limit + 1) * limit)
    instances.interaction[WINDOW_START] = torch.from_numpy(start)
    instances.interaction[dataset.item_list_length_field] = torch.from_numpy(target - start)


class UserWindows:
    """The windows of users, as :func:`cut_into_windows` left the instances.

    Attributes:
        users: the ids of those that have instances, ``[U]``; below, a user is a number from 0 to U - 1.
    """

    def __init__(self, dataset: EC4SRecDataset):
        self._dataset = dataset
        user, start = dataset.inter_feat[dataset.uid_field].numpy(), dataset.window_start.numpy()
        #: The instances, those of a user and of a window together, from the shortest to the longest.
        self.rows = np.lexsort((dataset.item_seq_len.numpy(), start, user))
        ordered_user, ordered_start = user[self.rows], start[self.rows]
        # The first of the ordered instances of each user, and of each window.
        self._of_user = np.flatnonzero(np.diff(ordered_user, prepend=-1))
        self._of_window = np.flatnonzero(np.diff(ordered_user, prepend=-1) | np.diff(ordered_start, prepend=-1))
        self._windows_of_user = np.append(np.searchsorted(self._of_window, self._of_user), len(self._of_window))
        self._of_user, self._of_window = (np.append(part, len(self.rows)) for part in (self._of_user, self._of_window))
        self.users = ordered_user[self._of_user[:-1]]

    def __len__(self) -> int:
        return len(self.users)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """One instance of each user, uniformly, ``[U]``: its number among :attr:`rows`."""
        begin, end = self._of_user[:-1], self._of_user[1:]
        return begin + (rng.random(len(begin)) * (end - begin)).astype(np.int64)

    def of(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The windows of ``users [B]``, C in all.

        Returns:
            The instances of each window one after the other, which are its prefixes from the first item on, ``[P]``;
            and the length of each window ``[C]``, whose sum is P.
        """
        first = self._windows_of_user[users]
        windows = ranges(first, self._windows_of_user[users + 1] - first)
        begin, end = self._of_window[windows], self._of_window[windows + 1]
        return self.rows[ranges(begin, end - begin)], end - begin

    def places(self, users: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """Where instances of ``users [B]``, one each, by their numbers among :attr:`rows`, stand in what :meth:`of`
        gives of these users, ``[B]``."""
        count = self._of_user[users + 1] - self._of_user[users]
        return np.cumsum(count) - count + drawn - self._of_user[users]
