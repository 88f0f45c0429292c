"""RecBole 1.2 on current libraries: every workaround, each with its symptom and when it can go.

The pins in ``setup.cfg`` avoid what they can; this module has the rest. :mod:`recbole_ec4srec.plugin.hooks` lists which
functions of RecBole are wrapped; :func:`apply` does what has to be done before RecBole is imported, and outside it.
"""

from __future__ import annotations

import builtins
import importlib
import inspect
import logging
import os
import secrets
import sys
import types
import warnings
from typing import Any, Callable

import numpy as np
import torch
from scipy.sparse import dok_matrix

from recbole_ec4srec.storage.checkpoint import load_checkpoint, save_checkpoint


class _TorchOfRecBole(types.ModuleType):
    """``torch`` for those modules of RecBole that read or write checkpoints; for all others it is unchanged.

    Symptom: with torch >= 2.6 evaluating the best checkpoint ends in "Weights only load failed", since RecBole
    pickles its Config; before 2.6 any pickle in the file is run. Can go when RecBole stores plain values.
    """

    def __getattr__(self, name):
        return getattr(torch, name)

    @staticmethod
    def load(file: Any, map_location: Any = None, **options: Any) -> Any:
        """``torch.load``; without options a checkpoint, of which no code is run."""
        return torch.load(file, map_location, **options) if options else load_checkpoint(file, map_location)

    @staticmethod
    def save(state: Any, file: Any, **options: Any) -> None:
        """``torch.save``; a trainer's state becomes plain values."""
        if isinstance(state, dict) and "config" in state:
            save_checkpoint(state, file)  # without RecBole's pickle protocol, 4, which is not for plain values
        else:
            torch.save(state, file, **options)


TORCH = _TorchOfRecBole("torch", torch.__doc__)


class _TuneOfRecBole(types.ModuleType):
    """``ray.tune`` for RecBole's quick start, which has no use for it but to report to a search by Ray.

    Symptom: ``import recbole.quick_start`` ends in "No module named 'ray'" where Ray is not installed, and in "module
    'numpy' has no attribute 'bool8'" with the version that RecBole 1.2.1 asks for and numpy 2; where it can be
    imported, that takes a second or two. Can go when RecBole imports Ray where it reports.
    """

    def __getattr__(self, name):
        try:
            return getattr(importlib.import_module("ray.tune"), name)
        except ImportError as error:
            raise ImportError(f"ray.tune.{name}: {error}; pip install 'recbole_ec4srec[tune]'") from None

    @staticmethod
    def report(**metrics: Any) -> None:
        """The metrics of a trial, to Ray where it has been imported: a process of Ray's has."""
        tune = sys.modules.get("ray.tune")
        if tune is None:
            return
        kinds = {parameter.kind for parameter in inspect.signature(tune.report).parameters.values()}
        if inspect.Parameter.VAR_KEYWORD in kinds:
            tune.report(**metrics)
        else:  # in later versions than RecBole knows
            tune.report(metrics)


def _import_quick_start_without_ray() -> None:
    """RecBole's quick start with :class:`_TuneOfRecBole` in the place of ``ray.tune``."""
    ray = types.ModuleType("ray")
    ray.tune = _TuneOfRecBole("ray.tune")  # type: ignore[attr-defined]
    loaded: dict[str, types.ModuleType] = {}
    for name in ("ray", "ray.tune"):
        if name in sys.modules:
            loaded[name] = sys.modules.pop(name)
    sys.modules["ray"] = ray
    try:
        import recbole.quick_start  # noqa: F401
    finally:
        del sys.modules["ray"]
        sys.modules.update(loaded)


def with_our_torch(function: Callable) -> Callable:
    """A function of RecBole that imports torch in its body, with an ``import`` that gives it :data:`TORCH`."""

    def import_(name, *args, **options):
        module = __import__(name, *args, **options)
        return TORCH if module is torch else module

    names = {**function.__globals__, "__builtins__": {**vars(builtins), "__import__": import_}}
    return types.FunctionType(function.__code__, names, function.__name__)


def ensure_dir(original: Callable, dir_path: str) -> None:
    """Make a folder that may exist.

    Symptom: of two trainings that start at once in a new folder one ends in "File exists: 'saved'", since RecBole
    looks first and makes the folder afterwards. Can go when ``ensure_dir`` passes ``exist_ok``.
    """
    os.makedirs(dir_path, exist_ok=True)


def get_local_time(original: Callable[[], str]) -> str:
    """RecBole's text of the time, with a random end.

    Symptom: two trainings that start in the same second write the same file of the best model (and the same log), and
    the one that ends first is tested with the other's weights, since RecBole names files by the second. Can go when
    names of files have more in them than ``get_local_time``.
    """
    return f"{original()}-{secrets.token_hex(4)}"  # not from the seeded random numbers


