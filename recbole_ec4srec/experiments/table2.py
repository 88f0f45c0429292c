"""Table 2: the sizes of the data sets, as RecBole loads them."""

from __future__ import annotations

from argparse import Namespace

from recbole.config import Config
from recbole.data import create_dataset

from recbole_ec4srec.console import show
from recbole_ec4srec.data.prepare import COUNTS
from recbole_ec4srec.experiments.records import settings_of
from recbole_ec4srec.experiments.tables import write_table


def sizes(users: int, items: int, interactions: int) -> tuple:
    """Users, items, interactions, mean length of a sequence, and sparsity in percent."""
    return (
        users,
        items,
        interactions,
        round(interactions / users, 1),
        round(100 - 100 * interactions / users / items, 2),
    )


def table2(args: Namespace) -> None:
    """Write the table, the paper's counts beside ours; its mean length and sparsity are computed from its counts."""
    rows = []
    for dataset in args.datasets or COUNTS:
        quiet = {"state": "WARNING", **settings_of("CL4SRec", dataset, {}, args.settings)}
        data = create_dataset(Config("CL4SRec", dataset, config_dict=quiet))
        ours = sizes(data.user_num - 1, data.item_num - 1, data.inter_num)  # the padding is counted as one of each
        paper = sizes(*COUNTS[dataset]) if dataset in COUNTS else ("",) * len(ours)
        rows.append([dataset, *(cell for pair in zip(ours, paper) for cell in pair)])
    names = ("users", "items", "interactions", "mean length", "sparsity, %")
    header = ["", *(cell for name in names for cell in (name, "paper"))]
    show(write_table(args.output / "table2", header, rows, "Table 2: data sets."))
