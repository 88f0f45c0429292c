"""What each augmentation makes of one sequence, and what retrieval finds for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from recbole_ec4srec.config.objective import IMPORTANCE_SCOPE, OPERATORS, setting
from recbole_ec4srec.data import ImportanceTable
from recbole_ec4srec.data.augmentation import Importance
from recbole_ec4srec.data.importance import normalise
from recbole_ec4srec.data.operators import view_by
from recbole_ec4srec.data.retrieval import GuidedRetrieval, RandomRetrieval, SameTargetIndex
from recbole_ec4srec.errors import ConfigError, DataError
from recbole_ec4srec.explain import build_explainer
from recbole_ec4srec.inference.trained import TrainedModel
from recbole_ec4srec.model import EC4SRec

MASK = "[m]"


@dataclass(frozen=True)
class SequenceViews:
    """One sequence of n items with its views, to be shown.

    Attributes:
        items: external ids, oldest first, ``[n]``.
        importance: theirs, normalised (Eq. 5), ``[n]``.
        views: by operator, what :func:`augmentations` gives.
        titles: of items, by external id; an item without one is shown by its id.
        next_item: the external id, where the sequence is a training instance.
        retrieved: by ``rtrl`` and ``ertrl+``, the user and the sequence of an instance of another user with the same
            next item; None where there is none.
    """

    items: list
    importance: list
    views: dict
    titles: dict = field(default_factory=dict)
    next_item: str | None = None
    retrieved: dict = field(default_factory=dict)

    def title(self, item: str) -> str:
        """The title of an item, or its id."""
        return self.titles.get(item, item)

    def positions(self, sequence: list) -> list:
        """The number (from 1) that each item of another sequence has in this one, None where it is not in it."""
        return [self.items.index(item) + 1 if item in self.items else None for item in sequence]


def augmentations(importance: ArrayLike, settings: Mapping, rng: np.random.Generator | None = None) -> dict[str, list]:
    """Views of a sequence by every operator, random (section 3.2) and explanation guided (section 4.3).

    Args:
        importance: of its n items, ``[n]``, raw.
        settings: has the operators' ratios: ``mu_c``, ``mu_m``, ``mu_r``, ``mu_e`` and those of operators of your own;
            perhaps ``importance_scope``.

    Returns:
        By operator n cells: the number (from 1) of the item that stands in each place, :data:`MASK`, or None in the
        places of items that it leaves out.
    """
    rng = rng or np.random.default_rng()
    score = torch.as_tensor(np.asarray(importance, dtype=np.float32)).unsqueeze(0)
    n = score.shape[1]
    item_seq, item_seq_len, mask_id = torch.arange(1, n + 1).unsqueeze(0), torch.tensor([n]), n + 1
    views: dict[str, list] = {}
    for name, operator in OPERATORS.items():
        scope = setting(settings, IMPORTANCE_SCOPE)
        ranked = Importance.of(score, item_seq_len, torch.from_numpy(rng.random((1, n))), scope)
        noise = torch.from_numpy(rng.random((1, n + 1)))
        view, length = view_by(operator, (item_seq, item_seq_len), ranked, settings, mask_id, noise)
        kept = view[0, : length[0]].tolist()
        if len(kept) < n:  # closed up to the left; shown where they came from
            views[name] = [number if number in kept else None for number in range(1, n + 1)]
        else:
            views[name] = [MASK if item == mask_id else item for item in kept]
    return views


def views_of_items(
    items: Sequence, importance: Sequence, settings: Mapping, rng: np.random.Generator | None = None, **more: Any
) -> SequenceViews:
    """The views of ``items`` (external ids, ``[n]``) by their raw ``importance [n]``.

    Args:
        settings: see :func:`augmentations`.
        more: other attributes of :class:`SequenceViews`.
    """
    raw = torch.tensor([importance], dtype=torch.float)
    normalised = normalise(raw, torch.tensor([len(items)]))[0].tolist()
    return SequenceViews(list(items), normalised, augmentations(importance, settings, rng), **more)


def views_of_user(
    trained: TrainedModel, user: str, explainer: str | None = None, rng: np.random.Generator | None = None
) -> SequenceViews:
    """The views of the last training instance of a user (external id), and what retrieval draws for it.

    Args:
        explainer: as the key ``explainer`` has it; by default the one that the model was trained with.

    Raises:
        ConfigError: the model is none of this package's.
        DataError: the user has no training instance.
    """
    rng, config, dataset = rng or np.random.default_rng(), trained.config, trained.train_dataset
    if not isinstance(trained.model, EC4SRec):
        raise ConfigError(f"views: got a {config['model']}, allowed is a model of this package")
    users, next_items = (dataset.inter_feat[name] for name in (dataset.uid_field, dataset.iid_field))
    row = (users == dataset.field2token_id[dataset.uid_field].get(user, 0)).nonzero(as_tuple=True)[0][-1:]
    if len(row) == 0:
        raise DataError(f"user {user!r} has no training instance in {config['dataset']}")
    candidates = (next_items == next_items[row]).nonzero(as_tuple=True)[0]  # the instance itself is one of them
    anchor = (candidates == row).nonzero(as_tuple=True)[0]  # its place among them
    importance = _importance(trained, candidates, anchor, explainer)
    index = SameTargetIndex(next_items[candidates], users[candidates])
    guided = GuidedRetrieval(
        index,
        lambda of: dataset.item_sequences(candidates[of]),
        importance,
        dataset.item_num,
        config["ertrl_score"],
        config["ertrl_max_candidates"],
        rng,
    )
    guided.prepare(anchor.numpy())

    def items_of(instance):
        item_seq, length = dataset.item_sequences(instance)
        return trained.items[item_seq[0, : int(length)].numpy()].tolist()

    retrieved = {}
    for name, retrieval in (("rtrl", RandomRetrieval(index)), ("ertrl+", guided)):
        other = candidates[torch.from_numpy(retrieval.draw(anchor.numpy(), rng))]
        owner = dataset.id2token(dataset.uid_field, int(users[other]))
        retrieved[name] = None if bool(other == row) else (owner, items_of(other))
    items = items_of(row)
    return views_of_items(
        items,
        importance.rows(anchor)[0, : len(items)].tolist(),
        config,
        rng,
        titles=trained.titles,
        next_item=trained.items[int(next_items[row])],
        retrieved=retrieved,
    )


def _importance(
    trained: TrainedModel, candidates: torch.Tensor, anchor: torch.Tensor, explainer: str | None
) -> ImportanceTable:
    """The importance of those ``candidates`` whose importance retrieval needs: of all, or of the ``anchor`` alone."""
    config, dataset = trained.config, trained.train_dataset
    needed = torch.arange(len(candidates)) if config["ertrl_score"] == "candidate" else anchor
    instances = (tensor.to(config["device"]) for tensor in dataset.instances(candidates[needed]))
    scores = build_explainer(config, trained.model, explainer).attribute(*instances).cpu()
    importance = ImportanceTable(dataset.item_seq_len[candidates], dataset.max_item_list_len)
    importance.set_rows(needed, scores)
    return importance
