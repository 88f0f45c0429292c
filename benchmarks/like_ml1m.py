"""Data like MovieLens-1M's, generated: as many users, items and interactions, histories as long, popularity as skewed.

    python benchmarks/like_ml1m.py --output=DIR [--seed=1]

Lengths are log-normal above the shortest one, up to MovieLens-1M's longest. Items are in clusters, of which each has a
few successors: the next item mostly is of a successor of the last one's cluster, so that there is something to learn,
and otherwise any; a popular one is likelier in either case. No user has an item twice.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import NormalDist

import numpy as np

NAME = "like-ml-1m"
USERS, ITEMS, INTERACTIONS, SHORTEST, LONGEST = 6_040, 3_416, 1_000_209, 18, 2_314
CLUSTERS, SUCCESSORS, FOLLOWS = 300, 3, 0.8  # FOLLOWS: how often the next item is of a successor
_SPREAD = 1.15  # of the logarithm of lengths: a quarter of MovieLens-1M's are below 44, a quarter above 208
_PROPOSALS = 4


def lengths_of_users(users: int, interactions: int, shortest: int, longest: int) -> np.ndarray:
    """How many interactions each user has, ``[users]``, descending: ``interactions`` in all, ``longest`` at most."""
    if not users * shortest <= interactions - (longest - shortest) <= users * longest - (longest - shortest):
        raise ValueError(f"{interactions} interactions of {users} users, each with {shortest} to {longest}")
    share = (np.arange(users) + 0.5) / users
    extra, low, high = np.zeros(users), 1e-9, float(longest)
    for _ in range(60):  # the scale with which the sum is right, by bisection
        scale = (low + high) / 2
        end = NormalDist().cdf(np.log((longest - shortest) / scale) / _SPREAD)  # cut off at the longest
        extra = scale * np.exp(_SPREAD * np.array([NormalDist().inv_cdf(q) for q in share * end]))
        low, high = (scale, high) if extra.sum() < interactions - users * shortest else (low, scale)
    lengths = shortest + np.minimum(extra.astype(np.int64), longest - shortest)[::-1]
    lengths[0] = longest
    while short := interactions - lengths.sum():  # what rounding took, one each
        can = np.flatnonzero((lengths < longest) if short > 0 else (lengths > shortest))
        can = can[can > 0][: abs(short)]
        lengths[can] += np.sign(short)
    return np.sort(lengths)[::-1]


def clusters_of(rng: np.random.Generator, items: int, clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """The cluster of each item, ``[items]``, and the successors of each cluster, ``[clusters, SUCCESSORS]``."""
    return rng.permutation(items) % clusters, np.stack([rng.permutation(clusters) for _ in range(SUCCESSORS)], 1)


def sequences(
    seed: int,
    users: int = USERS,
    items: int = ITEMS,
    interactions: int = INTERACTIONS,
    shortest: int = SHORTEST,
    longest: int = LONGEST,
    clusters: int = CLUSTERS,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users, items (from 0) and times of all interactions, each ``[interactions]``, user by user in the order of time.

    Raises:
        ValueError: the numbers do not go together.
    """
    if longest >= items:
        raise ValueError(f"longest: got {longest}, allowed is less than {items}, the number of items")
    rng = np.random.default_rng(seed)
    lengths = lengths_of_users(users, interactions, shortest, longest)
    cluster, successors = clusters_of(rng, items, clusters)
    popularity = (rng.permutation(items) + 0.06 * items) ** -1.5  # the most popular item 77 times the least
    # The items of a cluster are together on one axis, each as long as it is popular: any draw is a place on it.
    by_cluster = np.argsort(cluster, kind="stable")
    until = np.cumsum(popularity[by_cluster])
    ends = until[np.cumsum(np.bincount(cluster, minlength=clusters)) - 1]
    begins = np.append(0.0, ends[:-1])

    item = np.zeros(interactions, dtype=np.int64)
    first = np.cumsum(lengths) - lengths
    seen = np.zeros((users, items), dtype=bool)
    last = rng.integers(items, size=users)
    for step in range(lengths[0]):
        n = int(np.searchsorted(-lengths, -step))  # the users whose histories are longer: the first ones
        successor = successors[cluster[last[:n], None], rng.integers(SUCCESSORS, size=(n, _PROPOSALS))]
        follows = rng.random((n, 1)) < FOLLOWS
        low, high = np.where(follows, begins[successor], 0), np.where(follows, ends[successor], until[-1])
        place = np.searchsorted(until, low + rng.random((n, _PROPOSALS)) * (high - low), side="right")
        proposed = by_cluster[np.minimum(place, items - 1)]
        new = ~seen[np.arange(n)[:, None], proposed]
        last[:n] = proposed[np.arange(n), new.argmax(1)]
        if len(stuck := np.flatnonzero(~new.any(1))):  # any item that they have not had
            total = np.cumsum(np.where(seen[stuck], 0, popularity), axis=1)
            last[stuck] = (total > total[:, -1:] * rng.random((len(stuck), 1))).argmax(1)
        seen[np.arange(n), last[:n]] = True
        item[first[:n] + step] = last[:n]

    user = np.repeat(rng.permutation(users), lengths)
    # Below 2 ** 24, which a float holds exactly.
    waited = np.cumsum(rng.integers(1, 2_000, size=interactions))
    time = waited - np.repeat(waited[first] - rng.integers(1 << 20, size=users), lengths)
    order = np.argsort(user, kind="stable")
    return user[order], item[order], time[order]


def write(folder: str | Path, seed: int, **sizes: int) -> Path:
    """Write ``folder/like-ml-1m/like-ml-1m.inter``; its path is returned. ``sizes``: see :func:`sequences`."""
    path = Path(folder) / NAME / f"{NAME}.inter"
    user, item, time = (column.tolist() for column in sequences(seed, **sizes))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        file.writelines(f"u{u}\ti{i}\t{t}\n" for u, i, t in zip(user, item, time))
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="dataset", help="the folder of the data sets (default: dataset)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(f"written: {write(args.output, args.seed)}")
