"""Several processes (RecBole's ``--nproc``) that compute what one does.

Instances are divided among the processes, and ``DistributedDataParallel`` averages the gradients of their losses. What
is no average over instances, the contrastive losses, the importance table and the metrics, is made from what all have.
"""

from __future__ import annotations

import logging
import time

import torch
import torch.distributed as dist

from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.model.collectives import rank_and_size


class Synchronised:
    """What is mixed into a trainer of RecBole's so that its metrics are of all users, once each, and that every process
    tests the best model, which the first has saved."""

    def __init__(self, config, model):
        super().__init__(config, model)
        name = [self.saved_model_file]
        dist.broadcast_object_list(name)  # it has the time in it
        self.saved_model_file = name[0]
        own = self.eval_collector.get_data_struct
        self.eval_collector.get_data_struct = lambda: _of_all_users(own())

    def fit(self, *args, **options):
        result = super().fit(*args, **options)
        dist.barrier()  # until the best model is whole
        return result

    def evaluate(self, eval_data, *args, **options):
        if eval_data:
            _give_each_once(eval_data.sampler)
        return super().evaluate(eval_data, *args, **options)

    def _map_reduce(self, result, num_sample):
        return result


def _give_each_once(sampler) -> None:
    """Undo the padding of a ``DistributedSampler``, which gives some twice so that all processes have equally many."""
    number, size = len(sampler.dataset), sampler.num_replicas
    if number < size:
        raise ConfigError(f"nproc: got {size}, allowed is at most the number of users that are evaluated, {number}")
    sampler.total_size, sampler.num_samples = number, len(range(sampler.rank, number, size))


def _of_all_users(found):
    """What RecBole's metrics are computed from, with the rows of all processes."""
    rows = {name: rows for name, rows in found._data_dict.items() if name.startswith("rec.") or name == "data.label"}
    parts = [None] * rank_and_size()[1]
    dist.all_gather_object(parts, rows)
    for name in rows:
        found.set(name, torch.cat([part[name] for part in parts]))
    return found


# --- RecBole's functions that know GPUs alone, or write files ---------------------------------------------------------


def init_device(original, config) -> None:
    """RecBole's ``Config._init_device``, which joins the group of processes, for ``ddp_backend``."""
    final = config.final_config_dict
    rank, wanted = final.pop("local_rank", None), final.get("ddp_backend")
    if rank is not None and wanted == "gloo":
        final["gpu_id"] = ""
    original(config)  # as of a single process: finds the device
    if rank is None:
        return
    final["local_rank"], count = rank, final["nproc"]
    if final["device"].type == "cuda":
        if len(final["gpu_id"].split(",")) < count:
            raise ConfigError(
                f"gpu_id: got {final['gpu_id']!r}, allowed is a GPU for each of nproc: {count}, or ddp_backend: gloo"
            )
        original(config)
    elif wanted == "nccl":
        raise ConfigError("ddp_backend: got 'nccl', allowed is gloo without a GPU")
    else:
        torch.set_num_threads(max(1, torch.get_num_threads() // count))
        dist.init_process_group(
            "gloo",
            rank=rank + final["offset"],
            world_size=final["world_size"],
            init_method=f"tcp://{final['ip']}:{final['port']}",
        )
        final["single_spec"] = False
    if rank > 0:
        silent = ("show_progress", "verbose", "log_wandb", "save_dataset", "save_dataloaders")
        final.update(dict.fromkeys(silent, False), state="error")


def data_parallel(original, module, device_ids=None, **options):
    """``DistributedDataParallel``, which takes no ``device_ids`` on a CPU."""
    on_cpu = next(module.parameters()).device.type == "cpu"
    return original(module, device_ids=None if on_cpu else device_ids, **options)


def init_logger(original, config) -> None:
    """RecBole's, which opens a file, in the first process alone."""
    if rank_and_size()[0] == 0:
        original(config)
    else:
        logging.basicConfig(level=logging.ERROR)


def get_tensorboard(original, logger):
    """RecBole's, which writes a file, in the first process alone."""
    return original(logger) if rank_and_size()[0] == 0 else _Silent()


class _Silent:
    """A tensorboard that writes nothing."""

    def __getattr__(self, name):
        return lambda *args, **options: None


_LAST_SECONDS = 2


def run_recboles(rank, *args):
    """RecBole's entry point of a worker process; unpickling a reference to this one registers our models there.

    ``plugin.hooks`` keeps RecBole's own as ``__wrapped__``.
    """
    try:
        return run_recboles.__wrapped__(rank, *args)
    except Exception:
        # The others fail too, when this one is gone, and the error to be told is that of the first to end.
        time.sleep(_LAST_SECONDS)
        raise
