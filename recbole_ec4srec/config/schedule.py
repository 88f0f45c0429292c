"""When importance is updated."""

from __future__ import annotations


def update_schedule(epochs: int, num_updates: int, update_epochs: list[int]) -> list[int]:
    """Epochs, counted from 1, at whose start the importance is recomputed (section 4.1).

    ``update_epochs`` if it is given, else ``l * floor(N / (p + 1))`` for l = 1 … p with N ``epochs`` and p
    ``num_updates``.
    """
    if update_epochs:
        return list(update_epochs)
    step = epochs // (num_updates + 1)
    return [update * step for update in range(1, num_updates + 1)]
