"""The importance of each item of a history for each recommended item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from recbole_ec4srec.data.importance import normalise
from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.explain import build_explainer
from recbole_ec4srec.inference.histories import histories_of
from recbole_ec4srec.inference.trained import TrainedModel
from recbole_ec4srec.model import EC4SRec


@dataclass(frozen=True)
class Explanation:
    """The recommendations for one history and where they come from.

    Attributes:
        user: the external id, or a name that the caller gave the sequence.
        history: external ids of the n items that the model has seen, in the order of time.
        recommended: external ids of the k items that it ranks first.
        scores: theirs, ``[k]``.
        attributions: by explainer, raw attributions ``[k, n]`` of the history's items for each recommended item.
        titles: of items, by external id; an item without one is shown by its id.
    """

    user: str
    history: list
    recommended: list
    scores: np.ndarray
    attributions: dict
    titles: dict = field(default_factory=dict, repr=False)

    def title(self, item: str) -> str:
        """The title of an item, or its id."""
        return self.titles.get(item, item)

    def importance(self, explainer: str) -> np.ndarray:
        """Normalised scores (Eq. 5), ``[k, n]``: non-negative, each row sums to 1."""
        raw = torch.from_numpy(self.attributions[explainer])
        return normalise(raw, torch.full((len(raw),), raw.shape[1])).numpy()

    def to_dict(self) -> dict:
        """Plain values, for JSON."""
        return {
            "user": self.user,
            "history": [{"item": item, "title": self.title(item)} for item in self.history],
            "recommended": [
                {
                    "item": item,
                    "title": self.title(item),
                    "score": float(score),
                    **{name: [float(value) for value in rows[rank]] for name, rows in self.attributions.items()},
                }
                for rank, (item, score) in enumerate(zip(self.recommended, self.scores))
            ],
        }

    def rows(self) -> list[dict]:
        """A row for each explainer, recommended item and item of the history, for CSV."""
        return [
            {
                "user": self.user,
                "explainer": name,
                "rank": rank + 1,
                "recommended": recommended,
                "score": float(self.scores[rank]),
                "position": position + 1,
                "item": item,
                "attribution": float(rows[rank, position]),
                "importance": float(self.importance(name)[rank, position]),
            }
            for name, rows in self.attributions.items()
            for rank, recommended in enumerate(self.recommended)
            for position, item in enumerate(self.history)
        ]


def explain_sequences(
    trained: TrainedModel,
    histories: Any,
    topk: int = 5,
    explainers: Sequence[str] | None = None,
    filter_seen: bool = False,
) -> list[Explanation]:
    """An :class:`Explanation` for every user of ``histories``.

    The score of each recommended item is attributed to the items of the history.

    Args:
        histories: as :func:`~recbole_ec4srec.inference.recommend` takes them; a few users, to be looked at.
            Unknown items are left out, and users without a known item.
        topk: recommended items of each user.
        explainers: names as the key ``explainer`` has them; by default the one that the model was trained with.
        filter_seen: recommend nothing that is in the history.

    Raises:
        ConfigError: the model is none of this package's, or an explainer cannot explain it.
    """
    model, config = trained.model, trained.config
    if not isinstance(model, EC4SRec):
        raise ConfigError(
            f"explain: got a {config['model']}, allowed is a model of this package; CL4SRec with lambda 0 and "
            f"backbone {config['model']} is the same encoder with the loss of RecBole's"
        )
    built = {name: build_explainer(config, model, name) for name in explainers or [config["explainer"]]}
    for name, explainer in built.items():
        if name == "oracle":
            raise ConfigError("explainer: got 'oracle', which knows the training instances alone")
        explainer.target = "next"  # the recommended item, whose score is explained, is given as the next one
    explanations = []
    for user, items in histories_of(histories, config).table().groupby("user", sort=False)["item"]:
        ids = trained.item_ids(items)
        ids = ids[ids > 0]
        if len(ids) == 0:
            continue
        batch = trained.batch(ids, np.array([len(ids)]), [user])
        seen = (np.zeros_like(ids), ids) if filter_seen else None
        scores, best = torch.topk(trained.scores(batch, seen)[0], min(topk, len(trained.items) - 1))
        scores, best = scores[scores.isfinite()], best[scores.isfinite()]
        n = int(batch[model.ITEM_SEQ_LEN][0])
        fields = (model.ITEM_SEQ, model.ITEM_SEQ_LEN, model.USER_ID)
        item_seq, item_seq_len, owner = (batch[name].repeat_interleave(len(best), 0) for name in fields)
        attributions = {
            name: explainer.attribute(item_seq, item_seq_len, best, owner)[:, :n].cpu().numpy()
            for name, explainer in built.items()
        }
        explanations.append(
            Explanation(
                user=str(user),
                history=trained.items[ids[-n:]].tolist(),
                recommended=trained.items[best.cpu().numpy()].tolist(),
                scores=scores.cpu().numpy(),
                attributions=attributions,
                titles=trained.titles,
            )
        )
    return explanations
