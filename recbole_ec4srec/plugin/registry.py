"""Makes our models known to RecBole by their names, and its Config know their settings.

RecBole 1.2 has no plugin mechanism: it finds models, trainers and data sets by name inside its own packages. So the
names are put where it looks, and the functions that decide by name or read settings ask us first (which functions,
:mod:`recbole_ec4srec.plugin.hooks` tells). Other models pass through unchanged; of a setting that cannot be read they
tell in our words.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import types
from contextlib import suppress
from importlib.machinery import ModuleSpec

import recbole.data.dataset
import recbole.trainer
import yaml
from recbole.utils import ModelType, get_model

from recbole_ec4srec import model
from recbole_ec4srec.config import keys, recbole_keys, variants
from recbole_ec4srec.config.properties import properties_dir
from recbole_ec4srec.config.variants import ALIASES, canonical_name
from recbole_ec4srec.data import EC4SRecDataset, EC4SRecTrainDataLoader, identity
from recbole_ec4srec.data.dataloader import EC4SRecSequencesTrainDataLoader, SequencesTrainDataLoader
from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.model import EC4SRec
from recbole_ec4srec.model.collectives import rank_and_size
from recbole_ec4srec.plugin import compat
from recbole_ec4srec.training import distributed, resume
from recbole_ec4srec.training.sequences import learn_all_prefixes
from recbole_ec4srec.training.trainer import EC4SRecTrainer

REFUSALS = (ValueError, TypeError, NotImplementedError, RuntimeError)


def is_ours(model_class) -> bool:
    return isinstance(model_class, type) and issubclass(model_class, EC4SRec)


def _is_recboles(name: str) -> bool:
    """Whether RecBole itself has a model of this name."""
    try:
        return get_model(name).__module__.startswith("recbole.")
    except AttributeError:  # one of another spelling: RecBole looks for it in lower case
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
        if _is_recboles(name):
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
    """The name by which RecBole finds a model class; a class of the user's own is registered first."""
    name = model_class.__name__
    if not model_class.__module__.startswith(("recbole.model.", "recbole_ec4srec.model.")):
        register_model(model_class)
    return name


def load_config_files(original, self, files):
    found = {}
    for file in files or []:
        try:
            found.update(original(self, [file]))
        except (OSError, yaml.YAMLError, ValueError, TypeError) as error:
            raise ConfigError(
                f"config_files: got {file!r}, allowed is a YAML file of keys and values ({error})"
            ) from error
    return found


def convert_config_dict(original, self, given):
    for key, value in given.items():
        with suppress(Exception):  # RecBole evaluates a text; one that fails in a way that it does not expect stays one
            given[key] = original(self, {key: value})[key]
    return given


def set_default_parameters(original, self):
    """RecBole refuses ``repeatable: False`` of sequential models, which :mod:`recbole_ec4srec.data.seen` gives a
    meaning."""
    settings = self.final_config_dict
    repeatable = settings["repeatable"]
    settings["repeatable"] = repeatable or settings["MODEL_TYPE"] == ModelType.SEQUENTIAL
    try:
        in_our_words(*REFUSALS)(original, self)
    finally:
        settings["repeatable"] = repeatable


def in_our_words(*kinds):
    """A wrapper that makes what RecBole refuses in words a ConfigError."""

    def wrapper(original, *args):
        try:
            return original(*args)
        except kinds as error:
            raise ConfigError(str(error)) from error

    return wrapper


def get_model_and_dataset(original, self, model, dataset):
    model = canonical_name(model or self.external_config_dict.get("model"))
    try:
        found = original(self, model, dataset)
    except KeyError as error:  # RecBole says which of the two is missing
        raise ConfigError(error.args[0]) from error
    except (ValueError, AttributeError, ModuleNotFoundError) as error:
        # RecBole looks for every unknown name in a package that needs libraries of its own, too.
        if isinstance(error, ModuleNotFoundError) and str(model).lower() in ("lightgbm", "xgboost"):
            raise
        names = {name.lower(): name for name in (*variants.VARIANTS, *ALIASES, *_recboles_models())}
        close = difflib.get_close_matches(str(model).lower(), names, n=1)
        hint = f"; did you mean {names[close[0]]}?" if close else ""
        raise ConfigError(
            f"model: got {model!r}, allowed is a model of RecBole's or one of {', '.join(variants.VARIANTS)}{hint}"
        ) from error
    recbole_keys.validate_dataset(found[2])
    return found


def _recboles_models():
    """The names of RecBole's models, by the packages that they can be imported from."""
    from recbole.model.abstract_recommender import AbstractRecommender

    for kind in ("general", "context_aware", "sequential", "knowledge_aware"):
        for name, found in vars(importlib.import_module(f"recbole.model.{kind}_recommender")).items():
            if isinstance(found, type) and issubclass(found, AbstractRecommender):
                yield name