def _give_numpy_and_scipy_their_former_names() -> None:
    """Symptoms: with numpy 2 making a Config ends in "module 'numpy' has no attribute 'float_'"; with scipy >= 1.13
    LightGCN, NGCF and other graph models end in "'dok_matrix' object has no attribute '_update'". Can go when RecBole
    uses the present names.
    """
    present = {"complex_": np.complex128, "float_": np.float64, "unicode_": np.str_}
    for name, value in present.items():
        if name not in vars(np):
            setattr(np, name, value)
    if not hasattr(dok_matrix, "_update"):
        dok_matrix._update = lambda self, entries: self._dict.update(entries)


def _quieten_known_warnings() -> None:
    """Symptom: pages of warnings before the first line of a log, and a stack of calls after each trial of a search
    ("Session not detected", for RecBole reports to Ray without being asked). Can go with RecBole's pins on ray and
    pandas.
    """
    # Not by its level, which is reset when ray is imported.
    logging.getLogger("ray.tune.trainable.session").addFilter(lambda record: record.levelno > logging.WARNING)
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
    warnings.filterwarnings("ignore", message=".*pkg_resources.declare_namespace", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")
    warnings.filterwarnings("ignore", message=".*torch.cuda.amp.GradScaler", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*GradScaler is enabled, but CUDA is not", category=UserWarning)


def set_anomaly_detection(config: dict) -> None:
    """Autograd's anomaly detection is on with ``detect_anomaly: True``, and off otherwise.

    Symptom: importing any sequential model of RecBole 1.2.1 switches it on for the whole process
    (``sine.py``, line 25), and training takes about 1.7 times as long. Can go when that line does.
    """
    torch.autograd.set_detect_anomaly(bool(config.get("detect_anomaly")))


def default_negative_sampling(config: dict, given: dict) -> None:
    """No negative sampling for a cross-entropy loss, unless the user sets it.

    Symptom: ``run_recbole --model=SASRec`` ends in "train_neg_sample_args should be None when the loss_type is CE",
    which RecBole's own default sets. Can go when RecBole's default depends on the loss.
    """
    from recbole.utils import ModelType

    sequential = config.get("MODEL_TYPE") == ModelType.SEQUENTIAL
    if sequential and config.get("loss_type") == "CE" and "train_neg_sample_args" not in given:
        config["train_neg_sample_args"] = None


def read_the_order(config: dict, given: dict) -> None:
    """If a model or a split needs the time, the ids and the time of interactions are read, unless the user or the data
    set's own file sets what is read.

    Symptom: ``run_recbole --model=SASRec`` on data of one's own ends in "[timestamp] is not exist in interaction":
    RecBole's default reads only ``user_id`` and ``item_id``. Can go when RecBole reads what it sorts by.
    """
    from recbole.utils import ModelType

    split, columns = config.get("eval_args"), config.get("load_col")
    in_time = isinstance(split, dict) and split.get("order") == "TO"
    in_time = in_time or config.get("MODEL_TYPE") == ModelType.SEQUENTIAL
    if not in_time or "load_col" in given or not isinstance(columns, dict):
        return
    if isinstance(columns.get("inter"), list):
        fields = filter(None, map(config.get, ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD")))
        config["load_col"] = {**columns, "inter": list(dict.fromkeys([*columns["inter"], *fields]))}


def collected(original: Callable, collector: Any) -> Any:
    """What metrics are computed from; only tensors are moved to the CPU.

    Symptom: the metrics ItemCoverage, GiniIndex, AveragePopularity and TailPercentage end in "'int' object has no
    attribute 'cpu'", since RecBole also moves the number of items and their counts. Can go when it moves only tensors.
    """
    values = collector.data_struct._data_dict
    of_the_data = {name: value for name, value in values.items() if not isinstance(value, torch.Tensor)}
    for name in of_the_data:
        del values[name]
    result = original(collector)
    values.update(of_the_data)
    result._data_dict.update(of_the_data)
    return result


def evaluated(original: Callable, trainer: Any, eval_data: Any, *args: Any, **options: Any) -> dict:
    """Without data, an empty result.

    Symptom: with ``split: {LS: valid_only}`` RecBole's ``objective_function`` ends in "argument after ** must be a
    mapping, not NoneType". Can go when ``Trainer.evaluate`` always gives a result.
    """
    return original(trainer, eval_data, *args, **options) if eval_data else {}


def apply() -> None:
    """Everything that has to be in place before RecBole is used; safe to call twice."""
    _quieten_known_warnings()
    _give_numpy_and_scipy_their_former_names()
    import recbole.model.sequential_recommender  # noqa: F401  (its import switches anomaly detection on)

    set_anomaly_detection({})
    _import_quick_start_without_ray()
