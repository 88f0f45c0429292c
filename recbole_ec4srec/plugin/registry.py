"""Makes our models known to RecBole by their names, and its Config know their settings.

RecBole 1.2 has no plugin mechanism: it finds models, trainers and data sets by name inside its own packages. So the
names are put where it looks, and the functions that decide by name or read settings ask us first
(:mod:`recbole_ec4srec.plugin.hooks` lists them). RecBole's models behave as before, except that errors in their
settings have our messages.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, Callable

import numpy as np
import recbole.data.dataset
import recbole.trainer
import yaml
from recbole.config import Config
from recbole.data.dataset import SequentialDataset
from recbole.utils import ModelType, get_model

from recbole_ec4srec import model
from recbole_ec4srec.config import keys, recbole_keys, variants
from recbole_ec4srec.config.properties import properties_dir
from recbole_ec4srec.config.rules import did_you_mean
from recbole_ec4srec.config.variants import ALIASES, canonical_name
from recbole_ec4srec.data import EC4SRecDataset, EC4SRecTrainDataLoader, identity
from recbole_ec4srec.data.dataloader import EC4SRecSequencesTrainDataLoader, SequencesTrainDataLoader
from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.model import EC4SRec
from recbole_ec4srec.model.collectives import rank_and_size
from recbole_ec4srec.plugin import compat
from recbole_ec4srec.training import distributed, resume
from recbole_ec4srec.training.sequences import learning_all_prefixes
from recbole_ec4srec.training.trainer import EC4SRecTrainer

#: What RecBole raises when it refuses a setting.
REFUSALS = (ValueError, TypeError, NotImplementedError, RuntimeError)


def is_ours(model_class: object) -> bool:
    """Whether a class is :class:`~recbole_ec4srec.EC4SRec` or derived from it."""
    return isinstance(model_class, type) and issubclass(model_class, EC4SRec)


def _is_in_recbole(name):
    """Whether RecBole itself has a model of this name."""
    try:
        return get_model(name).__module__.startswith("recbole.")
    except AttributeError:  # another spelling of one: RecBole looks for the module in lower case
        return True
    except (ValueError, ImportError):  # none; some need libraries that may be missing
        return False


def register_model(model_class: type, *spellings: str) -> None:
    """Let RecBole find ``model_class`` by its name, as it finds its own models.

    A class derived from :class:`~recbole_ec4srec.EC4SRec` also gets our data set and trainer.

    Raises:
        ValueError: RecBole has a model of that name.
    """
    for name in (model_class.__name__, *spellings):
        if _is_in_recbole(name):
            raise ValueError(f"RecBole has a model named {name} already; rename {model_class.__qualname__}")
        path = f"recbole.model.sequential_recommender.{name.lower()}"
        module = types.ModuleType(path, f"Stands in for a module of RecBole so that it finds {name}.")
        module.__spec__ = ModuleSpec(path, None)
        setattr(module, name, model_class)
        sys.modules[path] = module
        if is_ours(model_class):
            setattr(recbole.trainer, f"{name}Trainer", EC4SRecTrainer)
            setattr(recbole.data.dataset, f"{name}Dataset", EC4SRecDataset)


def name_of(model_class: type) -> str:
    """The name by which RecBole finds a model class; a class of the user's own is registered first.

    Raises:
        ValueError: RecBole has another model of that name.
    """
    if not model_class.__module__.startswith(("recbole.model.", "recbole_ec4srec.model.")):
        register_model(model_class)
    return model_class.__name__


def register_variants() -> None:
    """Let RecBole find the models of this package, under the paper's spellings too; safe to call twice."""
    for name in variants.VARIANTS:
        register_model(getattr(model, name), *(spelling for spelling, of in ALIASES.items() if of == name))


# --- Config: each wraps the method of the same name -------------------------------------------------------------------


def load_config_files(original: Callable, config: Config, files: list[str] | None) -> dict[str, Any]:
    """The settings of the property files; later files win.

    Raises:
        ConfigError: a file cannot be read, or is no YAML; it is named.
    """
    settings: dict[str, Any] = {}
    for file in files or []:
        try:
            settings.update(original(config, [file]))
        except (OSError, yaml.YAMLError, ValueError, TypeError) as error:
            raise ConfigError(
                f"config_files: got {file!r}, allowed is a YAML file of keys and values ({error})"
            ) from error
    return settings


