"""Checkpoints are data, not code.

What RecBole's trainers save is written as tensors and plain values, which ``torch.load(file, weights_only=True)``
reads. Files that RecBole wrote without this package are pickles; an unpickler reads them that accepts only what RecBole
writes into one, and runs no code.
"""

from __future__ import annotations

import logging
import os
import pickle
import warnings
import zipfile
from contextlib import suppress
from enum import Enum
from typing import Any, Callable

import numpy as np
import torch
from scipy import sparse
from torch import nn

from recbole_ec4srec.storage import pickles

_FORMAT = "recbole_ec4srec checkpoint 1"
# The first element of a tuple that represents a value of another type.
_ENUM, _DEVICE, _ARRAY, _SPARSE = "recbole.utils.enum_type", "torch.device", "numpy", "scipy.sparse"


def save_checkpoint(state: dict, file: Any) -> None:
    """Write what RecBole's trainer saves; RecBole's ``Config`` in it becomes plain values.

    Args:
        state: that of the trainer, with RecBole's ``Config`` under ``config``.
        file: as for ``torch.save``.
    """
    plain = {**state, "format": _FORMAT, "config": _plain_config(state["config"])}
    if "best_valid_score" in state:  # numpy's number before the first validation
        plain["best_valid_score"] = float(state["best_valid_score"])
    torch.save(plain, file)


def load_checkpoint(file: Any, map_location: Any = None) -> Any:
    """Read a checkpoint of this package or of RecBole, running no code from it.

    Without a GPU, everything is read to the CPU; the checkpoint of several processes is read as that of one.

    Raises:
        pickle.UnpicklingError: the file, which is named, is not a complete checkpoint, or has more than one may have.
    """
    if map_location is None and not torch.cuda.is_available():
        map_location = "cpu"
    check_whole(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle protocol of RecBole's files, which are read below
            state = torch.load(file, map_location=map_location, weights_only=True)
    except FileNotFoundError:
        raise
    except Exception:  # RecBole's pickles and damaged files raise many exceptions, by the version of torch
        try:
            state = torch.load(file, map_location=map_location, pickle_module=pickles.READER, weights_only=False)
        except pickle.UnpicklingError:
            raise
        except Exception as error:
            raise pickle.UnpicklingError(f"{file} is not a checkpoint, or not a whole one ({error})") from error
    config = state.get("config") if isinstance(state, dict) else None
    if isinstance(config, pickles.StandIn) or (config is not None and state.get("format") == _FORMAT):
        state["config"] = _config(vars(config) if isinstance(config, pickles.StandIn) else config)
    return state


def check_whole(file: Any) -> None:
    """Compare a file that ``torch.save`` wrote with the checksums in it, which ``torch.load`` does not check.

    Raises:
        pickle.UnpicklingError: they differ.
    """
    if not isinstance(file, (str, os.PathLike)) or not zipfile.is_zipfile(file):  # old files have no checksums
        return
    damaged: object
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except zipfile.BadZipFile as error:
        damaged = error
    if damaged is not None:
        raise pickle.UnpicklingError(f"{file} is damaged, as its checksums tell ({damaged})")


def _plain_config(config):
    """The attributes of RecBole's Config as plain values; others are left out."""
    follow_from_the_rest = ("yaml_loader", "model_class")
    return {name: _plain(value, name) for name, value in vars(config).items() if name not in follow_from_the_rest}


def _plain(value, where):
    if isinstance(value, dict):
        parts = {key: _plain(part, key) for key, part in value.items()}
        return {key: part for key, part in parts.items() if part is not _LEFT_OUT}
    if isinstance(value, (list, tuple)):
        return type(value)(part for part in (_plain(part, where) for part in value) if part is not _LEFT_OUT)
    if isinstance(value, Enum):
        return (_ENUM, type(value).__name__, value.name)
    if isinstance(value, torch.device):
        return (_DEVICE, str(value))
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a number of numpy
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    logging.getLogger().warning(f"{where}: a {type(value).__name__} is not kept in checkpoints, only plain values are")
    return _LEFT_OUT


_LEFT_OUT = object()


def _config(attributes):
    """RecBole's Config from its attributes, or from what :func:`_plain_config` made of them."""
    from recbole.config import Config
    from recbole.utils import get_model

    config = Config.__new__(Config)
    vars(config).update({name: _restored(value) for name, value in attributes.items()})
    config.compatibility_settings()
    config.yaml_loader = config._build_yaml_loader()
    with suppress(ValueError, AttributeError, ImportError):  # a class of the user's own may be known by no name
        config.model_class = get_model(config.model)
    config.final_config_dict.update(single_spec=True, local_rank=0)
    if not torch.cuda.is_available():
        config.final_config_dict["device"] = torch.device("cpu")
    return config


def _restored(value):
    """A value from what :func:`_plain` or :func:`_plain_parameter` made of it."""
    from recbole.utils import enum_type

    mark = value[0] if isinstance(value, tuple) and value and isinstance(value[0], str) else None
    if mark == _ENUM:
        return getattr(enum_type, value[1])[value[2]]
    if mark == _DEVICE:
        return torch.device(value[1])
    if mark == _ARRAY:
        return value[2].cpu().numpy().view(np.matrix if value[1] else np.ndarray)
    if mark == _SPARSE:
        _, is_matrix, form, shape, *parts = value
        rows = (sparse.csr_matrix if is_matrix else sparse.csr_array)(
            tuple(part.cpu().numpy() for part in parts), shape=shape
        )
        rows.check_format(full_check=True)  # scipy would read any memory that the indices in a file point to
        return rows.asformat(form)
    if isinstance(value, dict):
        return {key: _restored(part) for key, part in value.items()}
    return type(value)(map(_restored, value)) if type(value) in (list, tuple) else value


# --- what a model keeps beside its weights ----------------------------------------------------------------------------


def other_parameter(original: Callable, model: nn.Module) -> dict:
    """RecBole's ``other_parameter`` of a model, as tensors and plain values.

    Modules are left out: their weights are among those of the model, and the rest, such as the whole data set, is made
    when the model is built. Anything else that is neither plain nor an array is unchanged, and refused by name when the
    file is read.
    """
    return _plain_parameter(original(model))


def load_other_parameter(original: Callable, model: nn.Module, values: dict | None) -> None:
    """RecBole's ``load_other_parameter``, of the values of :func:`other_parameter` or of RecBole's own function."""
    original(model, _restored(values))


def _plain_parameter(value):
    if isinstance(value, dict):
        return {key: _plain_parameter(part) for key, part in value.items() if not isinstance(part, nn.Module)}
    if type(value) in (list, tuple):
        return type(value)(map(_plain_parameter, value))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "bif":
        return (_ARRAY, type(value) is np.matrix, torch.from_numpy(np.ascontiguousarray(value)))
    if sparse.issparse(value):
        rows = value.tocsr()
        parts = (torch.from_numpy(part) for part in (rows.data, rows.indices, rows.indptr))
        return (_SPARSE, isinstance(value, sparse.spmatrix), value.format, tuple(map(int, value.shape)), *parts)
    return value
