"""RecBole 1.2.1 on current libraries: every workaround, each with its symptom and when it can go.

What pins can cure is cured by the pins in ``setup.cfg``; this module holds the rest. :func:`apply` runs once, when
the package is imported.
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
import types
import warnings

import torch

#: What the pickle in a checkpoint of RecBole may call to make an object …
_CALLED = {
    ("__builtin__", "set"),
    ("builtins", "set"),
    ("collections", "OrderedDict"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("recbole.utils.enum_type", "EvaluatorType"),
    ("recbole.utils.enum_type", "InputType"),
    ("recbole.utils.enum_type", "ModelType"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_tensor_v2"),
}
#: … and the classes that it may only refer to, or make an empty instance of to be filled with plain values.
_REFERRED = {
    ("numpy", "ndarray"),
    ("recbole.config.configurator", "Config"),
    ("scipy.sparse._coo", "coo_matrix"),
    ("scipy.sparse._csc", "csc_matrix"),
    ("scipy.sparse._csr", "csr_matrix"),
    ("yaml.loader", "FullLoader"),
}


def allow_in_checkpoints(*classes: type) -> None:
    """Let checkpoints hold objects of ``classes``: the user's word that these classes are harmless to unpickle."""
    _CALLED.update((cls.__module__, cls.__qualname__) for cls in classes)


def _is_loaded_recommender(module: str, name: str) -> bool:
    """Whether the name is a recommender class of a module that is imported already (the Config refers to its model)."""
    from recbole.model.abstract_recommender import AbstractRecommender

    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and issubclass(found, AbstractRecommender)


# Python's own unpickler rather than the one in C, since only it lets a call be looked at before it is made. What it
# reads is small: the tensors' data is not part of the pickle.
class _CheckpointUnpickler(pickle._Unpickler):
    """Unpickles only what a RecBole checkpoint is made of; anything else in the file is refused, not run."""

    dispatch = dict(pickle._Unpickler.dispatch)  # noqa: RUF012  (the base class's protocol)

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self._callables = []

    def find_class(self, module, name):
        if (module, name) in _CALLED:
            found = super().find_class(module, name)
            self._callables.append(found)
            return found
        if (module, name) in _REFERRED or _is_loaded_recommender(module, name):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(
            f"the checkpoint holds {module}.{name}, which is not part of a RecBole checkpoint and could run code. "
            f"If you trust the file, call recbole_ec4srec.allow_in_checkpoints({name}) first."
        )

    def _check_call(self, function):
        if not any(function is known for known in self._callables):
            raise pickle.UnpicklingError(f"the checkpoint calls {function!r}, which no RecBole checkpoint does")

    def load_reduce(self):
        self._check_call(self.stack[-2])
        super().load_reduce()

    def load_build(self):
        if isinstance(self.stack[-2], type) or callable(self.stack[-2]):
            raise pickle.UnpicklingError(f"the checkpoint changes {self.stack[-2]!r}, which no RecBole checkpoint does")
        super().load_build()

    def _instantiate(self, klass, args):
        self._check_call(klass)
        super()._instantiate(klass, args)

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.BUILD[0]] = load_build


_pickle = types.ModuleType("recbole_ec4srec_checkpoint_pickle", "What torch.load asks of a pickle module.")
_pickle.Unpickler = _CheckpointUnpickler
_pickle.UnpicklingError = pickle.UnpicklingError
_pickle.load = lambda file, **options: _CheckpointUnpickler(file, **options).load()
_pickle.loads = lambda data, **options: _CheckpointUnpickler(io.BytesIO(data), **options).load()


def load_checkpoint(file, map_location=None):
    """Read a checkpoint that RecBole wrote, running no code from it.

    Raises:
        pickle.UnpicklingError: the file holds something that is not part of a RecBole checkpoint; it is named.
    """
    return _torch_load(file, map_location=map_location, pickle_module=_pickle, weights_only=False)


_torch_load = torch.load


def _load_checkpoints_of_recbole() -> None:
    """RecBole's own calls of ``torch.load`` read through :func:`load_checkpoint`; everybody else's are untouched.

    Symptom: with torch >= 2.6 evaluating the best checkpoint ends in "Weights only load failed", since RecBole
    pickles its Config; before 2.6 any pickle in the file is run. Can go when RecBole stores plain values.
    """
    if getattr(torch.load, "_recbole_ec4srec", False):
        return

    @functools.wraps(_torch_load)
    def load(file, map_location=None, *args, **options):
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.split(".")[0] == "recbole" and not args and not options:
            return load_checkpoint(file, map_location)
        return _torch_load(file, map_location, *args, **options)

    load._recbole_ec4srec = True
    torch.load = load


def _quieten_known_warnings() -> None:
    """Symptom: pages of warnings before the first line of a log. Can go with RecBole's pins on ray and pandas."""
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


def apply() -> None:
    """Everything that has to be in place before RecBole is used; safe to call twice."""
    _quieten_known_warnings()
    import recbole.model.sequential_recommender  # noqa: F401  (its import switches anomaly detection on)

    set_anomaly_detection({})
    _load_checkpoints_of_recbole()
