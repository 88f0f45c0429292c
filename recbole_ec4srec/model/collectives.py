"""Tensors of all processes (RecBole's ``--nproc``), for what is no average over instances: the contrastive losses and
the importance table. :mod:`recbole_ec4srec.training.distributed` has the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def rank_and_size() -> tuple[int, int]:
    """The rank of this process and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def of_first(make: Callable[[], T]) -> T:
    """What ``make`` gives in the first process, in all processes; it is called in the first alone."""
    rank, size = rank_and_size()
    if size == 1:
        return make()
    made: list = [make() if rank == 0 else None]
    dist.broadcast_object_list(made)
    return made[0]


def of_all(part: T) -> list[T]:
    """The ``part`` of each process, by its rank, in all processes."""
    parts = [part] * rank_and_size()[1]
    if len(parts) > 1:
        dist.all_gather_object(parts, part)
    return parts


def gather(tensor: Tensor) -> Tensor:
    """The rows of all processes, ``[size * B, …]``, from the ``[B, …]`` of each.

    Gradients reach this process's own rows, ``size`` times as large: the average over the processes, each with the same
    loss of all rows, is then the gradient of that loss.
    """
    rank, size = rank_and_size()
    if size == 1:
        return tensor
    if tensor.dtype == torch.bool:  # gloo has none in torch 2.0
        return gather(tensor.byte()).bool()
    own = tensor.detach().contiguous()
    parts = [torch.empty_like(own) for _ in range(size)]
    dist.all_gather(parts, own)
    if tensor.requires_grad:
        parts[rank] = own + size * (tensor - own)
    return torch.cat(parts)


def mean(loss: Tensor, count: int = 1) -> Tensor:
    """The mean over all instances of a loss that is that of this process's own ``count``; without counts all have
    equally many."""
    if rank_and_size()[1] == 1:
        return loss
    counts = gather(torch.tensor([count], dtype=loss.dtype, device=loss.device))
    return (gather(loss.reshape(1)) * counts).sum() / counts.sum()


def of_this_rank(parts: Sequence) -> Sequence:
    """Those of ``parts`` that this process works on: every ``size``-th one."""
    rank, size = rank_and_size()
    return parts[rank::size]


def add_up(tensor: Tensor, device: torch.device | str) -> None:
    """Replace ``tensor`` by its sum over all processes, which talk on ``device``."""
    if rank_and_size()[1] > 1:
        total = tensor.to(device)
        dist.all_reduce(total)
        tensor.copy_(total)
