"""Several processes (RecBole's ``--nproc``) that compute what one does.

Instances are divided among the processes, and ``DistributedDataParallel`` averages the gradients of their losses. What
is no average over instances (contrastive losses, importance and metrics) is computed from the data of all.
"""

from __future__ import annotations

import inspect
import logging
import os
import re
import socket
import stat
import time
import weakref
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psutil
import torch
import torch.distributed as dist
from recbole.config import Config
from recbole.data.dataloader import AbstractDataLoader
from recbole.evaluator.collector import DataStruct
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import init_seed
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from recbole_ec4srec.config.recbole_keys import GENERAL
from recbole_ec4srec.config.rules import check, refuse
from recbole_ec4srec.data.identity import check_same
from recbole_ec4srec.errors import ConfigError, ProcessLost
from recbole_ec4srec.model.collectives import of_all, of_first, rank_and_size
from recbole_ec4srec.storage.checkpoint import load_checkpoint
from recbole_ec4srec.storage.settings import plain_settings

if TYPE_CHECKING:
    from recbole.trainer import Trainer
else:  # it is also mixed into trainers that are not derived from RecBole's Trainer
    Trainer = object


class Synchronised(Trainer):
    """Mixed into a trainer of RecBole's: its metrics are of all users, each counted once, and every process tests the
    best model, which the first process alone saves and loads: others may be on another machine."""

    saved_model_file: str

    def __init__(self, config: Config, model: AbstractRecommender):
        refuse_others(of_all({key: value for key, value in plain_settings(config).items() if key not in _OF_THE_FIRST}))
        super().__init__(config, model)
        self.saved_model_file = of_first(lambda: self.saved_model_file)  # it contains the time
        # RecBole's seeds differ within a machine only.
        init_seed(config["seed"] + rank_and_size()[0], config["reproducibility"])

    def fit(self, train_data: AbstractDataLoader, *args: Any, **options: Any) -> tuple[float, dict]:
        """The trainer's ``fit``; ends when the best model is written.

        Raises:
            DataError: the processes, perhaps on several machines, have other data.
        """
        dataset = train_data._dataset
        for rank, fingerprint in enumerate(of_all(dataset.fingerprint)):
            check_same(f"what process {rank} has read", {"fingerprint": fingerprint}, dataset)
        result = super().fit(train_data, *args, **options)
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


#: Settings that are others in the first process, which alone shows and saves.
_OF_THE_FIRST = ("show_progress", "verbose", "log_wandb", "log_mlflow", "save_dataset", "save_dataloaders")


def refuse_others(settings: list[dict]) -> None:
    """Refuse processes that were started with other settings than the first, perhaps on other machines.

    Args:
        settings: of each process, by its rank.

    Raises:
        ConfigError: a setting differs.
    """
    first = settings[0]
    for rank, own in enumerate(settings):
        for key in {**first, **own}:
            if own.get(key) != first.get(key):
                raise ConfigError(
                    f"{key}: got {own.get(key)!r} in process {rank}, allowed is {first.get(key)!r}, as in process 0"
                )


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


def is_first() -> bool:
    """Whether this is the first of the processes that ``torchrun`` has started, or none of them."""
    process = started()
    return not process or process["offset"] + process["local_rank"] == 0


