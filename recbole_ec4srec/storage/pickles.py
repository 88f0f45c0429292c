"""RecBole's own checkpoints are pickles: an unpickler that knows what RecBole writes into one, and runs nothing."""

from __future__ import annotations

import io
import pickle
import sys
import types

import numpy as np

#: What the pickle in a checkpoint of RecBole may call or refer to.
_ALLOWED = {
    ("__builtin__", "set"),
    ("_codecs", "encode"),
    ("builtins", "set"),
    ("collections", "OrderedDict"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("recbole.utils.enum_type", "EvaluatorType"),
    ("recbole.utils.enum_type", "InputType"),
    ("recbole.utils.enum_type", "ModelType"),
    ("scipy.sparse._coo", "coo_matrix"),
    ("scipy.sparse._csc", "csc_matrix"),
    ("scipy.sparse._csr", "csr_matrix"),
    ("scipy.sparse._lil", "lil_matrix"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_tensor_v2"),
}


def allow_in_checkpoints(*classes: type) -> None:
    """Let checkpoints hold objects of ``classes``: the user's word that these classes are harmless to unpickle."""
    _ALLOWED.update((cls.__module__, cls.__qualname__) for cls in classes)


class StandIn:
    """In the place of a class that can do more than a checkpoint needs: has what the file gives it, and does nothing.

    RecBole's Config evaluates what it is made from, and numpy's arrays can be made to read any memory.
    """


_STOOD_IN_FOR = {
    ("numpy", "matrix"),
    ("numpy", "ndarray"),
    ("recbole.config.configurator", "Config"),
    ("yaml.loader", "FullLoader"),
}


def _is_loaded_recommender(module: str, name: str) -> bool:
    """Whether the name is a recommender class of a module that is imported already (the Config refers to its model)."""
    from recbole.model.abstract_recommender import AbstractRecommender

    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and issubclass(found, AbstractRecommender)


def _empty_array(kind, shape, dtype):
    """numpy's ``_reconstruct``, of which :class:`StandIn` tells the class."""
    return np.ndarray.__new__({"ndarray": np.ndarray, "matrix": np.matrix}[kind.__name__], shape, dtype)


# Python's own unpickler rather than the one in C, since only it lets an object be looked at before it is changed. What
# it reads is small: the tensors' data is not part of the pickle.
class _CheckpointUnpickler(pickle._Unpickler):
    """Unpickles only what a RecBole checkpoint is made of; anything else in the file is refused, not run."""

    dispatch = dict(pickle._Unpickler.dispatch)  # noqa: RUF012  (the base class's protocol)

    def find_class(self, module, name):
        if (module, name) in _ALLOWED:
            return super().find_class(module, name)
        if (module, name) in _STOOD_IN_FOR or _is_loaded_recommender(module, name):
            return type(name, (StandIn,), {})
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return _empty_array
        raise pickle.UnpicklingError(
            f"the checkpoint holds {module}.{name}, which is not part of a RecBole checkpoint and could run code. "
            f"If you trust the file, call recbole_ec4srec.allow_in_checkpoints({name}) first."
        )

    def load_build(self):
        if callable(self.stack[-2]):  # a class or a function, which others use too
            raise pickle.UnpicklingError(f"the checkpoint changes {self.stack[-2]!r}, which no RecBole checkpoint does")
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build


READER = types.ModuleType("recbole_ec4srec_checkpoint_pickle", "What torch.load asks of a pickle module.")
READER.Unpickler = _CheckpointUnpickler
READER.UnpicklingError = pickle.UnpicklingError
READER.load = lambda file, **options: _CheckpointUnpickler(file, **options).load()
READER.loads = lambda data, **options: _CheckpointUnpickler(io.BytesIO(data), **options).load()
