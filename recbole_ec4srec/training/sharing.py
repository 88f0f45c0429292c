"""One copy of the data for all processes of a machine (RecBole's ``--nproc``).

RecBole reads the files and splits the data in every process, so memory grows with their number (its issue 1578). Here
the first process of a machine does so and writes the arrays to a file, which all processes map into their memory: the
system keeps one copy, and what a process writes to is copied for this process alone.
"""

from __future__ import annotations

import mmap
import pickle
import shutil
import tempfile
from collections.abc import Callable, Sequence
from io import BytesIO
from logging import getLogger
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from recbole.config import Config
from recbole.data.dataloader import AbstractDataLoader
from recbole.data.dataset import Dataset

from recbole_ec4srec.model.collectives import of_all, rank_and_size

T = TypeVar("T")

#: Arrays below this size (bytes) are not worth a place of their own in the file.
_SMALL = 4096
_ALIGNMENT = 64
_ARRAYS, _REST = "arrays", "rest"


def create_dataset(original: Callable, config: Config) -> Dataset:
    """RecBole's function; of the processes of a machine the first reads the files. What ``save_dataset`` left has the
    settings of this training, not those that it was saved with.

    Raises:
        DataError: the data cannot be read.
    """

    def read() -> Dataset:
        dataset = original(config)
        dataset.config = config
        return dataset

    return of_machine(read, config)


def prepare(original: Callable, config: Config, dataset: Dataset) -> Sequence[AbstractDataLoader]:
    """RecBole's ``data_preparation``; of the processes of a machine the first splits the data.

    Raises:
        DataError: the data cannot be split.
    """
    if rank_and_size()[1] == 1:
        return original(config, dataset)

    def build():
        parts, state = dataset.build(), dict(vars(dataset))
        vars(dataset).clear()  # so that nothing but what is shared has it
        return state, parts

    state, parts = of_machine(build, config)
    vars(dataset).clear()
    vars(dataset).update(state, build=lambda: parts)
    try:
        return original(config, dataset)
    finally:
        del dataset.build


def of_machine(make: Callable[[], T], config: Config) -> T:
    """What ``make`` gives in the first process of this machine, in all of them, with one copy of its arrays.

    What cannot be pickled is made in every process.

    Args:
        make: is called in the first process of each machine.
        config: of this process; stands in what is made for that of the first.

    Raises:
        Exception: what ``make`` raised on any machine, in all processes.
    """
    if rank_and_size()[1] == 1:
        return make()
    first, made, folder, failure = config["local_rank"] == 0, None, None, None
    if first:
        try:
            made = make()
            folder = _write(made, config)
        except Exception as error:
            failure = error
        if folder is not None:
            made = None  # this process maps the arrays, too
    told = of_all((config["offset"], folder, failure))
    for *_, failed in told:
        if failed is not None:
            raise failed
    # The processes of a machine are started with the same offset.
    shared = next((path for offset, path, _ in told if path is not None and offset == config["offset"]), None)
    if shared is None:
        return make() if made is None else made
    try:
        return _map(Path(shared), config)
    finally:
        dist.barrier()
        if first:
            shutil.rmtree(shared, ignore_errors=True)


class _Pickler(pickle.Pickler):
    """Tensors are pickled as arrays, and the configuration is left to the process that reads."""

    config: Config

    def persistent_id(self, value: Any) -> str | None:
        return "config" if value is self.config else None

    def reducer_override(self, value: Any) -> Any:
        if type(value) is torch.Tensor and value.device.type == "cpu" and not value.requires_grad:
            try:
                return torch.from_numpy, (value.numpy(),)
            except TypeError:  # a type that numpy has not
                pass
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    config: Config

    def persistent_load(self, name: str) -> Config:
        return self.config


def _write(made: Any, config: Config) -> str | None:
    """Write to a new folder, and give its path; None for what cannot be pickled."""
    folder, rest, places = Path(tempfile.mkdtemp(prefix="recbole_ec4srec-")), BytesIO(), []
    try:
        with open(folder / _ARRAYS, "wb") as arrays:

            def place(buffer):
                content = buffer.raw()
                if content.nbytes < _SMALL:
                    return True  # stays among the rest
                arrays.write(bytes(-arrays.tell() % _ALIGNMENT))
                places.append((arrays.tell(), content.nbytes))
                arrays.write(content)
                return False

            pickler = _Pickler(rest, 5, buffer_callback=place)
            pickler.config = config
            pickler.dump(made)
        (folder / _REST).write_bytes(pickle.dumps(places) + rest.getbuffer())
    except BaseException as error:
        shutil.rmtree(folder)
        if not isinstance(error, (pickle.PicklingError, AttributeError, TypeError)):
            raise
        getLogger().warning(f"each process reads the data for itself, because it cannot be pickled: {error}")
        return None
    return str(folder)


def _map(folder: Path, config: Config) -> Any:
    """What was written to ``folder``; its arrays are in memory that is shared until it is written to."""
    with open(folder / _ARRAYS, "rb") as arrays, open(folder / _REST, "rb") as rest:
        places = pickle.load(rest)
        content = memoryview(mmap.mmap(arrays.fileno(), 0, access=mmap.ACCESS_COPY) if places else b"")
        unpickler = _Unpickler(rest, buffers=[content[start : start + size] for start, size in places])
        unpickler.config = config
        return unpickler.load()