def run(
    original: Callable,
    model: str,
    dataset: str,
    config_file_list: list[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    saved: bool = True,
    nproc: int = 1,
    world_size: int = -1,
    ip: str = "localhost",
    port: int | str = "5678",
    group_offset: int = 0,
) -> dict[str, Any]:
    """RecBole's ``run``, which starts processes; not those that have been started.

    Raises:
        ConfigError: the numbers cannot be, or are not those of the processes that have been started.
    """
    check("nproc", nproc, GENERAL["nproc"])
    check("group_offset", group_offset, GENERAL["offset"])
    check("port", port, GENERAL["port"])
    if world_size != -1 and world_size < nproc + group_offset:
        refuse("world_size", world_size, f"at least nproc: {nproc} and group_offset: {group_offset} together, or -1")
    if process := started():
        for name, asked in (("nproc", nproc), ("world_size", world_size)):
            if asked not in (1, -1, process[name]):
                raise ConfigError(f"{name}: got {asked}, allowed is {process[name]}, as many as torchrun has started")
        nproc, world_size = 1, -1
    return original(model, dataset, config_file_list, config_dict, saved, nproc, world_size, ip, port, group_offset)


# --- RecBole's functions that support GPUs only, or write files -------------------------------------------------------


def init_device(original: Callable, config: Config) -> None:
    """RecBole's ``Config._init_device``, which joins the group of processes, by ``ddp_backend``; also that of processes
    that ``torchrun`` has started.

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
    final["local_rank"], count, on_gpus = rank, final["nproc"], final["device"].type == "cuda"
    if on_gpus:
        if len(final["gpu_id"].split(",")) < count:
            raise ConfigError(
                f"gpu_id: got {final['gpu_id']!r}, allowed is a GPU for each of nproc: {count}, or ddp_backend: gloo"
            )
        final["device"] = torch.device("cuda", rank)
        torch.cuda.set_device(rank)
    elif backend == "nccl":
        raise ConfigError("ddp_backend: got 'nccl', allowed is gloo without a GPU")
    else:
        torch.set_num_threads(max(1, torch.get_num_threads() // count))
    _join(final, rank + final["offset"], "nccl" if on_gpus else "gloo")
    final["single_spec"] = False
    if rank > 0:
        final.update(dict.fromkeys(_OF_THE_FIRST, False), state="error")


# The group is kept after RecBole has destroyed it. If the trainer, which goes next, held the last reference, it would
# wait, with Python locked, for a thread of the group that may need Python for its last tensor: a run would never end.
_joined: list = []


def _join(final: dict, rank: int, backend: str) -> None:
    """Join the group of processes; NCCL would wait for one that reads the data for no more than 10 minutes.

    Raises:
        ConfigError: they do not meet at ``ip`` and ``port``.
    """
    address, size = f"{final['ip']}:{final['port']}", final["world_size"]
    try:
        if size > final["nproc"] and (device := _device_towards(final["ip"])):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", device)  # otherwise that of the machine's name, perhaps lo
        before = _connections()
        store, *_ = next(dist.rendezvous(f"tcp://{address}", rank, size, timeout=_PATIENCE))
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT")
        if attempt and size == final["nproc"]:  # on one machine torchrun keeps its store for the next attempt
            store = dist.PrefixStore(f"attempt {attempt}", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    except (RuntimeError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"ip, port: got {address}, allowed is where the first of {size} processes waits for the others ({reason})"
        ) from None
    _joined[:] = [dist.group.WORLD]
    for connection in _connections() - before:
        _end_when_cut(connection)


#: How long processes wait for each other: to start, to read the data, to write a state.
_PATIENCE = timedelta(minutes=30)
#: After how many seconds of silence a connection is tested, how often then, and when it ends.
_SILENT, _AGAIN, _CUT = 5, 5, 20


def _device_towards(address: str) -> str | None:
    """The network device by which this machine reaches an address."""
    family, kind, _, _, target = socket.getaddrinfo(address, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(target)  # sends nothing
        own = probe.getsockname()[0]
    devices = psutil.net_if_addrs().items()
    return next((name for name, addresses in devices if any(own == each.address for each in addresses)), None)


def _connections() -> set[int]:
    """The file descriptors of this process's sockets."""
    return {int(name) for name in os.listdir("/dev/fd") if _is_socket(int(name))}


def _is_socket(descriptor: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:  # closed: that of the folder itself
        return False


def _end_when_cut(descriptor: int) -> None:
    """Let the system end a connection whose other side is silent because its machine or the network is gone.

    A process that waits for another one could not tell this from one that is slow, so it would wait for
    :data:`_PATIENCE`.
    """
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        if connection.type != socket.SOCK_STREAM or connection.family not in (socket.AF_INET, socket.AF_INET6):
            return
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        times = {"TCP_KEEPIDLE": _SILENT, "TCP_KEEPINTVL": _AGAIN, "TCP_KEEPCNT": (_CUT - _SILENT) // _AGAIN}
        for name, value in {**times, "TCP_USER_TIMEOUT": 1000 * _CUT}.items():
            if hasattr(socket, name):  # they differ by system
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


#: How gloo tells that a connection has ended: what it did, with whom, and in some versions why.
_LOST = re.compile(r"gloo/transport/\S+\] (.*?) \[([\w.:]+)\]:\d+(?:: ([\w ]+))?")


def lost(error: Exception) -> ProcessLost | None:
    """In our words, an error that a connection between processes has ended; None for others."""
    told = _LOST.search(str(error))
    if told is None:
        return None
    did, address, why = told.groups()
    return ProcessLost(
        f"the connection to the process on {address} has ended ({why or did}): that process has failed and tells why, "
        "or its machine or the network is down"
    )


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
    """RecBole's, which writes a file, in the first process only; in others one that writes nothing.

    RecBole never closes it, so each training would leave a thread and an open file.
    """
    if rank_and_size()[0] > 0:
        return _Silent()
    writer = original(logger)
    for file in writer.all_writers.values():
        weakref.finalize(writer, file.close)
    return writer


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
    except Exception as error:
        # The error of the first process that ends is printed. If this one failed because another is about to end, that
        # one has to be the first.
        time.sleep(2)
        if reason := lost(error):
            raise reason from error
        raise
