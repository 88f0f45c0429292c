"""From a configuration to data, model and trainer, as RecBole's quick start builds them."""

from __future__ import annotations

from typing import NamedTuple

from recbole.config import Config
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.dataset import Dataset
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.quick_start import quick_start  # its names, of which some are wrapped, are looked up at each call
from recbole.trainer import Trainer

from recbole_ec4srec.data.seen import tell_histories
from recbole_ec4srec.training.protocols import judged


class Built(NamedTuple):
    """What a training consists of; ``dataset`` is the whole data set, before it is split."""

    dataset: Dataset
    train_data: AbstractDataLoader
    valid_data: AbstractDataLoader
    test_data: AbstractDataLoader
    model: AbstractRecommender
    trainer: Trainer


def build(config: Config, under_both: bool = False) -> Built:
    """Seed the random numbers, read and split the data, and make the model and its trainer.

    Args:
        under_both: judge the training under both protocols (:class:`~recbole_ec4srec.training.protocols.Judged`).

    Raises:
        DataError: the data cannot be trained on.
    """
    quick_start.init_seed(config["seed"], config["reproducibility"])
    dataset = quick_start.create_dataset(config)
    if under_both:
        tell_histories(dataset)
    train_data, valid_data, test_data = quick_start.data_preparation(config, dataset)
    quick_start.init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    model = build_model(config, train_data._dataset)
    trainer_class = quick_start.get_trainer(config["MODEL_TYPE"], config["model"])
    trainer = (judged(trainer_class) if under_both else trainer_class)(config, model)
    return Built(dataset, train_data, valid_data, test_data, model, trainer)


def build_model(config: Config, dataset: Dataset) -> AbstractRecommender:
    """The model with new weights, on the device of the configuration; ``dataset`` has the training instances."""
    return quick_start.get_model(config["model"])(config, dataset).to(config["device"])
