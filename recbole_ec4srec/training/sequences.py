"""``train_on: sequences`` for RecBole's own models, with their own loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor

from recbole_ec4srec.data.dataloader import CELL
from recbole_ec4srec.encoder.prefixes import all_prefixes, check_causal


@contextmanager
def learning_all_prefixes(model: SequentialRecommender) -> Iterator[None]:
    """For a while, let ``calculate_loss`` of a model of RecBole's be the mean over all prefixes of a batch's windows.

    Raises:
        ConfigError: one pass over a sequence does not represent its prefixes.
    """
    device, width = next(model.parameters()).device, model.max_seq_length

    def alone(item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        return model(item_seq.to(device), item_seq_len.to(device)).cpu()

    def together(item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        cell = (torch.arange(width) < item_seq_len.unsqueeze(1)).flatten().nonzero().squeeze(1)
        with all_prefixes(model, cell.to(device)):
            return alone(item_seq, item_seq_len)

    training = model.training
    model.eval()
    with torch.no_grad():
        check_causal(type(model).__name__, alone, together, model.n_items, width)
    model.train(training)
    calculate_loss = model.calculate_loss

    def of_all_prefixes(interaction):
        if CELL not in interaction:
            return calculate_loss(interaction)
        with all_prefixes(model, interaction[CELL]):
            return calculate_loss(interaction)

    model.calculate_loss = of_all_prefixes
    try:
        yield
    finally:
        del model.calculate_loss  # the method of the class is behind it
