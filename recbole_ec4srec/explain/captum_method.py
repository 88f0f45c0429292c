"""Any attribution of captum's that takes a forward function."""

from __future__ import annotations

import inspect
import random
from contextlib import contextmanager

import numpy as np
import torch

from recbole_ec4srec.explain.base import Explainer


def captum_class(name: str) -> type:
    """The class of captum's that ``explainer: captum:<name>`` means.

    Raises:
        ValueError: captum has no such attribution, or it needs more than a function from embeddings to a score.
    """
    import captum.attr

    found = getattr(captum.attr, name, None)
    if not inspect.isclass(found) or not hasattr(found, "attribute"):
        raise ValueError(f"captum has no attribution {name}")
    first, *others = list(inspect.signature(found.__init__).parameters.values())[1:]
    needed = [parameter.name for parameter in others if parameter.default is inspect.Parameter.empty]
    if first.name != "forward_func" or needed:
        needs = ", ".join([first.name, *needed])
        raise ValueError(f"captum's {name} needs {needs}; allowed are those that a forward function is enough for")
    return found


class CaptumMethod(Explainer):
    """A method of captum's, over the embeddings of the items, with zeros for a baseline.

    A method that perturbs takes away an item at a time; of a method that gives every dimension of the embedding its
    own attribution, an item's is their sum. Random numbers that a method draws are the same at every call.

    Args:
        method: the name of the class in ``captum.attr``.
    """

    #: How often captum encodes a sequence at once, for the memory.
    perturbations = 50

    def __init__(self, model, target="predicted", output="logit", batch_size=4096, method="IntegratedGradients"):
        super().__init__(model, target, output, batch_size)
        self.method = captum_class(method)

    def attribute_batch(self, item_seq, item_seq_len, user, encoded, item):
        length, embedding = item_seq.shape[1], self.model.backbone.embed(item_seq)
        takes = inspect.signature(self.method.attribute).parameters
        options = {"additional_forward_args": (item_seq, item_seq_len, user, item)}
        if "feature_mask" in takes:
            place = torch.arange(length, device=item_seq.device).view(1, -1, 1)
            options["feature_mask"] = place.repeat(1, 1, embedding.shape[2])
        if "sliding_window_shapes" in takes:
            options["sliding_window_shapes"] = (1, embedding.shape[2])
        if "baselines" in takes:
            options["baselines"] = torch.zeros_like(embedding)
        with self.gradients(), _same_random_numbers(embedding.device):
            found = self.method(self.explained).attribute(embedding.requires_grad_(), **options).detach()
        found = found.to(embedding.dtype)  # captum 0.6 has doubles of integrated gradients
        by_item = "feature_mask" in takes or "sliding_window_shapes" in takes
        return found.select(2, 0) if by_item else found.sum(2)


@contextmanager
def _same_random_numbers(device):
    """Random numbers of captum's that are the same at every call, and leave those of the training alone."""
    others = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(others[0])
            np.random.set_state(others[1])  # noqa: NPY002
