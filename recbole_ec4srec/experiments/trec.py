"""Records as runs in the format of TREC, which ranx, trec_eval and others read."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from recbole_ec4srec.console import show, tell
from recbole_ec4srec.experiments import records
from recbole_ec4srec.experiments.plans import PLANS
from recbole_ec4srec.training.protocols import ALL, protocols_of, under

#: A test item beyond this rank is left out of a run.
DEPTH = 100


def trec(args: Namespace) -> None:
    """Write the records of Table 3's rows to ``trec/`` in ``--output``, one file for each protocol, and the relevant
    items of each data set, ``<data set>.qrels``.

    A query is a test user, ``1`` the one of the first internal id. A record has the rank of the user's test item alone,
    so the document ``target`` is that item and the others are ``other1``, ``other2`` …; where the test item is beyond
    rank :data:`DEPTH`, one of them stands for all.
    """
    folder, written = args.output / "trec", 0
    for dataset in args.datasets or PLANS["table3"].datasets:
        for of_label in PLANS["table3"].read(args.output, dataset, args.seeds, args.settings, args.rows).values():
            for record in (record for of_row in of_label.values() for record in of_row):
                folder.mkdir(parents=True, exist_ok=True)
                for protocol in protocols_of(record):
                    ranks = records.ranks(under(record, protocol))
                    name = "-".join([records.name_of(record), *([] if protocol == ALL else [protocol])])
                    _write(folder / f"{name}.trec", run_lines(ranks, name))
                    _write(folder / f"{dataset}.qrels", (f"{user} 0 target 1" for user in range(1, len(ranks) + 1)))
                    tell(folder / f"{name}.trec")
                    written += 1
    show(f"{written} runs in {folder}")


def run_lines(ranks: np.ndarray, name: str) -> Iterator[str]:
    """The lines ``user Q0 document rank score name`` of a run, from the ranks, from 1, of users' items ``[users]``."""
    for user, rank in enumerate(ranks.tolist(), 1):
        found = rank <= DEPTH
        documents = [f"other{place}" for place in range(1, rank if found else 2)] + ["target"] * found
        for place, document in enumerate(documents, 1):
            yield f"{user} Q0 {document} {place} {DEPTH + 1 - place} {name}"


def _write(file: Path, lines: Iterator[str]) -> None:
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
