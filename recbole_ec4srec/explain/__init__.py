"""Explanation methods: how much each item of a sequence matters to the model's prediction."""

from __future__ import annotations

from recbole.config import Config

from recbole_ec4srec.config.keys import CAPTUM, EXPLAINERS, EXPLAINERS_BY_PREFIX, KEYS
from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.explain.attention import Attention, AttentionNorm
from recbole_ec4srec.explain.base import Explainer
from recbole_ec4srec.explain.captum_method import CaptumMethod, IntegratedGradients, captum_class
from recbole_ec4srec.explain.model_free import Oracle, Random
from recbole_ec4srec.explain.occlusion import Occlusion
from recbole_ec4srec.explain.saliency import Saliency
from recbole_ec4srec.model.ec4srec import EC4SRec

__all__ = [
    "EXPLAINERS",
    "Attention",
    "AttentionNorm",
    "CaptumMethod",
    "Explainer",
    "IntegratedGradients",
    "Occlusion",
    "Oracle",
    "Random",
    "Saliency",
    "build_explainer",
    "register_explainer",
]


def register_explainer(kind: type[Explainer], name: str) -> None:
    """Let ``explainer: name`` mean ``kind``, a class derived from :class:`Explainer`.

    Raises:
        ValueError: an explainer of this package has that name.
    """
    if name in EXPLAINERS and EXPLAINERS[name].__module__.startswith(f"{__name__}."):
        raise ValueError(f"there is an explainer named {name} already; give {kind.__qualname__} another name")
    EXPLAINERS[name] = kind


register_explainer(Occlusion, "occlusion")
register_explainer(Saliency, "saliency")
register_explainer(IntegratedGradients, "integrated_gradients")
register_explainer(Attention, "attention")
register_explainer(AttentionNorm, "attention_norm")
register_explainer(Random, "random")
register_explainer(Oracle, "oracle")
EXPLAINERS_BY_PREFIX[CAPTUM] = captum_class


def build_explainer(config: Config, model: EC4SRec, name: str | None = None) -> Explainer:
    """The explainer that a configuration asks for, or ``name`` with the other settings of the configuration;
    ``captum:<Class>`` is :class:`CaptumMethod`.

    Raises:
        ConfigError: there is none of that name, or it cannot explain this backbone; the message has the reason.
    """
    name = name or config["explainer"]
    kind: type[Explainer]
    own = {"random": {"seed": config["seed"]}, "oracle": {"scores": config["oracle_scores"]}}.get(name, {})
    if name.startswith(CAPTUM):
        kind, own = CaptumMethod, {"method": name[len(CAPTUM) :]}
    elif name in EXPLAINERS:
        kind = EXPLAINERS[name]
    else:
        raise ConfigError(f"explainer: got {name!r}, allowed is {KEYS['explainer']}")
    reason = kind.refusal(model.backbone)
    if reason:
        raise ConfigError(f"explainer: got {name!r}, {reason}")
    return kind(model, config["explain_target"], config["explain_output"], config["explain_batch_size"], **own)
