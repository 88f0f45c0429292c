"""Why contrast helps or does not: views, losses and representations of trained models, side by side."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from recbole_ec4srec.config.objective import NEGATIVE_VIEW, views_of
from recbole_ec4srec.console import show
from recbole_ec4srec.experiments.plans import CONTROL, OURS
from recbole_ec4srec.experiments.tables import spread, write_table
from recbole_ec4srec.experiments.training import trained

_BATCHES = 20


def diagnosis(args) -> None:
    """Tables of what the models of Table 3 have learned, on the first batches of their last phase of training.

    - Views: the mean cosine of each view to its anchor, beside that of two different anchors.
    - Losses: each part's mean, weighted as in training, and the norm of its gradient by all parameters.
    - Representations: alignment (the mean squared distance of a sequence to its next item, both on the unit sphere)
      and uniformity of sequences and of items (the logarithm of the mean of exp(-2 squared distance); Wang and Isola,
      ICML 2020), lower is better of each, and the mean length of each.
    """
    for dataset in args.datasets or ["amazon-beauty"]:
        views, losses, representations = {}, {}, {}
        for row in (CONTROL, *OURS):
            if args.rows and row.label not in args.rows:
                continue
            for seed in args.seeds:
                training = trained(row.run(dataset, seed, args.settings), args.output, args.work)
                if training.trainer.update_epochs:
                    training.trainer.update_importance(training.train_data)
                for found, table in zip(_measure(training), (views, losses, representations)):
                    for name, value in found.items():
                        table.setdefault(row.label, {}).setdefault(name, []).append(value)
        for name, table in (("views", views), ("losses", losses), ("representations", representations)):
            columns = list(dict.fromkeys(column for of_label in table.values() for column in of_label))
            rows = [[label, *(spread(of[c]) if c in of else "" for c in columns)] for label, of in table.items()]
            caption = f"Diagnosis of {name}, {dataset}, seeds {', '.join(map(str, args.seeds))}."
            show(write_table(args.output / f"diagnosis-{name}-{dataset}", ["", *columns], rows, caption))


def _measure(training) -> tuple:
    model = training.model.eval()
    device = training.config["device"]
    batches = [batch.to(device).with_views() for batch, _ in zip(training.train_data, range(_BATCHES))]
    return _views(model, batches), _losses(model, batches), _representations(model, batches)


@torch.no_grad()
def _views(model, batches):
    """Cosines to the anchor, by the view's name."""
    found = {}
    for batch in batches:
        views = views_of(model.weights[batch.guided])
        encoded = model.encode(batch, ["", *views])
        anchor = encoded[""]
        found.setdefault("another anchor", []).append(F.cosine_similarity(anchor, anchor.roll(1, 0)).mean())
        for view in views:
            kept = batch["cl_neg_valid"] if view == NEGATIVE_VIEW else slice(None)
            found.setdefault(view, []).append(F.cosine_similarity(anchor, encoded[view])[kept].mean())
    return _means(found)


def _losses(model, batches):
    """The parts of the loss and the norms of their gradients, by their names."""
    found, parameters = {}, [parameter for parameter in model.parameters() if parameter.requires_grad]
    for batch in batches:
        parts = model.calculate_loss(batch)
        for name, part in zip(parts.names, parts):
            gradients = torch.autograd.grad(part, parameters, retain_graph=True, allow_unused=True)
            norm = torch.stack([gradient.norm() for gradient in gradients if gradient is not None]).norm()
            found.setdefault(name, []).append(part.detach())
            found.setdefault(f"∇ {name}", []).append(norm)
    return _means(found)


@torch.no_grad()
def _representations(model, batches):
    sequences = torch.cat([model.encode(batch, [""])[""] for batch in batches])
    following = torch.cat([batch[model.POS_ITEM_ID] for batch in batches])
    items = model.backbone.item_vectors()
    found = {"length of sequences": sequences.norm(dim=1).mean(), "length of items": items[1:].norm(dim=1).mean()}
    sequences, items = F.normalize(sequences, dim=1), F.normalize(items, dim=1)
    found["alignment"] = (sequences - items[following]).square().sum(1).mean()
    for name, points in (("sequences", sequences), ("items", items[1 : 1 + len(sequences)])):
        found[f"uniformity of {name}"] = torch.pdist(points).square().mul(-2).exp().mean().log()
    return {name: float(value) for name, value in found.items()}


def _means(found):
    return {name: float(torch.stack(values).mean()) for name, values in found.items()}
