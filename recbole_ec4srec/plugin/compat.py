"""RecBole 1.2 on current libraries: every workaround, each with its symptom and when it can go.

What pins can cure is cured by the pins in ``setup.cfg``; this module holds the rest. Where a function of RecBole's is
another for it is told in :mod:`recbole_ec4srec.plugin.hooks`; :func:`apply` does what has to be done before RecBole is
imported, and outside it.
"""

from __future__ import annotations

import builtins
import logging
import os
import secrets
import types
import warnings

import numpy as np
import torch
from scipy.sparse import dok_matrix

from recbole_ec4srec.storage.checkpoint import load_checkpoint, save_checkpoint


class _TorchOfRecBole(types.ModuleType):
    """``torch`` as the modules of RecBole see it that read or write checkpoints; nobody else's is touched.

    Symptom: with torch >= 2.6 evaluating the best checkpoint ends in "Weights only load failed", since RecBole
    pickles its Config; before 2.6 any pickle in the file is run. Can go when RecBole stores plain values.
    """

    def __getattr__(self, name):
        return getattr(torch, name)

    @staticmethod
    def load(file, map_location=None, **options):
        return torch.load(file, map_location, **options) if options else load_checkpoint(file, map_location)

    @staticmethod
    def save(state, file, **options):
        if isinstance(state, dict) and "config" in state:
            return save_checkpoint(state, file)  # RecBole's pickle protocol, 4, is not one for plain values
        return torch.save(state, file, **options)


TORCH = _TorchOfRecBole("torch", torch.__doc__)


def with_our_torch(function):
    """``function`` of RecBole's, which imports torch itself, so that no name of its module can be another: with an
    ``import`` of its own, which gives it :data:`TORCH`."""

    def import_(name, *args, **options):
        found = __import__(name, *args, **options)
        return TORCH if found is torch else found

    names = {**function.__globals__, "__builtins__": {**vars(builtins), "__import__": import_}}
    return types.FunctionType(function.__code__, names, function.__name__)


def ensure_dir(original, dir_path) -> None:
    """Symptom: of two trainings that start at once in a new folder one ends in "File exists: 'saved'", since RecBole
    looks first and makes the folder then. Can go when ``ensure_dir`` passes ``exist_ok``.
    """
    os.makedirs(dir_path, exist_ok=True)


def get_local_time(original) -> str:
    """Symptom: two trainings that start in the same second write one best model (and one log) between them, and the one
    that ends first is tested with the other's weights, since RecBole names files by the second. Can go when names of
    files have more in them than ``get_local_time``.
    """
    return f"{original()}-{secrets.token_hex(4)}"  # not of the random numbers that are seeded


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
    """Autograd's anomaly detection is on where the user says ``detect_anomaly: True``, and off everywhere else.

    Symptom: importing any sequential model of RecBole 1.2.1 switches it on for the whole process
    (``sine.py``, line 25), and training takes about 1.7 times as long. Can go when that line does.
    """
    torch.autograd.set_detect_anomaly(bool(config.get("detect_anomaly")))


def default_negative_sampling(config: dict, given: dict) -> None:
    """No negative sampling for a cross-entropy loss, unless the user asks for it.

    Symptom: ``run_recbole --model=SASRec`` ends in "train_neg_sample_args should be None when the loss_type is CE",
    which RecBole's own default sets. Can go when RecBole's default depends on the loss.
    """
    from recbole.utils import ModelType

    sequential = config.get("MODEL_TYPE") == ModelType.SEQUENTIAL
    if sequential and config.get("loss_type") == "CE" and "train_neg_sample_args" not in given:
        config["train_neg_sample_args"] = None


def read_the_order(config: dict, given: dict) -> None:
    """The ids and the time of interactions are read where a model or a split goes by time, unless the user or the data
    set's own file says what is to be read.

    Symptom: ``run_recbole --model=SASRec`` on data of one's own ends in "[timestamp] is not exist in interaction", for
    RecBole's default reads ``user_id`` and ``item_id`` alone. Can go when RecBole reads what it sorts by.
    """
    from recbole.utils import ModelType

    split, columns = config.get("eval_args"), config.get("load_col")
    by_time = config.get("MODEL_TYPE") == ModelType.SEQUENTIAL or (
        isinstance(split, dict) and split.get("order") == "TO"
    )
    if (
        not by_time
        or "load_col" in given
        or not isinstance(columns, dict)
        or not isinstance(columns.get("inter"), list)
    ):
        return
    fields = filter(None, map(config.get, ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD")))
    config["load_col"] = {**columns, "inter": list(dict.fromkeys([*columns["inter"], *fields]))}


def collected(original, collector):
    """What metrics are computed from, in which tensors alone are moved to the CPU.

    Symptom: the metrics ItemCoverage, GiniIndex, AveragePopularity and TailPercentage end in "'int' object has no
    attribute 'cpu'", for RecBole moves the number of items and their counts, too. Can go when it moves tensors.
    """
    found = collector.data_struct._data_dict
    of_the_data = {name: value for name, value in found.items() if not isinstance(value, torch.Tensor)}
    for name in of_the_data:
        del found[name]
    result = original(collector)
    for kept in (found, result._data_dict):
        kept.update(of_the_data)
    return result


def evaluated(original, trainer, eval_data, *args, **options) -> dict:
    """No data gives no metrics, as a result like any other.

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
