"""RecBole's quick start for our names: :func:`run` and :func:`objective_function`."""

from __future__ import annotations

import recbole.quick_start.quick_start as recbole_quick_start
from torch.multiprocessing import ProcessRaisedException

from recbole_ec4srec.errors import ConfigError, DataError, NonFiniteError
from recbole_ec4srec.plugin import registry


def run(model, dataset, config_file_list=None, config_dict=None, saved=True, **processes) -> dict:
    """Train, validate and test a model.

    Args:
        model: a name, RecBole's or ours, or a class (which becomes known to RecBole by its name).
        dataset: RecBole's name of the data set.
        config_file_list: YAML files, later ones win.
        config_dict: settings that win over the files.
        saved: keep the best checkpoint.
        processes: ``nproc``, ``world_size``, ``ip``, ``port``, ``group_offset`` of RecBole's ``run``.

    Returns:
        RecBole's result: ``best_valid_score``, ``valid_score_bigger``, ``best_valid_result``, ``test_result``.

    Raises:
        RunError: it cannot start or go on: a ConfigError, before the data is loaded; a DataError; a NonFiniteError.
        ProcessRaisedException, ProcessExitedException: of several processes one failed, and the others were ended.
    """
    if isinstance(model, type):
        model = registry.name_of(model)
    try:
        return recbole_quick_start.run(model, dataset, config_file_list, config_dict, saved, **processes)
    except ProcessRaisedException as error:  # its text is that of the process's exception, with the traceback
        for kind in (ConfigError, DataError, NonFiniteError):
            _, refused, reason = str(error).rpartition(f"{kind.__module__}.{kind.__name__}: ")
            if refused:
                raise kind(reason.strip()) from None
        raise
    except ModuleNotFoundError as error:  # some models of RecBole's need more than RecBole does
        raise ConfigError(f"model: got {model!r}, which needs {error.name}, which is not installed") from error


def objective_function(config_dict=None, config_file_list=None, saved=True) -> dict:
    """RecBole's objective for ``HyperTuning`` and Ray Tune, for our models too (also in a fresh worker process)."""
    return recbole_quick_start.objective_function(config_dict, config_file_list, saved)
