"""RecBole's loaders: what they keep, and that those of ``save_dataloaders`` are complete and of the same data."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from logging import getLogger
from typing import Any

from recbole.config import Config
from recbole.data.dataloader import AbstractDataLoader
from recbole.data.dataset import Dataset
from torch.utils.data.distributed import DistributedSampler

from recbole_ec4srec.config.keys import SEQUENCES
from recbole_ec4srec.data.dataloader import SequencesTrainDataLoader
from recbole_ec4srec.errors import DataError
from recbole_ec4srec.model.collectives import rank_and_size
from recbole_ec4srec.storage.settings import differences
from recbole_ec4srec.training import sharing


def init_dataloader(
    original: Callable,
    loader: AbstractDataLoader,
    config: Config,
    dataset: Dataset,
    sampler: Any,
    shuffle: bool = False,
) -> None:
    """RecBole's ``AbstractDataLoader.__init__``, which keeps the numbers of all instances as one list, or two (36 bytes
    each); they are ranges here."""
    original(loader, config, dataset, sampler, shuffle)
    for owner, name in ((loader, "dataset"), (loader.sampler, "dataset"), (loader.sampler, "data_source")):
        if isinstance(vars(owner).get(name), list):
            vars(owner)[name] = range(loader.sample_size)


def save_split_dataloaders(original: Callable, config: Config, dataloaders: Sequence[AbstractDataLoader]) -> None:
    """RecBole's function; does nothing in several processes, of which each has loaders for a part of the data only."""
    if rank_and_size()[1] > 1:
        getLogger().warning("save_dataloaders: not done where several processes share the data")
        return
    generators = [loader.generator for loader in dataloaders]
    original(config, dataloaders)  # removes the generators from the loaders, which this training still needs
    for loader, generator in zip(dataloaders, generators):
        loader.generator = loader.sampler.generator = generator


def load_split_dataloaders(original: Callable, config: Config) -> Sequence[AbstractDataLoader] | None:
    """RecBole's function; None, so that loaders are made, in several processes, or if one of several saved these."""
    saved = None if rank_and_size()[1] > 1 else original(config)
    if saved and any(isinstance(loader.sampler, DistributedSampler) for loader in saved):
        getLogger().warning("saved dataloaders are not used: they are those of one of several processes")
        return None
    if saved and isinstance(saved[0], SequencesTrainDataLoader) != (config["train_on"] == SEQUENCES):
        getLogger().warning("saved dataloaders are not used: they are of another train_on")
        return None
    return saved


def data_preparation(original: Callable, config: Config, dataset: Dataset) -> Sequence[AbstractDataLoader]:
    """RecBole's function: the training, validation and test loader.

    Raises:
        DataError: saved loaders are of other data, or a saved data set is of a version that rounded the times.
    """
    if not hasattr(dataset, "fingerprint"):
        raise DataError(
            f"dataset: {dataset.dataset_name} was saved by RecBole alone or an earlier version of this package, with "
            "its times rounded; remove the file that save_dataset left, or set dataset_save_path"
        )
    loaders = sharing.prepare(original, config, dataset)
    saved = getattr(loaders[0]._dataset, "fingerprint", None)
    differing = differences(saved, dataset.fingerprint) if saved else "an earlier version of this package wrote it"
    if differing:
        name = f"{config['dataset']}-for-{config['model']}-dataloader.pth"
        file = config["dataloaders_save_path"] or os.path.join(config["checkpoint_dir"], name)
        raise DataError(f"{file} holds loaders of other data than {dataset.dataset_path}: {differing}; remove it")
    return loaders
