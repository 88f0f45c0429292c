"""The training loader: a batch of instances with the views that the losses of the current phase contrast."""

from __future__ import annotations

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataloader import TrainDataLoader

from recbole_ec4srec.config.objective import loss_weights, views_of
from recbole_ec4srec.data.augmentation import Sequences
from recbole_ec4srec.data.dataset import SequenceBatch
from recbole_ec4srec.data.importance import ImportanceTable
from recbole_ec4srec.data.operators import GuidedAugmentation, RandomAugmentation
from recbole_ec4srec.data.retrieval import GuidedRetrieval, RandomRetrieval, SameTargetIndex


class EC4SRecTrainDataLoader(TrainDataLoader):
    """RecBole's training loader, with views.

    A batch has RecBole's fields and, for each view ``V`` that a loss term of positive weight takes
    (:data:`~recbole_ec4srec.config.objective.LOSSES`), the fields ``V_<item_id_list>`` ``[B, L]`` and
    ``V_<item_length>`` ``[B]``; what is retrieved has ``V_<user_id>`` ``[B]`` too. Until :meth:`set_importance` is
    called these are the random views of the warm-up (``cl_1``, ``cl_2``, ``sl``), afterwards the guided ones
    (``cl_pos_1``, ``cl_pos_2``, ``cl_neg``, ``sl_pos``), and the batch is ``guided``.

    The views of a batch depend on the seed, the epoch and the batch alone, so worker processes give the same batches.
    With several negative items per instance (``loss_type: BPR``) the instances are repeated, their views are not.
    """

    def __init__(self, config, dataset, sampler, shuffle=False):
        super().__init__(config, dataset, sampler, shuffle=shuffle)
        self.epoch = 0
        self._set_views(config)

    def update_config(self, config: Config) -> None:
        """RecBole's; the settings of views are read anew."""
        super().update_config(config)
        self._set_views(config)

    def _set_views(self, config):
        dataset = self._dataset
        self.n_items = dataset.item_num
        self.item_seq_field = dataset.item_seq_field
        self.length_field = dataset.item_list_length_field
        operators, mask_id = config["augmentations"], self.n_items
        self._random = RandomAugmentation(operators, config, mask_id)
        self._guided = GuidedAugmentation(operators, config["negative_augmentations"], config, mask_id)
        self._wanted = {guided: views_of(loss_weights(config, guided)) for guided in (False, True)}
        self.guided = False
        self._guided_since = None
        self.importance: ImportanceTable | None = None
        self._retrieval: RandomRetrieval | GuidedRetrieval | None = None
        self._index: SameTargetIndex | None = None

    @property
    def needs_importance(self) -> bool:
        """Whether any loss after the warm-up uses importance scores."""
        return bool(self._wanted[True])

    def set_importance(self, importance: ImportanceTable | None) -> None:
        """Leave the warm-up: from the next epoch on, views are guided by ``importance``.

        Builds the distributions of ertrl+. None is for a configuration whose guided losses all have weight 0.
        """
        self.guided, self.importance = True, importance
        self._guided_since = self.epoch
        self._retrieval = None
        self._prepare_retrieval()

    def state_dict(self) -> dict:
        """What :meth:`load_state_dict` needs to give the batches that would have come next."""
        importance = self.importance and self.importance.values
        return {
            "epoch": self.epoch,
            "guided": self.guided,
            "guided_since": self._guided_since,
            "importance": importance,
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

    def __iter__(self):
        self.epoch += 1
        self._prepare_retrieval()
        return super().__iter__()

    def _prepare_retrieval(self):
        """Build what this phase retrieves from, once, before worker processes start."""
        wanted = {"sl", "sl_pos"} & set(self._wanted[self.guided])
        if not wanted or self._retrieval is not None:
            return
        if self._index is None:
            instances = self._dataset.inter_feat
            self._index = SameTargetIndex(instances[self.iid_field], instances[self.uid_field])
        if self.importance is not None:
            self._retrieval = GuidedRetrieval(
                self._index,
                self._dataset.item_sequences,
                self.importance,
                self.n_items,
                self.config["ertrl_score"],
                self.config["ertrl_max_candidates"],
                self._generator(0),
            )
        else:
            self._retrieval = RandomRetrieval(self._index)

    def _generator(self, salt: int) -> torch.Generator:
        """Random numbers that depend on the seed, the epoch and ``salt`` alone."""
        entropy = np.random.SeedSequence([self.config["seed"], self.epoch, salt]).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(entropy >> np.uint64(1)))

    def collate_fn(self, index: list[int]) -> SequenceBatch:
        """The batch of instances ``index``, with its views."""
        batch = super().collate_fn(index)
        rows = torch.as_tensor(np.asarray(index))
        host_lengths = dict(getattr(batch, "host_lengths", {}))
        host_lengths[self.length_field] = batch[self.length_field].numpy().copy()
        fields = dict(batch.interaction)
        # A batch is told apart from the others of its epoch by its first instance.
        for name, (item_seq, item_seq_len) in self._views(rows, self._generator(1 + int(rows[0])), fields).items():
            fields[f"{name}_{self.item_seq_field}"] = item_seq
            fields[f"{name}_{self.length_field}"] = item_seq_len
            host_lengths[f"{name}_{self.length_field}"] = item_seq_len.numpy().copy()
        return SequenceBatch(fields, host_lengths, self.guided)

    def _views(self, rows: torch.Tensor, generator: torch.Generator, fields: dict) -> dict:
        """The views of instances ``rows`` by name; L_cl-'s mask and whose sequences were retrieved go to ``fields``."""
        wanted = self._wanted[self.guided]
        if not wanted:
            return {}
        item_seq, lengths = self._dataset.item_sequences(rows)
        views: dict[str, Sequences] = {}
        if {"cl_1", "cl_2"} & set(wanted):
            views["cl_1"], views["cl_2"] = self._random.positive(item_seq, lengths, generator)
        if self.importance is not None:
            importance = self.importance.rows(rows)[:, : item_seq.shape[1]]
        if {"cl_pos_1", "cl_pos_2"} & set(wanted):
            views["cl_pos_1"], views["cl_pos_2"] = self._guided.positive(item_seq, lengths, importance, generator)
        if "cl_neg" in wanted:
            view, view_lengths, valid = self._guided.negative(item_seq, lengths, importance, generator)
            views["cl_neg"] = view, view_lengths
            fields["cl_neg_valid"] = valid  # [B] bool: the instance has a negative view
        name = "sl_pos" if self.guided else "sl"
        if name in wanted and self._retrieval is not None:
            retrieved = self._retrieval.draw(rows, generator)
            views[name] = self._dataset.item_sequences(retrieved)
            fields[f"{name}_{self.uid_field}"] = self._dataset.inter_feat[self.uid_field][retrieved]
        return {name: views[name] for name in wanted}
