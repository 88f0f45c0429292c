"""RecBole's quick start for our names: :func:`run` and :func:`objective_function`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import recbole.quick_start.quick_start as recbole_quick_start
from torch.multiprocessing import ProcessRaisedException

from recbole_ec4srec.errors import ConfigError, DataError, NonFiniteError, ProcessLost
from recbole_ec4srec.plugin import registry
from recbole_ec4srec.training import distributed


def run(
    model: str | type,
    dataset: str,
    config_file_list: Sequence[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    saved: bool = True,
    **processes: Any,
) -> dict[str, Any]:
    """Train, validate and test a model.

    Args:
        model: the name of a model of RecBole or of this package, or a class, which RecBole then knows by its name.
        dataset: RecBole's name of the data set.
        config_file_list: YAML files, later ones win.
        config_dict: settings that win over the files.
        saved: keep the best checkpoint.
        processes: ``nproc``, ``world_size``, ``ip``, ``port``, ``group_offset`` of RecBole's ``run``; nothing if
            ``torchrun`` has started the processes.

    Returns:
        RecBole's result: ``best_valid_score``, ``valid_score_bigger``, ``best_valid_result``, ``test_result``.

    Raises:
        RunError: it cannot start or continue: a ConfigError, before the data is loaded; a DataError; a NonFiniteError;
            a ProcessLost.
        ProcessRaisedException, ProcessExitedException: one of several processes failed, and the others were ended.
    """
    if isinstance(model, type):
        model = registry.name_of(model)
    try:
        return recbole_quick_start.run(model, dataset, config_file_list, config_dict, saved, **processes)
    except ProcessRaisedException as error:  # the text has the exception of the process, with its traceback
        for kind in (ConfigError, DataError, NonFiniteError, ProcessLost):
            _, refused, reason = str(error).rpartition(f"{kind.__module__}.{kind.__name__}: ")
            if refused:
                raise kind(reason.strip()) from None
        raise
    except RuntimeError as error:  # in a process that torchrun has started
        if connection := distributed.lost(error):
            raise connection from error
        raise
    except ModuleNotFoundError as error:  # some models of RecBole need more libraries than RecBole
        raise ConfigError(f"model: got {model!r}, which needs {error.name}, which is not installed") from error


def objective_function(
    config_dict: dict[str, Any] | None = None, config_file_list: Sequence[str] | None = None, saved: bool = True
) -> dict[str, Any]:
    """RecBole's objective for ``HyperTuning`` and Ray Tune, for our models too, also in a new worker process."""
    return recbole_quick_start.objective_function(config_dict, config_file_list, saved)
