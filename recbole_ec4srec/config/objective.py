"""Which contrastive losses take part, by phase, and the views that they take."""

from __future__ import annotations

WARMUP_LOSSES = ("cl", "sl")

#: The views that each contrastive loss takes from a batch.
VIEWS = {
    "cl": ("cl_1", "cl_2"),
    "sl": ("sl",),
    "cl_pos": ("cl_pos_1", "cl_pos_2"),
    "cl_neg": ("cl_pos_1", "cl_pos_2", "cl_neg"),
    "sl_pos": ("sl_pos",),
}


def loss_weights(config, guided: bool) -> dict:
    """Weights of the contrastive losses that take part in a phase, by the loss's name; those of weight 0 are left out.

    Before the first importance update (``guided=False``): ``cl`` (Eq. 3) and ``sl`` (Eq. 4); after it: ``cl_pos``,
    ``cl_neg`` (section 4.4.1) and ``sl_pos`` (Eq. 8), as in Eq. 6, 7 and 9.
    """
    if guided:
        weights = {name: config[f"lambda_{name}"] for name in ("cl_pos", "cl_neg", "sl_pos")}
    else:
        weights = {name: config["lambda"] for name in WARMUP_LOSSES if name in config["warmup"]}
    return {name: float(weight) for name, weight in weights.items() if weight > 0}
