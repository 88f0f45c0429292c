"""Several processes (RecBole's ``--nproc``) that compute what one does.

Instances are divided among the processes, and ``DistributedDataParallel`` averages the gradients of their losses. What
is no average over instances (contrastive losses, importance and metrics) is computed from the data of all.
"""

from __future__ import annotations

import inspect
import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from recbole.config import Config
from recbole.data.dataloader import AbstractDataLoader
from recbole.evaluator.collector import DataStruct
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import init_seed
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.model.collectives import of_all, of_first, rank_and_size
from recbole_ec4srec.storage.checkpoint import load_checkpoint

if TYPE_CHECKING:
    from recbole.trainer import Trainer
else:  # it is also mixed into trainers that are not derived from RecBole's Trainer
    Trainer = object


class Synchronised(Trainer):
    """Mixed into a trainer of RecBole's: its metrics are of all users, each counted once, and every process tests the
    best model, which the first process alone saves and loads: others may be on another machine."""

    saved_model_file: str

    def __init__(self, config: Config, model: AbstractRecommender):
        super().__init__(config, model)
        self.saved_model_file = of_first(lambda: self.saved_model_file)  # it contains the time
        # RecBole's seeds differ within a machine only.
        init_seed(config["seed"] + rank_and_size()[0], config["reproducibility"])

    def fit(self, *args: Any, **options: Any) -> tuple[float, dict]:
        """The trainer's ``fit``; ends when the best model is written."""
        result = super().fit(*args, **options)
        dist.barrier()
        return result

    def evaluate(
        self,
        eval_data: AbstractDataLoader | None,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
    ) -> dict | None:
        """The trainer's ``evaluate``, over all users once."""
        if eval_data:
            _give_each_once(eval_data.sampler)
            if load_best_model:
                self._load(model_file or self.saved_model_file)
        return super().evaluate(eval_data, False, model_file, show_progress)

    def _load(self, model_file: str) -> None:
        def parts():
            checkpoint = load_checkpoint(model_file, "cpu")
            return checkpoint["state_dict"], checkpoint.get("other_parameter")

        weights, others = of_first(parts)
        self.model.load_state_dict(weights)
        self.model.load_other_parameter(others)
        self.logger.info(f"Loading model structure and parameters from {model_file}")

    def _save_checkpoint(self, *args: Any, **options: Any) -> None:
        if rank_and_size()[0] == 0:
            super()._save_checkpoint(*args, **options)

    def _map_reduce(self, result: dict, num_sample: int) -> dict:
        return result


def _give_each_once(sampler: Any) -> None:
    """Undo the padding of a ``DistributedSampler``, which gives some twice so that all processes have equally many."""
    number, size = len(sampler.dataset), sampler.num_replicas
    if number < size:
        raise ConfigError(f"nproc: got {size}, allowed is at most the number of users that are evaluated, {number}")
    sampler.total_size, sampler.num_samples = number, len(range(sampler.rank, number, size))


def of_all_users(own: DataStruct) -> DataStruct:
    """What RecBole's metrics are computed from, with the rows of all processes."""
    if rank_and_size()[1] == 1:
        return own
    rows = {name: rows for name, rows in own._data_dict.items() if name.startswith("rec.") or name == "data.label"}
    parts = of_all(rows)
    for name in rows:
        own.set(name, torch.cat([part[name] for part in parts]))
    return own


# --- processes that another program has started -----------------------------------------------------------------------

_OF_A_LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def started() -> dict[str, Any]:
    """RecBole's settings of this process if ``torchrun`` has started it as one of several; otherwise empty."""
    if any(name not in os.environ for name in _OF_A_LAUNCHER) or os.environ["WORLD_SIZE"] == "1":
        return {}
    rank, local_rank, size, local_size = (int(os.environ[name]) for name in _OF_A_LAUNCHER[:4])
    group = {"ip": os.environ["MASTER_ADDR"], "port": os.environ["MASTER_PORT"]}
    return {"local_rank": local_rank, "offset": rank - local_rank, "nproc": local_size, "world_size": size, **group}


