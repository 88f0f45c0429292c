"""Explanation methods: how much each item of a sequence matters to the model's prediction."""

from __future__ import annotations

from recbole_ec4srec.config import CAPTUM, ConfigError
from recbole_ec4srec.explain.attention import Attention
from recbole_ec4srec.explain.base import Explainer
from recbole_ec4srec.explain.captum_method import CaptumMethod
from recbole_ec4srec.explain.controls import Oracle, Random
from recbole_ec4srec.explain.integrated_gradients import IntegratedGradients
from recbole_ec4srec.explain.occlusion import Occlusion
from recbole_ec4srec.explain.saliency import Saliency

__all__ = [
    "EXPLAINERS",
    "Attention",
    "CaptumMethod",
    "Explainer",
    "IntegratedGradients",
    "Occlusion",
    "Oracle",
    "Random",
    "Saliency",
    "build_explainer",
]

#: The classes behind the values of the key ``explainer``; ``captum:<Class>`` is :class:`CaptumMethod`.
EXPLAINERS = {
    "occlusion": Occlusion,
    "saliency": Saliency,
    "integrated_gradients": IntegratedGradients,
    "attention": Attention,
    "random": Random,
    "oracle": Oracle,
}


def build_explainer(config, model, name: str | None = None) -> Explainer:
    """The explainer that a configuration asks for, or ``name`` with the other settings of the configuration.

    Raises:
        ConfigError: it cannot explain this backbone; the reason is told.
    """
    name = name or config["explainer"]
    own = {"random": {"seed": config["seed"]}, "oracle": {"scores": config["oracle_scores"]}}.get(name, {})
    if name.startswith(CAPTUM):
        kind, own = CaptumMethod, {"method": name[len(CAPTUM) :]}
    else:
        kind = EXPLAINERS[name]
    reason = kind.refusal(model.backbone)
    if reason:
        raise ConfigError(f"explainer: got {name!r}, {reason}")
    return kind(model, config["explain_target"], config["explain_output"], config["explain_batch_size"], **own)