def convert_config_dict(original: Callable, config: Config, given: dict[str, Any]) -> dict[str, Any]:
    """Settings whose texts are evaluated; a text stays a text if that fails in a way that RecBole does not expect.
    Numbers of numpy are Python's: settings are written to files, and random number generators take no others."""
    for key, value in given.items():
        if isinstance(value, np.generic):
            given[key] = value = value.item()
        with suppress(Exception):
            given[key] = original(config, {key: value})[key]
    return given


def set_default_parameters(original: Callable, config: Config) -> None:
    """RecBole refuses ``repeatable: False`` for sequential models; :mod:`recbole_ec4srec.data.seen` implements it.

    Raises:
        ConfigError: RecBole refuses another setting.
    """
    settings = config.final_config_dict
    repeatable = settings["repeatable"]
    settings["repeatable"] = repeatable or settings["MODEL_TYPE"] == ModelType.SEQUENTIAL
    try:
        in_our_words(*REFUSALS)(original, config)
    finally:
        settings["repeatable"] = repeatable


def in_our_words(*kinds: type[Exception]) -> Callable:
    """A wrapper that turns exceptions of these kinds, with which RecBole refuses something, into a ConfigError."""

    def wrapper(original, *args):
        try:
            return original(*args)
        except kinds as error:
            raise ConfigError(str(error)) from error

    return wrapper


def get_model_and_dataset(original: Callable, config: Config, model: Any, dataset: Any) -> tuple:
    """The name and class of the model and the name of the data set, with the paper's spellings understood.

    Raises:
        ConfigError: one of them is missing or unknown.
    """
    model = canonical_name(model or config.external_config_dict.get("model"))
    try:
        names = original(config, model, dataset)
    except KeyError as error:  # RecBole says which of the two is missing
        raise ConfigError(error.args[0]) from error
    except (ValueError, AttributeError, ModuleNotFoundError) as error:
        # RecBole looks for every unknown name in a package that needs libraries of its own, too.
        if isinstance(error, ModuleNotFoundError) and str(model).lower() in ("lightgbm", "xgboost"):
            raise
        hint = did_you_mean(str(model), (*variants.VARIANTS, *ALIASES, *recbole_models()))
        raise ConfigError(
            f"model: got {model!r}, allowed is a model of RecBole's or one of {', '.join(variants.VARIANTS)}{hint}"
        ) from error
    recbole_keys.validate_dataset(names[2])
    return names


def recbole_models() -> Iterator[str]:
    """The names of RecBole's models, in the order of its packages."""
    from recbole.model.abstract_recommender import AbstractRecommender

    for kind in ("general", "context_aware", "sequential", "knowledge_aware"):
        for name, value in vars(importlib.import_module(f"recbole.model.{kind}_recommender")).items():
            if isinstance(value, type) and issubclass(value, AbstractRecommender):
                yield name


def load_internal_config_dict(original: Callable, config: Config, model: str, model_class: type, dataset: str) -> None:
    """Add our property files of the model and of the data set to RecBole's, and those of the backbone."""
    original(config, model, model_class, dataset)
    ours, theirs = properties_dir(), Path(recbole.__file__).parent / "properties"
    internal = config.internal_config_dict

    def settings_in(file: Path) -> dict:
        with file.open(encoding="utf-8") as text:
            return yaml.load(text, Loader=config.yaml_loader) or {}

    if is_ours(model_class):
        # From EC4SRec down to the class itself: the file of a variant has only what differs from EC4SRec's.
        for cls in reversed([cls.__name__ for cls in model_class.__mro__ if is_ours(cls)]):
            if (ours / "model" / f"{cls}.yaml").is_file():
                internal.update(settings_in(ours / "model" / f"{cls}.yaml"))
        backbone = theirs / "model" / f"{config.external_config_dict.get('backbone', internal['backbone'])}.yaml"
        if backbone.is_file():
            internal.update({key: value for key, value in settings_in(backbone).items() if key not in keys.KEYS})
        config.parameters["EC4SRec"] = list(keys.KEYS)
    file = Path("dataset", f"{dataset}.yaml")
    if (ours / file).is_file() and (is_ours(model_class) or not (theirs / file).is_file()):
        internal.update(settings_in(ours / file))