def _read(self, path) -> dict:
    with open(path, encoding="utf-8") as file:
        return yaml.load(file, Loader=self.yaml_loader) or {}


def load_internal_config_dict(original, self, model, model_class, dataset):
    original(self, model, model_class, dataset)
    ours, theirs = properties_dir(), os.path.join(os.path.dirname(recbole.__file__), "properties")
    internal = self.internal_config_dict
    if is_ours(model_class):
        # From EC4SRec down to the class itself: a preset's file holds only what differs from EC4SRec's.
        for cls in reversed([cls.__name__ for cls in model_class.__mro__ if is_ours(cls)]):
            if (ours / "model" / f"{cls}.yaml").is_file():
                internal.update(_read(self, ours / "model" / f"{cls}.yaml"))
        backbone = self.external_config_dict.get("backbone", internal["backbone"])
        settings = os.path.join(theirs, "model", f"{backbone}.yaml")
        if os.path.isfile(settings):
            internal.update({key: value for key, value in _read(self, settings).items() if key not in keys.KEYS})
        self.parameters["EC4SRec"] = list(keys.KEYS)
    unknown_to_recbole = not os.path.isfile(os.path.join(theirs, "dataset", f"{dataset}.yaml"))
    settings = ours / "dataset" / f"{dataset}.yaml"
    if settings.is_file() and (unknown_to_recbole or is_ours(model_class)):
        internal.update(_read(self, settings))


def get_final_config_dict(original, self):
    final = original(self)
    given = self.external_config_dict
    compat.set_anomaly_detection(final)
    compat.default_negative_sampling(final, given)
    compat.read_the_order(final, given)
    packages = {cls.__module__.partition(".")[0] for cls in _readers(self.model_class, final)}
    theirs_or_ours = packages <= {"recbole", "recbole_ec4srec"}
    known = known_keys(self) | set(keys.KEYS)
    recbole_keys.refuse_unknown({**self.file_config_dict, **self.variable_config_dict}, known, theirs_or_ours)
    recbole_keys.tell_unknown(self.cmd_config_dict, known)
    keys.validate_common(final)
    model = self.model
    if final.get("train_on") == keys.SEQUENCES and not is_ours(self.model_class):
        setattr(recbole.data.dataset, f"{model}Dataset", EC4SRecDataset)  # the same rows as RecBole's
    if is_ours(self.model_class):
        keys.validate(model, final)
        model = final["backbone"]
    input_type = getattr(self.model_class, "input_type", None)
    recbole_keys.validate(final, model, final["MODEL_TYPE"], input_type, theirs_or_ours)
    return final


def _readers(model_class, settings) -> list:
    """The classes that read settings: the model, and of ours the backbone and the explainer."""
    found = [model_class]
    if is_ours(model_class):
        with suppress(ValueError, AttributeError, ImportError, TypeError):  # refused when it is built
            found.append(get_model(settings["backbone"]))
        with suppress(TypeError):
            found.append(keys.EXPLAINERS.get(settings["explainer"], model_class))
    return found


def known_keys(config) -> set:
    """The keys that RecBole's and our property files have for a configuration."""
    return {key for keys in config.parameters.values() for key in keys} | set(config.internal_config_dict)


def get_dataloader(original, settings, phase):
    ours, sequences = is_ours(settings.model_class), settings["train_on"] == keys.SEQUENCES
    if phase != "train" or not (ours or sequences):
        return original(settings, phase)
    if sequences:
        return EC4SRecSequencesTrainDataLoader if ours else SequencesTrainDataLoader
    return EC4SRecTrainDataLoader


def fit(original, trainer, train_data, *args, **options):
    identity.remember(trainer.model, train_data._dataset)
    if isinstance(train_data, SequencesTrainDataLoader) and not isinstance(trainer.model, EC4SRec):
        learn_all_prefixes(trainer.model)
    return original(trainer, train_data, *args, **options)


def get_trainer(original, *args):
    trainer = resume.resumable(original(*args))
    if rank_and_size()[1] == 1:
        return trainer
    return type(trainer.__name__, (distributed.Synchronised, trainer), {"__module__": trainer.__module__})


def load_data_and_model(original, model_file):
    return identity.load_data_and_model(compat.with_our_torch(original), model_file)


def register_variants() -> None:
    """Let RecBole find the models of this package, under the paper's spellings too; safe to call twice."""
    spellings = {name: spelling for spelling, name in ALIASES.items()}
    for name in variants.VARIANTS:
        register_model(getattr(model, name), *([spellings[name]] if name in spellings else []))
