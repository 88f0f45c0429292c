"""Which explanation is true: against the known important items, and against the model itself."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import torch
from matplotlib.figure import Figure  # without pyplot, which looks for a display

from recbole_ec4srec.console import show, tell
from recbole_ec4srec.data.importance import ImportanceTable
from recbole_ec4srec.data.synthetic import HISTORY, IMPORTANT
from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.experiments.plans import CONTROL, RANDOM_MASKING, Row
from recbole_ec4srec.experiments.tables import mode, spread, stem, write_csv, write_table
from recbole_ec4srec.experiments.training import Training, trained, which_best
from recbole_ec4srec.explain import build_explainer
from recbole_ec4srec.explain.base import Explainer
from recbole_ec4srec.explain.faithfulness import SHARES, Faithfulness, measure

EXPLAINERS = ("random", "occlusion", "saliency", "integrated_gradients", "attention", "captum:InputXGradient")


def recovery(args: Namespace) -> None:
    """Precision at 3 and mean reciprocal rank of the three important items, for whole histories of the training set.

    The model is Table 1's with random masking. What is explained is the score of the item that it ranks first, and that
    of the true next item.
    """
    measured: dict[tuple[str, str], list[tuple]] = {}
    for training in _trainings(args, RANDOM_MASKING, _dataset(args, "synthetic")):
        dataset, device = training.dataset, training.config["device"]
        rows = (dataset.item_seq_len == HISTORY).nonzero().squeeze(1)
        important = dataset.history["important"][torch.from_numpy(dataset.window_cells(rows)[0])][:, :HISTORY] > 0
        item_seq, *others = dataset.instances(rows)
        instances = [tensor.to(device) for tensor in (item_seq[:, :HISTORY], *others)]
        for name, explainer in _explainers(training):
            for target in ("predicted", "next"):
                explainer.target = target
                scores = explainer.attribute(*instances).cpu()
                measured.setdefault((name, target), []).append(precision_and_reciprocal_rank(scores, important))
    text = write_table(
        args.output / "recovery",
        ["explainer", "explained", "precision at 3", "mean reciprocal rank"],
        [[name, target, *map(spread, zip(*values))] for (name, target), values in measured.items()],
        f"The {IMPORTANT} important of {HISTORY} items in the synthetic data, seeds {', '.join(map(str, args.seeds))}; "
        f"{which_best(args.settings)}.",
    )
    show(text)


def precision_and_reciprocal_rank(scores: torch.Tensor, important: torch.Tensor) -> tuple[float, float]:
    """How well ``scores [B, L]`` find the items that are ``important [B, L]``, means over the sequences.

    Precision is over the first :data:`IMPORTANT` items; the reciprocal rank is that of the first important item.
    """
    ranked = important.gather(1, scores.argsort(dim=1, descending=True)).float()
    return ranked[:, :IMPORTANT].mean().item(), (1 / (ranked.argmax(1) + 1.0)).mean().item()


def faithfulness(args: Namespace) -> None:
    """Deletion and insertion curves, their areas, comprehensiveness and sufficiency, on the test sequences; and of how
    many sequences of two or more items the last item is the most important.

    The model is trained with the recommendation loss alone, unless settings say otherwise.
    """
    measured: dict[str, list[Faithfulness]] = {}
    last: dict[str, list[float]] = {}
    for training in _trainings(args, CONTROL, _dataset(args, "ml-100k")):
        dataset = training.test_data._dataset
        instances = dataset.instances(torch.arange(len(dataset)))
        item_seq, lengths, following, user = (tensor.to(training.config["device"]) for tensor in instances)
        for name, explainer in _explainers(training):
            importance = explainer.attribute(item_seq, lengths, following, user)
            measured.setdefault(name, []).append(measure(explainer, importance, item_seq, lengths, user))
            table = ImportanceTable(lengths.cpu(), item_seq.shape[1])
            table.set_rows(torch.arange(len(table)), importance.cpu())
            last.setdefault(name, []).append(table.last_on_top_share() or 0.0)
    rows = []
    for name, of_name in measured.items():
        values = [(m.deletion_area, m.insertion_area, m.comprehensiveness, m.sufficiency) for m in of_name]
        rows.append([name, *map(spread, zip(*values)), spread(last[name])])
    dataset, backbone = training.config["dataset"], training.config["backbone"]
    measures = ("deletion area ↓", "insertion area ↑", "comprehensiveness ↑", "sufficiency ↓", "last item on top")
    seeds = ", ".join(map(str, args.seeds))
    chosen = which_best(args.settings)
    train_on = training.config["train_on"]
    of = ", ".join([dataset, backbone, *mode(train_on)])
    caption = f"Faithfulness on the test sequences of {of}, seeds {seeds}; {chosen}."
    path = args.output / stem("faithfulness", dataset, train_on)
    show(write_table(path, ["explainer", *measures], rows, caption))
    _plot(path, measured)


def _plot(path: Path, measured: dict[str, list[Faithfulness]]) -> None:
    """Write ``path.png``, the mean curves over the seeds, and the data of it, ``path_curves.csv``."""
    sides = ("deletion", "insertion")
    curves = {
        name: [torch.stack([getattr(m, side) for m in of_name]).mean(0).tolist() for side in sides]
        for name, of_name in measured.items()
    }
    rows = [[name, *row] for name, both in curves.items() for row in ([side, *v] for side, v in zip(sides, both))]
    write_csv(path.with_name(f"{path.name}_curves.csv"), [["explainer", "curve", *SHARES], *rows])
    figure = Figure(figsize=(10, 4))
    axes = figure.subplots(1, 2, sharey=True)
    titles = "most important items taken away", "most important items alone"
    for side, (axis, title) in enumerate(zip(axes, titles)):
        for name, both in curves.items():
            axis.plot(SHARES, both[side], label=name, color="grey" if name == "random" else None, marker=".")
        axis.set(title=title, xlabel="share of the items")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("probability, relative to the whole sequence's")
    axes[1].legend()
    figure.tight_layout()
    figure.savefig(path.with_suffix(".png"), dpi=120)


def _trainings(args: Namespace, row: Row, dataset: str) -> Iterator[Training]:
    """A trained model of ``row`` for each seed, with its best weights; the runs have records, as those of tables."""
    for seed in args.seeds:
        yield trained(row.run(dataset, seed, args.settings), args.output, args.work)


def _dataset(args: Namespace, default: str) -> str:
    dataset, *more = args.datasets or [default]
    if more:
        raise ConfigError(f"--datasets: got {' '.join(args.datasets)}, allowed is one data set for this experiment")
    return dataset


def _explainers(training: Training) -> Iterator[tuple[str, Explainer]]:
    """The explainers that the backbone allows, by name."""
    for name in EXPLAINERS:
        try:
            yield name, build_explainer(training.config, training.model, name)
        except ConfigError as error:
            tell(str(error))
