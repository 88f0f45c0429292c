"""How sequential a data set is: what a trained model loses without the order of the histories, and without all of them
but the last item. Where the context carries nothing, no guidance by context can help."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable

import numpy as np
import torch
from recbole.data.interaction import Interaction

from recbole_ec4srec.config.keys import PREFIXES
from recbole_ec4srec.console import show
from recbole_ec4srec.data import EC4SRecDataset
from recbole_ec4srec.data.windows import WINDOW_START
from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.experiments import records
from recbole_ec4srec.experiments.plans import CONTROL, OF_ONE_ENCODER
from recbole_ec4srec.experiments.significance import compare, holm
from recbole_ec4srec.experiments.tables import mode, spread, stem, write_table
from recbole_ec4srec.experiments.training import Training, trained
from recbole_ec4srec.training.protocols import PROTOCOLS

_METRICS = ("ndcg@10", "hit@10")


def shuffled(dataset: EC4SRecDataset, rng: np.random.Generator) -> EC4SRecDataset:
    """The same instances, one for each user, with all items of the windows but the last in random order."""
    history = dataset.history
    if history is None:
        raise ConfigError("shuffle: got a data set with benchmark_filename, allowed is one that RecBole splits")
    start, n_others = dataset.window_start.numpy(), dataset.item_seq_len.numpy() - 1
    instance = np.repeat(np.arange(len(n_others)), n_others)
    place = np.arange(len(instance)) - np.repeat(np.cumsum(n_others) - n_others, n_others) + start[instance]
    random = place[np.lexsort((rng.random(len(place)), instance))]
    items = history[dataset.iid_field].clone()
    items[place] = items[random]
    changed = dataset.copy(dataset.inter_feat)
    changed.history = Interaction({**history.interaction, dataset.iid_field: items})
    return changed


def last_alone(dataset: EC4SRecDataset) -> EC4SRecDataset:
    """The same instances with the last item of the windows alone."""
    fields = dict(dataset.inter_feat.interaction)
    lengths = dataset.item_seq_len
    fields[WINDOW_START] = dataset.window_start + lengths - 1
    fields[dataset.item_list_length_field] = torch.ones_like(lengths)
    return dataset.copy(Interaction(fields))


AS_THEY_ARE = "as they are"
#: What is made of test histories, by what tables call it.
CHANGES: dict[str, Callable[[EC4SRecDataset, np.random.Generator], EC4SRecDataset]] = {
    "all but the last item shuffled": shuffled,
    "the last item alone": lambda dataset, rng: last_alone(dataset),
}


def shuffle(args: Namespace) -> None:
    """The metrics of Table 3's models (by default of the control) on changed test histories, under each protocol by the
    weights of its best epoch, and the differences to those on the histories as they are.

    What is not ranked without seen items is the same for all. The order is drawn by the seed of the training.
    """
    labels, train_on = args.rows or [CONTROL.label], args.settings.get("train_on", PREFIXES)
    for dataset in args.datasets or ["amazon-beauty"]:
        found: dict[tuple[str, str], dict[str, list[dict]]] = {}  # by label and protocol, by history, for each seed
        for row in (row for row in OF_ONE_ENCODER if row.label in labels):
            for seed in args.seeds:
                training = trained(row.run(dataset, seed, args.settings), args.output, args.work)
                for protocol in training.protocols:
                    of_histories = found.setdefault((row.label, protocol), {})
                    for history, ranks in ranks_by_history(training, protocol).items():
                        of_histories.setdefault(history, []).append({"seed": seed, "ranks": records.pack(ranks)})
        where, seeds = ", ".join([dataset, *mode(train_on)]), ", ".join(map(str, args.seeds))
        caption = f"Test histories of {where} changed, seeds {seeds}: paired t-tests over test users "
        caption += "against the histories as they are (Holm: corrected for all of this table)."
        header = ["", "ranked", "histories", "NDCG@10", "HR@10", "difference in NDCG@10", "95 % interval", "p, Holm"]
        show(write_table(args.output / stem("shuffle", dataset, train_on), header, _rows(found), caption))


def ranks_by_history(training: Training, protocol: str) -> dict[str, np.ndarray]:
    """The ranks ``[users]`` of :meth:`Training.ranks`, with the histories as they are and with all :data:`CHANGES`."""
    training.evaluate_best(protocol)
    rng, loader = np.random.default_rng(training.run.seed), training.test_data
    original, ranks = loader._dataset, {AS_THEY_ARE: training.ranks(protocol)}
    try:
        for name, change in CHANGES.items():
            loader._dataset = change(original, rng)
            ranks[name] = training.ranks(protocol)
    finally:
        loader._dataset = original
    return ranks


def _rows(found: dict[tuple[str, str], dict[str, list[dict]]]) -> list[list]:
    table, compared = [], []
    for (label, protocol), of_histories in found.items():
        whole = of_histories[AS_THEY_ARE]
        for history, by_seed in of_histories.items():
            values = [[records.metric_of(records.ranks(r), metric).mean() for r in by_seed] for metric in _METRICS]
            table.append([label, PROTOCOLS[protocol], history, *map(spread, values)])
            compared.append(None if by_seed is whole else compare(by_seed, whole, _METRICS[0]))
    corrected = iter(holm([c.p for c in compared if c]))
    for row, c in zip(table, compared):
        row += [f"{c.difference:+.4f}", f"{c.low:+.4f} … {c.high:+.4f}", f"{next(corrected):.2g}"] if c else [""] * 3
    return table
