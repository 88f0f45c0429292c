"""The best next items for many histories."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from recbole_ec4srec.inference.histories import Histories, histories_of
from recbole_ec4srec.inference.trained import TrainedModel

#: Scores of all items that are held at a time, 1 GiB.
SCORES_AT_A_TIME = 1 << 28


def recommend(
    trained: TrainedModel,
    histories: Any,
    topk: int = 10,
    filter_seen: bool = False,
    batch_size: int | None = None,
    show_progress: bool = False,
) -> tuple[Any, dict]:
    """The ``topk`` items with the highest scores for every user of ``histories``, whether the model knows the user or
    not.

    Args:
        histories: a data frame of pandas, polars, Arrow, or whatever narwhals takes for one, with the columns ``user``
            and ``item`` and perhaps ``timestamp``, or ``user`` and ``items``, see
            :func:`~recbole_ec4srec.inference.read_histories`. Items that the model does not know are left out; a user
            of whom none is left gets nothing.
        filter_seen: leave out what the user has had.
        batch_size: histories scored at a time; changes memory, not the result. By default 4096, or as many as have
            :data:`SCORES_AT_A_TIME` scores, if these are fewer.

    Returns:
        ``user, rank, item, score``, a row for each recommendation, in a data frame of the same kind, users as they were
        given and in the order of their first interaction; and how many ``users`` there are, interactions whose item is
        unknown (``unknown``) and distinct such items (``unknown_items``), and users that got nothing (``left_out``).
    """
    given = histories_of(histories, trained.config)
    table = given.table()
    user, users = pd.factorize(table["user"])
    row_of_user = given.row[np.unique(user, return_index=True)[1]]
    item = trained.item_ids(table["item"])
    known = item > 0
    counts = {
        "users": len(users),
        "unknown": int((~known).sum()),
        "unknown_items": int(table["item"][~known].nunique()),
    }
    user, item = user[known], item[known]
    order = np.argsort(user, kind="stable")
    user, item = user[order], item[order]
    lengths = np.bincount(user, minlength=len(users))
    served = np.flatnonzero(lengths)
    counts["left_out"] = len(users) - len(served)
    batch_size = batch_size or max(1, min(4096, SCORES_AT_A_TIME // len(trained.items)))
    topk, ends = min(topk, len(trained.items) - 1), np.cumsum(lengths)
    index, score = np.zeros((len(served), topk), dtype=np.int64), np.zeros((len(served), topk), dtype=np.float32)
    for first in tqdm(range(0, len(served), batch_size), desc="Recommend", unit="batch", disable=not show_progress):
        rows = served[first : first + batch_size]
        own = slice(ends[rows[0]] - lengths[rows[0]], ends[rows[-1]])
        batch = trained.batch(item[own], lengths[rows], users[rows])
        seen = (np.repeat(np.arange(len(rows)), lengths[rows]), item[own]) if filter_seen else None
        best = torch.topk(trained.scores(batch, seen), topk)
        score[first : first + batch_size], index[first : first + batch_size] = best.values.cpu(), best.indices.cpu()
    return _table(given, row_of_user[served], trained.items[index], score), counts


def _table(given: Histories, row_of_user: np.ndarray, items: np.ndarray, scores: np.ndarray) -> Any:
    """The recommendations for U users, in a data frame of the kind that was given.

    Args:
        row_of_user: a row of each user in what was given, ``[U]``.
        items, scores: ``[U, k]``; the best first, minus infinity for what is left out.
    """
    ranked = np.isfinite(scores)
    user, place = ranked.nonzero()
    backend = given.users.implementation
    frame = nw.maybe_reset_index(given.users.alias("user").to_frame()[row_of_user[user]])
    return frame.with_columns(
        nw.new_series("rank", place + 1, nw.Int64, backend=backend),
        nw.new_series("item", items[ranked].tolist(), nw.String, backend=backend),
        nw.new_series("score", scores[ranked], nw.Float32, backend=backend),
    ).to_native()
