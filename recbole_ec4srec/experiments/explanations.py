"""Which explanation is true: against the known important items, and against the model itself."""

from __future__ import annotations

import torch

from recbole_ec4srec.console import show, tell
from recbole_ec4srec.data.synthetic import HISTORY, IMPORTANT
from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.experiments.plans import CONTROL, RANDOM_MASKING
from recbole_ec4srec.experiments.tables import spread, write_csv, write_table
from recbole_ec4srec.experiments.training import trained
from recbole_ec4srec.explain import build_explainer
from recbole_ec4srec.explain.faithfulness import SHARES, measure

EXPLAINERS = ("random", "occlusion", "saliency", "integrated_gradients", "attention", "captum:InputXGradient")


def _trained(args, row, dataset):
    """A model of ``row`` for each seed, with its best epoch's weights; the runs leave records as those of tables do."""
    for seed in args.seeds:
        yield trained(row.run(dataset, seed, args.settings), args.output, args.work)


def _dataset(args, default):
    dataset, *more = args.datasets or [default]
    if more:
        raise ConfigError(f"--datasets: got {' '.join(args.datasets)}, allowed is one data set for this experiment")
    return dataset


def _explainers(training, names=EXPLAINERS):
    """Those of ``names`` that fit the backbone."""
    for name in names:
        try:
            yield name, build_explainer(training.config, training.model, name)
        except ConfigError as error:
            tell(error)


def recovery(args) -> None:
    """Precision at 3 and mean reciprocal rank of the three important items, for whole histories of the training set.

    The model is Table 1's with random masking. What is explained is the score of the item that it ranks first, and that
    of the true next item.
    """
    found = {}
    for training in _trained(args, RANDOM_MASKING, _dataset(args, "synthetic")):
        dataset, device = training.dataset, training.config["device"]
        rows = (dataset.item_seq_len == HISTORY).nonzero().squeeze(1)
        important = dataset.history["important"][dataset.window_cells(rows)[0]][:, :HISTORY] > 0
        item_seq, *others = dataset.instances(rows)
        given = [item_seq[:, :HISTORY], *others]
        for name, explainer in _explainers(training):
            for target in ("predicted", "next"):
                explainer.target = target
                scores = explainer.attribute(*(tensor.to(device) for tensor in given)).cpu()
                order = important.gather(1, scores.argsort(dim=1, descending=True))
                precision = order[:, :IMPORTANT].float().mean().item()
                reciprocal = (1 / (order.float().argmax(1) + 1.0)).mean().item()
                found.setdefault((name, target), []).append((precision, reciprocal))
    rows = [[name, target, *map(spread, zip(*values))] for (name, target), values in found.items()]
    text = write_table(
        args.output / "recovery",
        ["explainer", "explained", "precision at 3", "mean reciprocal rank"],
        rows,
        f"The {IMPORTANT} important of {HISTORY} items in the synthetic data, seeds {', '.join(map(str, args.seeds))}.",
    )
    show(text)


def faithfulness(args) -> None:
    """Deletion and insertion curves, their areas, comprehensiveness and sufficiency, on the test sequences; and of how
    many sequences of two or more items the last item is the most important.

    The model is trained with the recommendation loss alone, unless settings say otherwise.
    """
    found, last = {}, {}
    for training in _trained(args, CONTROL, _dataset(args, "ml-100k")):
        device, dataset = training.config["device"], training.test_data._dataset
        given = dataset.instances(torch.arange(len(dataset)))
        item_seq, lengths, following, user = (tensor.to(device) for tensor in given)
        for name, explainer in _explainers(training):
            importance = explainer.attribute(item_seq, lengths, following, user)
            found.setdefault(name, []).append(measure(explainer, importance, item_seq, lengths, user))
            inside = torch.arange(item_seq.shape[1], device=device) < lengths.unsqueeze(1)
            top = torch.where(inside, importance, -torch.inf).argmax(1)
            last.setdefault(name, []).append((top == lengths - 1)[lengths > 1].float().mean().item())
    rows = []
    for name, measured in found.items():
        values = [(m.deletion_area, m.insertion_area, m.comprehensiveness, m.sufficiency) for m in measured]
        rows.append([name, *map(spread, zip(*values)), spread(last[name])])
    text = write_table(
        args.output / f"faithfulness-{training.config['dataset']}",
        [
            "explainer",
            "deletion area ↓",
            "insertion area ↑",
            "comprehensiveness ↑",
            "sufficiency ↓",
            "last item on top",
        ],
        rows,
        f"Faithfulness on the test sequences of {training.config['dataset']}, {training.config['backbone']}, "
        f"seeds {', '.join(map(str, args.seeds))}.",
    )
    show(text)
    curves = {
        name: [torch.stack([getattr(m, side) for m in measured]).mean(0).tolist() for side in ("deletion", "insertion")]
        for name, measured in found.items()
    }
    _plot(args.output / f"faithfulness-{training.config['dataset']}", curves)


def _plot(path, curves) -> None:
    """Write ``path.png`` and the data of it, ``path_curves.csv``."""
    from matplotlib.figure import Figure  # without pyplot no display is looked for

    named = [(name, *side) for name, sides in curves.items() for side in zip(("deletion", "insertion"), sides)]
    rows = [["explainer", "curve", *SHARES], *([name, side, *values] for name, side, values in named)]
    write_csv(path.with_name(f"{path.name}_curves.csv"), rows)
    figure = Figure(figsize=(10, 4))
    axes = figure.subplots(1, 2, sharey=True)
    titles = "most important items taken away", "most important items alone"
    for side, (axis, title) in enumerate(zip(axes, titles)):
        for name, values in curves.items():
            axis.plot(SHARES, values[side], label=name, color="grey" if name == "random" else None, marker=".")
        axis.set(title=title, xlabel="share of the items")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("probability, relative to the whole sequence's")
    axes[1].legend()
    figure.tight_layout()
    figure.savefig(path.with_suffix(".png"), dpi=120)