def get_final_config_dict(original: Callable, config: Config) -> dict[str, Any]:
    """All settings, merged, with defaults that work, and checked.

    Raises:
        ConfigError: a key is unknown, a value is not allowed, or a combination cannot work.
    """
    final = original(config)
    given = config.external_config_dict
    compat.set_anomaly_detection(final)
    compat.default_negative_sampling(final, given)
    compat.read_the_order(final, given)
    packages = {cls.__module__.partition(".")[0] for cls in _readers(config.model_class, final)}
    known_classes = packages <= {"recbole", "recbole_ec4srec"}
    known = known_keys(config) | set(keys.KEYS)
    recbole_keys.refuse_unknown({**config.file_config_dict, **config.variable_config_dict}, known, known_classes)
    recbole_keys.warn_of_unknown(config.cmd_config_dict, known)
    keys.validate_common(final)
    model = config.model
    if is_ours(config.model_class):
        keys.validate(model, final)
        model = final["backbone"]
    input_type = getattr(config.model_class, "input_type", None)
    recbole_keys.validate(final, model, final["MODEL_TYPE"], input_type, known_classes)
    return final


def _readers(model_class, settings):
    """The classes that read settings: the model, and for our models the backbone and the explainer."""
    classes = [model_class]
    if is_ours(model_class):
        with suppress(ValueError, AttributeError, ImportError, TypeError):  # refused when it is built
            classes.append(get_model(settings["backbone"]))
        with suppress(TypeError):
            classes.append(keys.EXPLAINERS.get(settings["explainer"], model_class))
    return classes


def known_keys(config: Config) -> set[str]:
    """The keys that RecBole's and our property files have for a configuration."""
    return {key for keys in config.parameters.values() for key in keys} | set(config.internal_config_dict)


# --- loaders, trainers, checkpoints: each wraps the function or method of the same name -------------------------------


def init_sequential_dataset(original: Callable, dataset: SequentialDataset, config: Config) -> None:
    """With ``train_on: sequences`` the data set of RecBole's models is ours: the same rows, cut into windows."""
    if config["train_on"] == keys.SEQUENCES and type(dataset) is SequentialDataset:
        dataset.__class__ = EC4SRecDataset
    original(dataset, config)


def get_dataloader(original: Callable, config: Config, phase: str) -> Callable:
    """The class (or function) that makes the loader of a phase, ``train``, ``valid`` or ``test``."""
    ours, sequences = is_ours(config.model_class), config["train_on"] == keys.SEQUENCES
    if phase != "train" or not (ours or sequences):
        return original(config, phase)
    if sequences:
        return EC4SRecSequencesTrainDataLoader if ours else SequencesTrainDataLoader
    return EC4SRecTrainDataLoader


def fit(original: Callable, trainer: Any, train_data: Any, *args: Any, **options: Any) -> tuple:
    """RecBole's ``fit``; the model remembers the ids of the data that it is trained on."""
    identity.remember(trainer.model, train_data._dataset)
    of_recbole = isinstance(train_data, SequencesTrainDataLoader) and not isinstance(trainer.model, EC4SRec)
    with learning_all_prefixes(trainer.model) if of_recbole else nullcontext():
        return original(trainer, train_data, *args, **options)


def get_trainer(original: Callable, *args: Any) -> type:
    """The trainer's class, with resuming, and with the same metrics in all of several processes."""
    trainer = resume.resumable(original(*args))
    if rank_and_size()[1] == 1:
        return trainer
    return type(trainer.__name__, (distributed.Synchronised, trainer), {"__module__": trainer.__module__})


def get_data_struct(original: Callable, collector: Any) -> Any:
    """What metrics are computed from, of the users of all processes."""
    return distributed.of_all_users(compat.collected(original, collector))


def load_data_and_model(original: Callable, model_file: str) -> tuple:
    """RecBole's ``load_data_and_model``, of a checkpoint of which no code is run.

    Raises:
        DataError: the data set is not the one of the training.
    """
    return identity.load_data_and_model(compat.with_our_torch(original), model_file)
