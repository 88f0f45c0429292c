"""The views of a batch: drawn on the host, made where the model is.

The host draws what views are to be made of: operators, their noise, and whose sequences are retrieved. It knows the
lengths of all views, so nothing has to be asked of a GPU later. The operators run on the whole batch on the device of
the model. So the same seed gives the same views, whatever the device and the number of worker processes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import torch
from recbole.config import Config
from torch import Tensor

from recbole_ec4srec.config.keys import SEQUENCES
from recbole_ec4srec.config.objective import (
    IMPORTANCE_SCOPE,
    NEGATIVE,
    NEGATIVE_VIEW,
    OPERATORS,
    POSITIVE,
    loss_weights,
    operator_of,
    setting,
    views_of,
)
from recbole_ec4srec.data.augmentation import Importance, importance_keys, ranked_count, ranks_of_keys
from recbole_ec4srec.data.dataset import EC4SRecDataset
from recbole_ec4srec.data.importance import ImportanceTable
from recbole_ec4srec.data.operators import length_by, view_by
from recbole_ec4srec.data.retrieval import GuidedRetrieval, RandomRetrieval, SameTargetIndex

_POSITIVE_VIEWS = {False: ("cl_1", "cl_2"), True: ("cl_pos_1", "cl_pos_2")}
_RETRIEVED_VIEW = {False: "sl", True: "sl_pos"}
#: The field that tells which instances have a negative view, ``[B]`` bool.
VALID = f"{NEGATIVE_VIEW}_valid"


class DrawnViews:
    """Views that are drawn and not made: of each of ``B`` instances one by an operator of its own.

    Two positive views are by two different operators in random order (by the same one where it is alone); a negative
    view is by one of the negative operators.

    Args:
        words: of the operators, by the kind of views; without words of a kind there are no views of it.
        guided: which operators the words mean, and the names of the views.
        scores: of the instances' items, ``[B, L]``, on the host, for guided operators.
        item_seq_len: of the instances, ``[B]``.
        width: ``L``.
        rng: draws the operators and their noise.
        settings: have the ratios of the operators, and perhaps ``importance_scope``.
        mask_id: the id of ``[m]``.
        needed: the names of the views that are asked for, or None for all.

    Attributes:
        size: ``B``.
        lengths: the lengths ``[B]`` of the views by their names, on the host; none where an operator cannot tell.
    """

    def __init__(
        self,
        words: Mapping[str, Sequence[str]],
        guided: bool,
        scores: np.ndarray | None,
        item_seq_len: np.ndarray,
        width: int,
        rng: np.random.Generator,
        settings: Mapping,
        mask_id: int,
        needed: Collection[str] | None = None,
    ):
        self.size = size = len(item_seq_len)
        self._mask_id, self._needed = mask_id, needed
        positive, negative = (
            [operator_of(word, kind, guided) for word in words[kind]] for kind in (POSITIVE, NEGATIVE)
        )
        self.names: list[str] = []
        operator = np.empty((0, size), dtype=np.int64)  # which one makes each view
        if positive:
            self.names += _POSITIVE_VIEWS[guided]
            order = np.argsort(rng.random((len(positive), size)), axis=0)
            operator = order[[0, min(1, len(positive) - 1)]]
        if negative:
            self.names.append(NEGATIVE_VIEW)
            operator = np.concatenate([operator, len(positive) + rng.integers(len(negative), size=(1, size))])
        # All views of one operator are made together.
        order = np.argsort(operator.reshape(-1), kind="stable")
        counts = np.bincount(operator.reshape(-1), minlength=len(positive) + len(negative))
        # By name and as plain values: a worker process sends them with every batch.
        self._counts = {each.name: int(count) for each, count in zip([*positive, *negative], counts) if count}
        self._ratios = {each.ratio_key: each.ratio(settings) for each in (*positive, *negative)}
        self._scope = setting(settings, IMPORTANCE_SCOPE)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        instance = order % size
        self.lengths = self._lengths(item_seq_len[instance], place)
        drawn = {"instance": instance, "place": place, "noise": rng.random((len(order), width + 1))}
        if scores is not None:
            ranked, ties = ranked_count(item_seq_len, self._scope), rng.random((len(order), width))
            of_views = scores[instance].astype(np.float64), ranked[instance], ties, np.arange(width, dtype=np.float64)
            drawn.update(scores=scores, keys=importance_keys(*of_views))
        self._tensors = {name: torch.from_numpy(values) for name, values in drawn.items()}

    def to(self, device: torch.device | str) -> DrawnViews:
        """The same on another device."""
        return self.map(lambda tensor: tensor.to(device))

    def map(self, function: Callable[[Tensor], Tensor]) -> DrawnViews:
        """The same with other tensors."""
        mapped = copy.copy(self)
        mapped._tensors = {name: function(tensor) for name, tensor in self._tensors.items()}
        return mapped

    def _lengths(self, of_slots, place):
        lengths = []
        for operator, of in zip(self._operators(), np.split(of_slots, np.cumsum(list(self._counts.values()))[:-1])):
            if operator.length is None:
                return {}
            lengths.append(length_by(operator, of, self._ratios, self._scope))
        return self._by_name(np.concatenate(lengths)[place].reshape(len(self.names), self.size))

    def make(self, item_seq: Tensor, item_seq_len: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """The views by their names, ``(item_seq [B, L], item_seq_len [B])`` each, of instances of the same shapes."""
        instance, place = self._tensors["instance"], self._tensors["place"]
        counts = list(self._counts.values())
        sequences, lengths = item_seq.index_select(0, instance), item_seq_len.index_select(0, instance)
        parts = [sequences.split(counts), lengths.split(counts), self._tensors["noise"].split(counts)]
        if "scores" in self._tensors:
            scores = self._tensors["scores"].index_select(0, instance)
            ranked = ranked_count(lengths, self._scope)
            importance = Importance(scores, ranks_of_keys(self._tensors["keys"]), ranked)
            parts += [part.split(counts) for part in importance]
        made = []
        for operator, seq, n, noise, *scored in zip(self._operators(), *parts):
            given = Importance(*scored) if scored else None
            made.append(view_by(operator, (seq, n), given, self._ratios, self._mask_id, noise))
        views, lengths_of_views = (torch.cat(part).index_select(0, place).split(self.size) for part in zip(*made))
        return self._by_name(zip(views, lengths_of_views))

    def _operators(self):
        return [OPERATORS[name] for name in self._counts]

    def _by_name(self, views):
        return {name: view for name, view in zip(self.names, views) if self._needed is None or name in self._needed}


class Views:
    """Draws the views of instances that the loss terms of the current phase take.

    Until :meth:`set_importance` is called these are the random views of the warm-up (``cl_1``, ``cl_2``, ``sl``),
    afterwards the guided ones (``cl_pos_1``, ``cl_pos_2``, ``cl_neg``, ``sl_pos``).

    Args:
        config: names the operators, their ratios, and the weights of the loss terms.
        dataset: the training instances.
    """

    def __init__(self, config: Config, dataset: EC4SRecDataset):
        self._config, self._dataset = config, dataset
        self.needed = {guided: views_of(loss_weights(config, guided)) for guided in (False, True)}
        self.epoch = 0
        self.guided = False
        self._guided_since = 0
        self.importance: ImportanceTable | None = None
        self.retrieval: RandomRetrieval | GuidedRetrieval | None = None
        self._index: SameTargetIndex | None = None

    def set_importance(self, importance: ImportanceTable | None) -> None:
        """Leave the warm-up: from the next epoch on, views are guided by ``importance``.

        Builds the distributions of ertrl+, with ``train_on: sequences`` epoch by epoch (:meth:`prepare`). None is for a
        configuration whose guided losses all have weight 0.
        """
        self.guided, self.importance, self._guided_since = True, importance, self.epoch
        self.retrieval = None
        self._build_retrieval()

    def begin_epoch(self) -> None:
        """Other views than in the epochs before; what is retrieved from is built before worker processes start."""
        self.epoch += 1
        self._build_retrieval()

    def prepare(self, rows: np.ndarray) -> None:
        """Make ready for instances ``rows`` to be drawn for, before worker processes start."""
        if isinstance(self.retrieval, GuidedRetrieval):
            self.retrieval.prepare(rows)

    def state_dict(self) -> dict:
        """What :meth:`load_state_dict` needs to draw what would have come next."""
        return {
            "epoch": self.epoch,
            "guided": self.guided,
            "guided_since": self._guided_since,
            "importance": self.importance and self.importance.values,
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on from where :meth:`state_dict` was taken."""
        if state["guided"]:
            self.epoch, importance = state["guided_since"], None
            if state["importance"] is not None:
                importance = ImportanceTable(self._dataset.item_seq_len, self._dataset.max_item_list_len)
                importance.values = state["importance"]
            self.set_importance(importance)
        self.epoch = state["epoch"]

    def _build_retrieval(self):
        if _RETRIEVED_VIEW[self.guided] not in self.needed[self.guided] or self.retrieval is not None:
            return
        dataset, instances = self._dataset, self._dataset.inter_feat
        if self._index is None:
            self._index = SameTargetIndex(instances[dataset.iid_field], instances[dataset.uid_field])
        if self.importance is None:
            self.retrieval = RandomRetrieval(self._index)
        else:
            self.retrieval = GuidedRetrieval(
                self._index,
                dataset.item_sequences,
                self.importance,
                dataset.item_num,
                self._config["ertrl_score"],
                self._config["ertrl_max_candidates"],
                self.generator(0),
            )
            if self._config["train_on"] != SEQUENCES:
                self.retrieval.prepare()

    def generator(self, salt: int) -> np.random.Generator:
        """Random numbers that depend on the seed, the epoch and ``salt`` alone."""
        return np.random.default_rng([self._config["seed"], self.epoch, salt])

    def draw(
        self, rows: np.ndarray, item_seq_len: np.ndarray, width: int
    ) -> tuple[DrawnViews | None, dict[str, np.ndarray]]:
        """What is drawn for instances ``rows [B]``, whose sequences, of lengths ``[B]``, are padded to ``width``: views
        by operators, and by name which instances are retrieved."""
        # A batch is told apart from the others of its epoch by its first instance.
        rng, needed = self.generator(1 + int(rows[0])), self.needed[self.guided]
        words = {
            POSITIVE: self._config["augmentations"] if set(_POSITIVE_VIEWS[self.guided]) & set(needed) else (),
            NEGATIVE: self._config["negative_augmentations"] if NEGATIVE_VIEW in needed else (),
        }
        drawn = None
        if any(words.values()):
            scores = None if self.importance is None else self.importance.host_rows(rows)[:, :width]
            mask_id = self._dataset.item_num
            drawn = DrawnViews(words, self.guided, scores, item_seq_len, width, rng, self._config, mask_id, needed)
        retrieved = {}
        if self.retrieval is not None and _RETRIEVED_VIEW[self.guided] in needed:
            retrieved[_RETRIEVED_VIEW[self.guided]] = self.retrieval.draw(rows, rng)
        return drawn, retrieved
