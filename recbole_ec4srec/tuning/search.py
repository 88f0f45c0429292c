"""A search from the space to the result files; trials are compared on the validation set."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recbole.trainer import HyperTuning
from recbole.utils import dict2str

from recbole_ec4srec.config.space import read_space, shipped_space
from recbole_ec4srec.console import show
from recbole_ec4srec.errors import ConfigError, RunError, require
from recbole_ec4srec.tuning.engines import search_with_hyperopt, search_with_ray
from recbole_ec4srec.tuning.trials import Search

#: The engine that is used where none is asked for.
DEFAULT_TOOL = "Optuna" if find_spec("optuna") else "Hyperopt"


def search(
    params_file: str | Path | None = None,
    output_file: str = "hyper_example.result",
    tool: str = DEFAULT_TOOL,
    config_files: list[str] | None = None,
    asked: dict | None = None,
    model: str | None = None,
    dataset: str | None = None,
    **options: Any,
) -> dict:
    """The command ``run_hyper``: search, and write the results; trials are compared on the validation set.

    Args:
        params_file: the space; by default the paper's for the model (``properties/hyper/``).
        output_file: RecBole's text file, written at the end; its name is the search's in Optuna's storage.
        tool: ``Optuna``, ``Hyperopt`` or ``Ray``.
        asked: see :class:`Search`.
        options: ``algo``, ``max_evals`` and ``early_stop`` of RecBole's ``HyperTuning``, and those of the engine.

    Returns:
        The record of the best trial.

    Raises:
        ConfigError: the space, the settings or a flag is refused; no trial was run.
        RunError: all trials failed.
    """
    given = {name: value for name, value in options.items() if value is not None}
    options = {"algo": "exhaustive", "max_evals": 10, "early_stop": 10, **given}
    space, engine = read_space(params_file or shipped_space(model)), _engine(tool)
    ranges = [name for name, (kind, _) in space.items() if kind != "choice"]
    if options["algo"] == "exhaustive" and ranges:
        raise ConfigError(f"algo: got exhaustive, allowed is random or bayes: {ranges[0]} is no choice")
    if options["algo"] == "bayes" and tool == "Ray":
        raise ConfigError("algo: got bayes, allowed with --tool=Ray is exhaustive or random")
    for name in options.keys() - inspect.signature(engine).parameters.keys():
        raise ConfigError(f"{name}: got {options[name]}, which --tool={tool} does not take")
    trials = Search(space, output_file, asked or {}, model=model, dataset=dataset, config_file_list=config_files)
    engine(trials, **options)
    best, texts = trials.best, [_text(record) for record in trials.records]
    texts += [f"Best, on validation: {_text(best)}"] if best else []
    trials.output_file.write_text("\n".join(texts), encoding="utf-8")
    if best is None:
        reason = trials.records[-1]["reason"]
        raise RunError(f"all {len(texts)} trials failed, see {output_file}; the last: {reason}")
    show(f"best params: {best['params']}")
    result = {key: best[key] for key in ("best_valid_score", "best_valid_result", "test_result")}
    show(f"best result: {result}")
    return best


def _engine(tool: str) -> Callable[..., None]:
    package, extra = {"Optuna": ("optuna",) * 2, "Hyperopt": ("hyperopt", "tune"), "Ray": ("pyarrow", "tune")}[tool]
    require(f"--tool={tool}", package, install=f"'recbole_ec4srec[{extra}]'")
    if tool != "Optuna":
        return search_with_ray if tool == "Ray" else search_with_hyperopt
    return importlib.import_module("recbole_ec4srec.tuning.study").search_with_optuna  # which imports optuna


def _text(record: dict) -> str:
    """A trial as RecBole writes it."""
    head = HyperTuning.params2str(record["params"])
    if record["status"] != "ok":
        return f"{head}\n{record['status'].capitalize()}:\n{record['reason']}\n"
    valid, test = dict2str(record["best_valid_result"]), dict2str(record["test_result"])
    return f"{head}\nValid result:\n{valid}\nTest result:\n{test}\n"
