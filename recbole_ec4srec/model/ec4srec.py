"""EC4SRec and its presets: one model, of which the property files and the batch decide what is contrasted."""

from __future__ import annotations

import numpy as np
import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.model.loss import BPRLoss
from torch import Tensor

from recbole_ec4srec.config.objective import VIEWS as VIEWS_OF
from recbole_ec4srec.encoder.backbone import Backbone
from recbole_ec4srec.model.collectives import gather, mean
from recbole_ec4srec.model.losses import negative_loss, pair_loss, supervised_loss


class EC4SRec(SequentialRecommender):
    """EC4SRec (section 4.4.3, Eq. 9): a recommendation loss and up to three explanation-guided contrastive losses.

    A batch holds the instances and the views to contrast (see :mod:`recbole_ec4srec.data.dataloader`). For every view
    that it has, the loss of Eq. 9, or of the warm-up before the first importance update, takes part:

    ========== ============================== ==================
    loss       views in the batch             weight
    ========== ============================== ==================
    L_rec      (the instances)                1
    L_cl       ``cl_1``, ``cl_2``             ``lambda``
    L_sl       ``sl``                         ``lambda``
    L_cl+      ``cl_pos_1``, ``cl_pos_2``     ``lambda_cl_pos``
    L_cl-      ``cl_neg`` and the two above   ``lambda_cl_neg``
    L_sl+      ``sl_pos``                     ``lambda_sl_pos``
    ========== ============================== ==================
    """

    #: It is no encoder itself.
    has_backbone = True

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.backbone = Backbone(config, dataset)
        self.loss_type = config["loss_type"]
        self.bpr_loss = BPRLoss()
        self.sim, self.tau, self.tau_cl = config["sim"], config["tau"], config["tau_cl"]
        self.second_pass, self.mask_same_target = config["second_pass"], config["mask_same_target"]
        self.view_loss = config["view_loss"]
        self.weights = {"cl": config["lambda"], "sl": config["lambda"]}
        self.weights.update({name: config[f"lambda_{name}"] for name in ("cl_pos", "cl_neg", "sl_pos")})
        self.loss_names = ("rec",)

    @property
    def mask_id(self) -> int:
        """The id of the mask item ``[m]``."""
        return self.n_items

    def forward(self, item_seq: Tensor, item_seq_len: Tensor, user: Tensor | None = None) -> Tensor:
        """Representations ``[B, d]`` of sequences ``[B, L]`` with their lengths ``[B]`` and, for a backbone that needs
        them, users ``[B]``."""
        return self.backbone.encode(item_seq, item_seq_len, user=user)

    def encode(self, interaction, views) -> dict:
        """Representations ``[B, d]`` of named sequences of a batch, encoded together; ``""`` names the instances."""
        names = [f"{view}_" if view else "" for view in views]
        seqs = [interaction[name + self.ITEM_SEQ] for name in names]
        lens = [interaction[name + self.ITEM_SEQ_LEN] for name in names]
        known = getattr(interaction, "host_lengths", {})
        host = [known.get(name + self.ITEM_SEQ_LEN) for name in names]
        host = None if any(lengths is None for lengths in host) else np.concatenate(host)
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

    def calculate_loss(self, interaction) -> tuple:
        """The weighted parts of the loss, whose sum is Eq. 9 (or the warm-up's loss); ``loss_names`` names them.

        Of several processes each has a part of the batch, and gets the loss of the whole.
        """
        has = {view for view in VIEWS if f"{view}_{self.ITEM_SEQ}" in interaction}
        views = ["", *[view for view in VIEWS if view in has]]
        encoded = self.encode(interaction, views)
        losses = {"rec": self._recommendation_loss(encoded[""], interaction)}
        if self.view_loss == "recommendation":
            losses.update(self._losses_of_views(encoded, interaction))
            has = {}
        view = {name: gather(encoded[name]) for name in VIEWS if name in has}
        target = None
        if view and self.mask_same_target:
            target = gather(_head(interaction[self.POS_ITEM_ID], encoded[views[1]]))
        for name in ("cl", "cl_pos"):
            if f"{name}_1" in view and self.weights[name] > 0:
                losses[name] = pair_loss(view[f"{name}_1"], view[f"{name}_2"], self.sim, self.tau_cl, target)
        if "cl_neg" in view:
            positives = torch.cat([view["cl_pos_1"], view["cl_pos_2"]])
            valid = gather(interaction["cl_neg_valid"])
            losses["cl_neg"] = negative_loss(view["cl_neg"], positives, valid, self.sim, self.tau_cl)
        for name in ("sl", "sl_pos"):
            if name in view:
                anchor = self.encode(interaction, [""])[""] if self.second_pass else encoded[""]
                anchor = gather(_head(anchor, encoded[name]))
                losses[name] = supervised_loss(anchor, view[name], self.sim, self.tau, target)
        self.loss_names = tuple(losses)
        return tuple(loss if name == "rec" else self.weights[name] * loss for name, loss in losses.items())

    def _losses_of_views(self, encoded, interaction):
        """Positive views as more training data: the L_rec of each with its instance's next item, not the paper's."""
        for name, views in VIEWS_OF.items():
            if name != "cl_neg" and views[0] in encoded and self.weights[name] > 0:
                yield name, sum(self._recommendation_loss(encoded[view], interaction) for view in views) / len(views)

    def _recommendation_loss(self, encoded, interaction):
        """L_rec: Eq. 2 over all items, or RecBole's BPR loss."""
        positive = _head(interaction[self.POS_ITEM_ID], encoded)
        if self.loss_type == "CE":
            return mean(self.backbone.cross_entropy(encoded, positive))
        negative = _head(interaction[self.NEG_ITEM_ID], encoded)
        return mean(self.bpr_loss(self.backbone.score(encoded, positive), self.backbone.score(encoded, negative)))

    def predict(self, interaction) -> Tensor:
        """Scores of the batch's items, ``[B]``."""
        return self.backbone.score(self.encode(interaction, [""])[""], interaction[self.ITEM_ID])

    def full_sort_predict(self, interaction) -> Tensor:
        """Scores of all items, ``[B, n_items]``; ``[m]`` is not among them."""
        return self.backbone.score_all(self.encode(interaction, [""])[""])


#: The views that a batch may have.
VIEWS = tuple(dict.fromkeys(view for views in VIEWS_OF.values() for view in views))


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