def run(
    original: Callable,
    model: str,
    dataset: str,
    config_file_list: list[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    saved: bool = True,
    nproc: int = 1,
    world_size: int = -1,
    *group: Any,
    **named: Any,
) -> dict[str, Any]:
    """RecBole's ``run``, which starts processes; not those that have been started.

    Raises:
        ConfigError: other numbers of processes are asked for.
    """
    if process := started():
        for name, asked in (("nproc", nproc), ("world_size", world_size)):
            if asked not in (1, -1, process[name]):
                raise ConfigError(f"{name}: got {asked}, allowed is {process[name]}, as many as torchrun has started")
        nproc, world_size = 1, -1
    return original(model, dataset, config_file_list, config_dict, saved, nproc, world_size, *group, **named)


# --- RecBole's functions that support GPUs only, or write files -------------------------------------------------------


def init_device(original: Callable, config: Config) -> None:
    """RecBole's ``Config._init_device``, which joins the group of processes, with ``ddp_backend``; also that of
    processes that ``torchrun`` has started.

    Raises:
        ConfigError: the backend needs more GPUs than there are.
    """
    final = config.final_config_dict
    if "local_rank" not in final:
        final.update(started())
    rank, backend = final.pop("local_rank", None), final.get("ddp_backend")
    if rank is not None and backend == "gloo":
        final["gpu_id"] = ""
    original(config)  # without a rank, as in a single process: finds the device
    if rank is None:
        return
    final["local_rank"], count = rank, final["nproc"]
    if final["device"].type == "cuda":
        if len(final["gpu_id"].split(",")) < count:
            raise ConfigError(
                f"gpu_id: got {final['gpu_id']!r}, allowed is a GPU for each of nproc: {count}, or ddp_backend: gloo"
            )
        original(config)
    elif backend == "nccl":
        raise ConfigError("ddp_backend: got 'nccl', allowed is gloo without a GPU")
    else:
        torch.set_num_threads(max(1, torch.get_num_threads() // count))
        _join(rank + final["offset"], final["world_size"], final["ip"], final["port"])
        final["single_spec"] = False
    if rank > 0:
        silent = ("show_progress", "verbose", "log_wandb", "save_dataset", "save_dataloaders")
        final.update(dict.fromkeys(silent, False), state="error")


# The group is kept after RecBole has destroyed it. If the trainer, which goes next, held the last reference, it would
# wait, with Python locked, for a thread of the group that may need Python for its last tensor: a run would never end.
_joined: list = []


def _join(rank: int, size: int, ip: str, port: int | str) -> None:
    dist.init_process_group("gloo", rank=rank, world_size=size, init_method=f"tcp://{ip}:{port}")
    _joined[:] = [dist.group.WORLD]


def data_parallel(
    original: Callable, module: nn.Module, device_ids: list[int] | None = None, **options: Any
) -> nn.Module:
    """``DistributedDataParallel``, which takes no ``device_ids`` on a CPU."""
    on_cpu = next(module.parameters()).device.type == "cpu"
    return original(module, device_ids=None if on_cpu else device_ids, **options)


def init_logger(original: Callable, config: Config) -> None:
    """RecBole's, which opens a file, in the first process only."""
    if rank_and_size()[0] == 0:
        original(config)
    else:
        logging.basicConfig(level=logging.ERROR)


def get_tensorboard(original: Callable, logger: logging.Logger) -> SummaryWriter | _Silent:
    """RecBole's, which writes a file, in the first process only; in others one that writes nothing."""
    return original(logger) if rank_and_size()[0] == 0 else _Silent()


class _Silent:
    """A tensorboard that writes nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **options: None


def run_recboles(rank: int, *args: Any) -> None:
    """RecBole's entry point of a worker process, which is ``__wrapped__`` here (:mod:`recbole_ec4srec.plugin.hooks`).

    It is unpickled in the new process, which imports this package there and so registers our models.
    """
    try:
        inspect.unwrap(run_recboles)(rank, *args)
    except Exception:
        # The error of the first process that ends is printed. If this one failed because another is about to end, that
        # one has to be the first.
        time.sleep(2)
        raise
