"""The attribution methods of captum that take a forward function."""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_ec4srec.explain.base import Explainer


def captum_class(name: str) -> type:
    """The class of ``captum.attr`` that ``explainer: captum:<name>`` means.

    Raises:
        ValueError: captum has no such attribution, or it needs more than a function from embeddings to a score.
    """
    import captum.attr

    method = getattr(captum.attr, name, None)
    if not inspect.isclass(method) or not hasattr(method, "attribute"):
        raise ValueError(f"captum has no attribution {name}")
    first, *others = list(inspect.signature(method).parameters.values())
    needed = [parameter.name for parameter in others if parameter.default is inspect.Parameter.empty]
    if first.name != "forward_func" or needed:
        needs = ", ".join([first.name, *needed])
        raise ValueError(f"captum's {name} needs {needs}; allowed are those that need a forward function only")
    return method


class CaptumMethod(Explainer):
    """A method of captum's, over the embeddings of the items, with zeros as the baseline.

    A method that perturbs removes one item at a time. Where a method attributes to every dimension of an embedding, an
    item gets their sum. Random numbers that a method draws are the same at every call.

    Args:
        common: as for :class:`Explainer`.
        method: the name of the class in ``captum.attr``.
    """

    perturbations = 50

    def __init__(self, *common: Any, method: str = "IntegratedGradients"):
        super().__init__(*common)
        self.method: Any = captum_class(method)  # captum brings no types

    def attribute_batch(
        self, item_seq: Tensor, item_seq_len: Tensor, user: Tensor | None, encoded: Tensor, item: Tensor | None
    ) -> Tensor:
        """What the method gives for :meth:`outcome_of`."""
        length, embedding = item_seq.shape[1], self.model.backbone.embed(item_seq)
        takes = inspect.signature(self.method.attribute).parameters
        options: dict[str, object] = {"additional_forward_args": (item_seq, item_seq_len, user, item)}
        if "feature_mask" in takes:
            position = torch.arange(length, device=item_seq.device).view(1, -1, 1)
            options["feature_mask"] = position.repeat(1, 1, embedding.shape[2])  # [1, L, d]
        if "sliding_window_shapes" in takes:
            options["sliding_window_shapes"] = (1, embedding.shape[2])
        if "baselines" in takes:
            options["baselines"] = torch.zeros_like(embedding)
        with self.gradients(), _same_random_numbers(embedding.device):
            scores = self.method(self.outcome_of).attribute(embedding.requires_grad_(), **options).detach()  # [B, L, d]
        scores = scores.to(embedding.dtype)  # captum 0.6 has doubles of integrated gradients
        by_item = "feature_mask" in takes or "sliding_window_shapes" in takes
        return scores.select(2, 0) if by_item else scores.sum(2)


class IntegratedGradients(CaptumMethod):
    """Captum's ``IntegratedGradients``: the gradient along 50 steps from a zero baseline to the embeddings."""


@contextmanager
def _same_random_numbers(device: torch.device) -> Iterator[None]:
    """Random numbers that are the same at every call, and do not change those of the training."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
