"""Why contrast helps or not: views, losses and representations of trained models, side by side."""

from __future__ import annotations

from argparse import Namespace
from collections import defaultdict

import torch
import torch.nn.functional as F

from recbole_ec4srec.config.keys import PREFIXES
from recbole_ec4srec.config.objective import ANCHOR, NEGATIVE_VIEW, views_of
from recbole_ec4srec.console import show
from recbole_ec4srec.data.views import VALID
from recbole_ec4srec.experiments.plans import OF_ONE_ENCODER
from recbole_ec4srec.experiments.tables import mode, spread, stem, write_table
from recbole_ec4srec.experiments.training import trained, which_best
from recbole_ec4srec.model import EC4SRec

_BATCHES = 20


def diagnosis(args: Namespace) -> None:
    """Tables of what the models of Table 3 have learned, on the first batches of their last phase of training.

    - Views: the mean cosine of each view to its anchor, beside that of two different anchors.
    - Losses: each part's mean, weighted as in training, and the norm of its gradient by all parameters.
    - Representations: alignment (the mean squared distance of a sequence to its next item, both on the unit sphere)
      and uniformity of sequences and of items (the logarithm of the mean of exp(-2 squared distance); Wang and Isola,
      ICML 2020), lower is better of each, and the mean length of each.
    """
    chosen, train_on = which_best(args.settings), args.settings.get("train_on", PREFIXES)
    measures = {"views": similarities, "losses": losses, "representations": representations}
    for dataset in args.datasets or ["amazon-beauty"]:
        tables: dict[str, dict] = {name: {} for name in measures}  # {table: {label: {column: a value for each seed}}}
        for row in (row for row in OF_ONE_ENCODER if not args.rows or row.label in args.rows):
            for seed in args.seeds:
                training = trained(row.run(dataset, seed, args.settings), args.output, args.work)
                if training.trainer.update_epochs:
                    training.trainer.update_importance(training.train_data)
                model, device = training.model.eval(), training.config["device"]
                batches = [batch.to(device).with_views() for batch, _ in zip(training.train_data, range(_BATCHES))]
                for name, measure in measures.items():
                    columns = tables[name].setdefault(row.label, defaultdict(list))
                    for column, value in measure(model, batches).items():
                        columns[column].append(value)
        for name, table in tables.items():
            header = list(dict.fromkeys(column for columns in table.values() for column in columns))
            rows = [[label, *(spread(of[c]) if c in of else "" for c in header)] for label, of in table.items()]
            where, seeds = ", ".join([dataset, *mode(train_on)]), ", ".join(map(str, args.seeds))
            caption = f"Diagnosis of {name}, {where}, seeds {seeds}; {chosen}."
            show(write_table(args.output / stem(f"diagnosis-{name}", dataset, train_on), ["", *header], rows, caption))


@torch.no_grad()
def similarities(model: EC4SRec, batches: list) -> dict[str, float]:
    """Mean cosines to the anchor, by the view's name, and of ``another anchor``."""
    cosines = defaultdict(list)
    for batch in batches:
        views = views_of(model.weights[batch.guided])
        encoded = model.encode(batch, [ANCHOR, *views])
        anchor = encoded[ANCHOR]
        cosines["another anchor"].append(F.cosine_similarity(anchor, anchor.roll(1, 0)).mean())
        for view in views:
            valid = batch[VALID] if view == NEGATIVE_VIEW else slice(None)
            cosines[view].append(F.cosine_similarity(anchor, encoded[view])[valid].mean())
    return _means(cosines)


def losses(model: EC4SRec, batches: list) -> dict[str, float]:
    """The parts of the loss by name, and the norm of the gradient of each by ``∇ name``; means over the batches."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    values = defaultdict(list)
    for batch in batches:
        parts = model.calculate_loss(batch)
        for name, part in zip(parts.names, parts):
            gradients = torch.autograd.grad(part, parameters, retain_graph=True, allow_unused=True)
            norm = torch.stack([gradient.norm() for gradient in gradients if gradient is not None]).norm()
            values[name].append(part.detach())
            values[f"∇ {name}"].append(norm)
    return _means(values)


@torch.no_grad()
def representations(model: EC4SRec, batches: list) -> dict[str, float]:
    """Alignment, uniformity and mean length, see :func:`diagnosis`; of the items there are as many as of sequences."""
    sequences = torch.cat([model.encode(batch, [ANCHOR])[ANCHOR] for batch in batches])
    following = torch.cat([batch[model.POS_ITEM_ID] for batch in batches])
    items = model.backbone.item_vectors()
    values = {"length of sequences": sequences.norm(dim=1).mean(), "length of items": items[1:].norm(dim=1).mean()}
    sequences, items = F.normalize(sequences, dim=1), F.normalize(items, dim=1)
    values["alignment"] = (sequences - items[following]).square().sum(1).mean()
    for name, points in (("sequences", sequences), ("items", items[1 : 1 + len(sequences)])):
        values[f"uniformity of {name}"] = torch.pdist(points).square().mul(-2).exp().mean().log()
    return {name: float(value) for name, value in values.items()}


def _means(values: dict[str, list]) -> dict[str, float]:
    return {name: float(torch.stack(of_name).mean()) for name, of_name in values.items()}
