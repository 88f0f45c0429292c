"""Explanation methods: how much each item of a sequence matters to the model's prediction."""

from __future__ import annotations

from recbole_ec4srec.explain.base import Explainer
from recbole_ec4srec.explain.occlusion import Occlusion

__all__ = ["EXPLAINERS", "Explainer", "Occlusion", "build_explainer"]

#: The classes behind the values of the key ``explainer``.
EXPLAINERS = {"occlusion": Occlusion}


def build_explainer(config, model) -> Explainer:
    """The explainer that a configuration asks for."""
    return EXPLAINERS[config["explainer"]](
        model, config["explain_target"], config["explain_output"], config["explain_batch_size"]
    )
