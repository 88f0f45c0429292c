"""The synthetic data of section 3.3, in which it is known which items matter.

    python -m recbole_ec4srec.data.synthetic [--seed=1] [--output=dataset]

Every user has 10 historical items and 3 next items, for training, validation and test. Three of the historical items
are important: they belong to a topic, and the next items are the topic's. The other seven are drawn from a pool that
all users share, and tell nothing. The paper gives the numbers (500 users, 10, 3 and 3 items); the topics, the pool and
their sizes are ours: with 100 topics of five users each CL4SRec comes near the paper's figures for random masking; with
50 it finds nearly every next item, with 166 nearly none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recbole_ec4srec import console

USERS, HISTORY, IMPORTANT, NEXT, TOPICS, POOL = 500, 10, 3, 3, 100, 200


def sequences(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Item ids ``[USERS, HISTORY + NEXT]`` in the order of time, and which of them are important."""
    rng = np.random.default_rng(seed)
    topic = rng.permutation(np.arange(USERS) % TOPICS)[:, None]
    noise = rng.permuted(np.tile(np.arange(POOL), (USERS, 1)), axis=1)[:, : HISTORY - IMPORTANT]
    first = POOL + topic * (IMPORTANT + NEXT)
    history = np.concatenate([first + np.arange(IMPORTANT), noise], axis=1)
    order = rng.permuted(np.tile(np.arange(HISTORY), (USERS, 1)), axis=1)
    history, important = np.take_along_axis(history, order, axis=1), order < IMPORTANT
    following = rng.permuted(first + IMPORTANT + np.arange(NEXT), axis=1)
    return np.concatenate([history, following], axis=1), np.pad(important, ((0, 0), (0, NEXT)))


def write(folder: str | Path, seed: int) -> Path:
    """Write ``folder/synthetic/synthetic.inter``, where ``important`` is 1 or 0; its path is returned."""
    path = Path(folder) / "synthetic" / "synthetic.inter"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\timportant:float\n")
        for user, (items, flags) in enumerate(zip(*sequences(seed)), 1):
            file.writelines(f"u{user}\ti{i}\t{t}\t{int(f)}\n" for t, (i, f) in enumerate(zip(items, flags), 1))
    return path


def main(argv: Sequence[str] | None = None) -> None:
    """The command; ``argv`` is ``sys.argv[1:]`` where it is left out."""
    first, _, rest = __doc__.split("\n\n", 2)
    parser = console.parser(
        "python -m recbole_ec4srec.data.synthetic",
        f"{first}\n{rest}",
        "example:\n  python -m recbole_ec4srec.data.synthetic --seed=2 --output=/data/recbole",
    )
    parser.add_argument("--seed", type=int, default=1, help="of all random numbers (default: 1)")
    parser.add_argument("--output", default="dataset", help="the folder of the data sets (default: dataset)")
    console.add_options(parser)
    args = parser.parse_args(argv)
    console.run(lambda: console.tell(f"written: {write(args.output, args.seed)}"), args)


if __name__ == "__main__":
    main()
