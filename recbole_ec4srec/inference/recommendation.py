"""The best next items for many histories."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from recbole_ec4srec.inference.trained import TrainedModel


def recommend(
    trained: TrainedModel,
    histories: pd.DataFrame,
    topk: int = 10,
    filter_seen: bool = False,
    batch_size: int = 4096,
    show_progress: bool = False,
) -> tuple[pd.DataFrame, dict]:
    """The ``topk`` items with the highest scores for every user of ``histories``, whether the model knows the user or
    not.

    Args:
        histories: as :func:`~recbole_ec4srec.inference.read_histories` gives them. Items that the model does not know
            are left out; a user of whom none is left gets nothing.
        filter_seen: leave out what the user has had.
        batch_size: histories scored at a time; changes memory, not the result.

    Returns:
        ``user, rank, item, score``, a row for each recommendation, users in the order of their first interaction; and
        how many ``users`` there are, interactions whose item is unknown (``unknown``) and distinct such items
        (``unknown_items``), and users that got nothing (``left_out``).
    """
    user, users = pd.factorize(histories["user"])
    item = trained.item_ids(histories["item"])
    known = item > 0
    counts = {
        "users": len(users),
        "unknown": int((~known).sum()),
        "unknown_items": int(histories["item"][~known].nunique()),
    }
    user, item = user[known], item[known]
    order = np.argsort(user, kind="stable")
    user, item = user[order], item[order]
    lengths = np.bincount(user, minlength=len(users))
    served = np.flatnonzero(lengths)
    counts["left_out"] = len(users) - len(served)
    topk, ends = min(topk, len(trained.items) - 1), np.cumsum(lengths)
    index, score = np.zeros((len(served), topk), dtype=np.int64), np.zeros((len(served), topk), dtype=np.float32)
    for first in tqdm(range(0, len(served), batch_size), desc="Recommend", unit="batch", disable=not show_progress):
        rows = served[first : first + batch_size]
        own = slice(ends[rows[0]] - lengths[rows[0]], ends[rows[-1]])
        batch = trained.batch(item[own], lengths[rows], users[rows])
        seen = (np.repeat(np.arange(len(rows)), lengths[rows]), item[own]) if filter_seen else None
        best = torch.topk(trained.scores(batch, seen), topk)
        score[first : first + batch_size], index[first : first + batch_size] = best.values.cpu(), best.indices.cpu()
    table = pd.DataFrame(
        {
            "user": np.repeat(users[served], topk),
            "rank": np.tile(np.arange(1, topk + 1), len(served)),
            "item": trained.items[index.ravel()],
            "score": score.ravel(),
        }
    )
    return table[np.isfinite(table["score"])].reset_index(drop=True), counts
