"""RecBole's own checkpoints are pickles: an unpickler that knows what RecBole writes into one, and runs no code."""

from __future__ import annotations

import io
import pickle
import sys
import types
from typing import Any

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
    *(("recbole.utils.enum_type", kind) for kind in ("EvaluatorType", "InputType", "ModelType")),
    *((f"scipy.sparse._{form}", f"{form}_matrix") for form in ("coo", "csc", "csr", "lil")),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_tensor_v2"),
}


def allow_in_checkpoints(*classes: type) -> None:
    """Let checkpoints hold objects of ``classes``, of which the user says that they are safe to unpickle."""
    _ALLOWED.update((cls.__module__, cls.__qualname__) for cls in classes)


class StandIn:
    """Replaces a class that can do more than a checkpoint needs: it has the attributes in the file, and no methods.

    RecBole's Config evaluates what it is made from, and a file can make numpy's arrays read any memory.
    """


_STOOD_IN_FOR = {
    ("numpy", "matrix"),
    ("numpy", "ndarray"),
    ("recbole.config.configurator", "Config"),
    ("yaml.loader", "FullLoader"),
}


def _is_loaded_recommender(module, name):
    """Whether it is a recommender class of a module that is imported already: the Config refers to its model."""
    from recbole.model.abstract_recommender import AbstractRecommender

    value = getattr(sys.modules.get(module), name, None)
    return isinstance(value, type) and issubclass(value, AbstractRecommender)


def _empty_array(kind, shape, dtype):
    """numpy's ``_reconstruct``; ``kind`` is a :class:`StandIn` with the name of the class."""
    return np.ndarray.__new__({"ndarray": np.ndarray, "matrix": np.matrix}[kind.__name__], shape, dtype)


# The unpickler in Python, because with the one in C an object cannot be checked before it is changed. What it reads is
# small: the tensors' data is not part of the pickle.
_PythonUnpickler: Any = pickle._Unpickler  # its stubs lack what its source has


class _CheckpointUnpickler(_PythonUnpickler):
    """Unpickles only what a RecBole checkpoint is made of; anything else in the file is refused, not run."""

    dispatch = dict(_PythonUnpickler.dispatch)  # noqa: RUF012  (the base class's protocol)

    def find_class(self, module: str, name: str) -> Any:
        """What the pickle may call or refer to by a name.

        Raises:
            pickle.UnpicklingError: anything else.
        """
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

    def load_build(self) -> None:
        """Set the attributes of an object.

        Raises:
            pickle.UnpicklingError: the object is a class or a function, which others use too.
        """
        if callable(self.stack[-2]):
            raise pickle.UnpicklingError(f"the checkpoint changes {self.stack[-2]!r}, which no RecBole checkpoint does")
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build


READER = types.ModuleType("recbole_ec4srec_checkpoint_pickle", "What torch.load needs of a pickle module.")
vars(READER).update(
    Unpickler=_CheckpointUnpickler,
    UnpicklingError=pickle.UnpicklingError,
    load=lambda file, **options: _CheckpointUnpickler(file, **options).load(),
    loads=lambda data, **options: _CheckpointUnpickler(io.BytesIO(data), **options).load(),
)
