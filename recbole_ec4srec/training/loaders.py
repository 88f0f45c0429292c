"""The loaders that RecBole's ``save_dataloaders`` leaves for later runs: whole ones, of the data that is there."""

from __future__ import annotations

import os
from logging import getLogger

from torch.utils.data.distributed import DistributedSampler

from recbole_ec4srec.errors import DataError
from recbole_ec4srec.model.collectives import rank_and_size
from recbole_ec4srec.storage.settings import differences


def save_split_dataloaders(original, config, dataloaders) -> None:
    """RecBole's function. Of several processes each has loaders for a share of the data, which nobody else can use."""
    if rank_and_size()[1] > 1:
        getLogger().warning("save_dataloaders: not done where several processes share the data")
        return
    generators = [loader.generator for loader in dataloaders]
    original(config, dataloaders)  # takes the generators out of the loaders, which this training goes on with
    for loader, generator in zip(dataloaders, generators):
        loader.generator = loader.sampler.generator = generator


def load_split_dataloaders(original, config):
    """RecBole's function; None, for loaders to be made anew, where what is saved is a share of the data or would be
    shared."""
    found = None if rank_and_size()[1] > 1 else original(config)
    if found and any(isinstance(loader.sampler, DistributedSampler) for loader in found):
        getLogger().warning("saved dataloaders are left aside: they are those of one of several processes")
        return None
    return found


def data_preparation(original, config, dataset):
    """RecBole's function.

    Raises:
        DataError: the saved loaders are of other data, or a saved data set is older than this package's order of time.
    """
    if not hasattr(dataset, "fingerprint"):
        raise DataError(
            f"dataset: {dataset.dataset_name} was saved by RecBole alone or an earlier version of this package, with "
            "its times rounded; remove the file that save_dataset left, or set dataset_save_path"
        )
    loaders = original(config, dataset)
    saved = getattr(loaders[0]._dataset, "fingerprint", None)
    told = differences(saved, dataset.fingerprint) if saved else "an earlier version of this package wrote it"
    if told:
        name = f"{config['dataset']}-for-{config['model']}-dataloader.pth"
        file = config["dataloaders_save_path"] or os.path.join(config["checkpoint_dir"], name)
        raise DataError(f"{file} holds loaders of other data than {dataset.dataset_path}: {told}; remove it")
    return loaders
