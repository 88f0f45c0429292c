"""EC4SRec and its variants: one model, of which the property files and the phase decide what is contrasted."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.model.loss import BPRLoss
from torch import Tensor

from recbole_ec4srec.config.objective import ANCHOR, LOSSES, loss_weights, same_target, views_of
from recbole_ec4srec.data.dataloader import PLACE, WINDOW, TrainingBatch
from recbole_ec4srec.encoder.backbone import Backbone
from recbole_ec4srec.model.collectives import gather, mean
from recbole_ec4srec.model.objective import REC, Given, Losses


class EC4SRec(SequentialRecommender):
    """EC4SRec (section 4.4.3, Eq. 9): a recommendation loss and up to three explanation-guided contrastive losses.

    A batch holds the instances and the views to contrast (see :mod:`recbole_ec4srec.data.dataloader`), and tells its
    phase: the terms of that phase (:mod:`recbole_ec4srec.model.objective`) that have a weight take part, beside L_rec.
    """

    #: It is no encoder itself.
    has_backbone = True

    def __init__(self, config: Config, dataset: Dataset):
        super().__init__(config, dataset)
        self.backbone = Backbone(config, dataset)
        self.loss_type = config["loss_type"]
        self.bpr_loss = BPRLoss()
        self.sim, self.tau, self.tau_cl = config["sim"], config["tau"], config["tau_cl"]
        self.second_pass, self.same_target = config["second_pass"], same_target(config)
        self.view_loss = config["view_loss"]
        #: Weights of the terms, by whether training is guided and by name.
        self.weights = {guided: loss_weights(config, guided) for guided in (False, True)}
        self.config = config

    @property
    def mask_id(self) -> int:
        """The id of the mask item ``[m]``."""
        return self.n_items

    def forward(self, item_seq: Tensor, item_seq_len: Tensor, user: Tensor | None = None) -> Tensor:
        """Representations ``[B, d]`` of sequences ``[B, L]`` with their lengths ``[B]`` and, for a backbone that needs
        them, users ``[B]``."""
        return self.backbone.encode(item_seq, item_seq_len, user=user)

    def encode(self, interaction: Interaction, views: Iterable[str]) -> dict[str, Tensor]:
        """Representations ``[B, d]`` of named sequences of a batch, encoded together; ``""`` names the instances."""
        names = [f"{view}_" if view else "" for view in views]
        seqs = [interaction[name + self.ITEM_SEQ] for name in names]
        lens = [interaction[name + self.ITEM_SEQ_LEN] for name in names]
        known: dict[str, np.ndarray] = getattr(interaction, "host_lengths", {})
        fields = [name + self.ITEM_SEQ_LEN for name in names]
        host = np.concatenate([known[field] for field in fields]) if all(field in known for field in fields) else None
        user = self._users(interaction, names, seqs)
        encoded = self.backbone.encode(torch.cat(seqs), torch.cat(lens), host, user=user)
        return dict(zip(views, encoded.split([len(seq) for seq in seqs])))

    def _users(self, interaction, names, seqs):
        """The users of the sequences, where the backbone takes them and the batch has them."""
        if not self.backbone.takes_user or self.USER_ID not in interaction:
            return None
        own = interaction[self.USER_ID]
        # A retrieved sequence is another user's; every other view is of the instance's own.
        of_another = [name + self.USER_ID for name in names]
        users = [
            interaction[field] if field in interaction else _head(own, seq) for field, seq in zip(of_another, seqs)
        ]
        return torch.cat(users)

    def calculate_loss(self, interaction: Interaction) -> Losses:
        """The weighted parts of the loss, by name, whose sum is Eq. 9 (or the warm-up's loss).

        A batch that tells no phase has L_rec alone. Of several processes each has a part of the batch, and gets the
        loss of the whole.
        """
        interaction = interaction.with_views() if isinstance(interaction, TrainingBatch) else interaction
        guided = getattr(interaction, "guided", None)
        weights = {} if guided is None else self.weights[guided]
        views = views_of(weights)
        if PLACE in interaction:
            states = self._encode_windows(interaction)
            encoded = {ANCHOR: states.index_select(0, interaction[PLACE])}
            encoded.update(self.encode(interaction, views) if views else {})
            recommendation = self.backbone.cross_entropy(states, interaction[f"{WINDOW}_{self.POS_ITEM_ID}"])
            parts = {REC: mean(recommendation, len(states))}
        else:
            encoded = self.encode(interaction, [ANCHOR, *views])
            parts = {REC: self._recommendation_loss(encoded[ANCHOR], interaction)}
        terms = self._recommendations if self.view_loss == "recommendation" else self._contrasts
        parts.update((name, weights[name] * loss) for name, loss in terms(weights, views, encoded, interaction))
        return Losses(parts)

    def _encode_windows(self, interaction):
        """The representations of all prefixes of the windows of a batch, ``[P, d]`` (``train_on: sequences``)."""
        lengths = f"{WINDOW}_{self.ITEM_SEQ_LEN}"
        user = interaction[f"{WINDOW}_{self.USER_ID}"] if self.backbone.takes_user else None
        sequences = interaction[f"{WINDOW}_{self.ITEM_SEQ}"], interaction[lengths]
        return self.backbone.encode_prefixes(*sequences, interaction.host_lengths[lengths], user)

    def _contrasts(self, names, views, encoded, interaction):
        """The terms ``names``, unweighted."""
        of_all = {view: gather(encoded[view]) for view in views}
        given = Given(self, interaction, len(encoded[views[0]] if views else encoded[ANCHOR]))
        if any(ANCHOR in LOSSES[name].views for name in names):
            anchor = self.encode(interaction, [ANCHOR]) if self.second_pass else encoded
            of_all[ANCHOR] = gather(_head(anchor[ANCHOR], encoded[views[0]] if views else encoded[ANCHOR]))
        for name in names:
            term = LOSSES[name]
            yield name, term.function({view: of_all[view] for view in term.views}, given)

    def _recommendations(self, names, views, encoded, interaction):
        """Positive views as more training data: the L_rec of each with its instance's next item, not the paper's."""
        for name in names:
            own = [view for view in LOSSES[name].views if view != ANCHOR]
            yield name, sum(self._recommendation_loss(encoded[view], interaction) for view in own) / len(own)

    def _recommendation_loss(self, encoded, interaction):
        """L_rec: Eq. 2 over all items, or RecBole's BPR loss."""
        positive = _head(interaction[self.POS_ITEM_ID], encoded)
        if self.loss_type == "CE":
            return mean(self.backbone.cross_entropy(encoded, positive))
        negative = _head(interaction[self.NEG_ITEM_ID], encoded)
        return mean(self.bpr_loss(self.backbone.score(encoded, positive), self.backbone.score(encoded, negative)))

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores of the batch's items, ``[B]``."""
        return self.backbone.score(self.encode(interaction, [""])[""], interaction[self.ITEM_ID])

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores of all items, ``[B, n_items]``; ``[m]`` is not among them."""
        return self.backbone.score_all(self.encode(interaction, [""])[""])


def _head(tensor, like):
    """The instances themselves, where several negative items have repeated them."""
    return tensor.narrow(0, 0, len(like))


class EC4SRecSSL(EC4SRec):
    """EC4SRec(SSL), section 4.4.1, Eq. 6: EC4SRec without L_sl+."""


class EC4SRecSL(EC4SRec):
    """EC4SRec(SL), section 4.4.2, Eq. 7: EC4SRec without L_cl+ and L_cl-."""


class CL4SRec(EC4SRec):
    """CL4SRec (Eq. 1): L_rec and L_cl over random views; no importance updates."""


class DuoRec(EC4SRec):
    """DuoRec (Eq. 4) as the paper states it: L_rec and L_sl over randomly retrieved views; no importance updates."""
