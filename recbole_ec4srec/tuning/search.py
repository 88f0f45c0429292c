"""A search from the space to the result files; trials are compared on the validation set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from recbole.trainer import HyperTuning
from recbole.utils import dict2str

from recbole_ec4srec.config.properties import properties_dir
from recbole_ec4srec.config.variants import canonical_name
from recbole_ec4srec.console import show, tell
from recbole_ec4srec.errors import ConfigError, printable
from recbole_ec4srec.reporting.chart import chart
from recbole_ec4srec.reporting.page import render
from recbole_ec4srec.tuning.engines import search_with_hyperopt, search_with_ray
from recbole_ec4srec.tuning.journal import Journal
from recbole_ec4srec.tuning.space import read_space
from recbole_ec4srec.tuning.trials import Search


def search(
    params_file: str | Path | None = None,
    output_file: str = "hyper_example.result",
    display_file: str | None = None,
    tool: str = "Hyperopt",
    model: str | None = None,
    dataset: str | None = None,
    config_files: list[str] | None = None,
    max_concurrent: int | None = None,
    asked: dict | None = None,
    **options: Any,
) -> dict:
    """The command ``run_hyper``: search, and write the results; trials are compared on the validation set.

    Args:
        params_file: the space; by default the paper's for the model (``properties/hyper/``).
        output_file: RecBole's text file, written at the end; the journal is ``output_file`` + ``.jsonl``.
        display_file: an HTML page with a plot of the trials.
        asked: see :class:`Search`.
        options: ``algo``, ``max_evals`` and ``early_stop`` of RecBole's ``HyperTuning``.

    Returns:
        The best trial's line of the journal.

    Raises:
        ConfigError: the space, the settings or a flag is refused; no trial was run.
        SystemExit: all trials failed.
        KeyboardInterrupt: its message says how to resume.
    """
    space = read_space(params_file or shipped_space(model))
    ranges = [name for name, (kind, _) in space.items() if kind != "choice"]
    if options.get("algo", "exhaustive") == "exhaustive" and ranges:
        raise ConfigError(f"algo: got exhaustive, allowed is random or bayes: {ranges[0]} is no choice")
    if tool == "Ray" and options.get("algo") == "bayes":
        raise ConfigError("algo: got bayes, allowed with --tool=Ray is exhaustive or random")
    trials = Search(space, f"{output_file}.jsonl", model, dataset, config_files, asked)
    journal = trials.journal
    if journal.records:
        tell(f"{len(journal.records)} trials are taken from {journal.file}")
    try:
        if tool == "Ray":
            search_with_ray(trials, max_concurrent=max_concurrent, **options)
        else:
            search_with_hyperopt(trials, **options)
    except KeyboardInterrupt:
        number = len(journal.records)
        raise KeyboardInterrupt(f"the same command resumes after {number} trials") from None
    best = journal.best
    texts = [_text(record) for record in journal.records] + ([f"Best, on validation: {_text(best)}"] if best else [])
    Path(output_file).write_text("\n".join(texts), encoding="utf-8")
    if best is None:
        reason = journal.records[-1]["reason"]
        sys.exit(printable(f"error: all {len(journal.records)} trials failed, see {output_file}; the last: {reason}"))
    if display_file:
        Path(display_file).write_text(_page(journal, best["model"], trials.settings["dataset"]), encoding="utf-8")
    show(f"best params: {best['params']}")
    result = {key: best[key] for key in ("best_valid_score", "best_valid_result", "test_result")}
    show(f"best result: {result}")
    return best


def shipped_space(model: str | None) -> Path:
    """The file with the paper's space for a model (section 5.1.4).

    Raises:
        ConfigError: there is none.
    """
    folder = properties_dir() / "hyper"
    file = folder / f"{canonical_name(model)}.test"
    if not file.is_file():
        models = ", ".join(sorted(file.stem for file in folder.iterdir()))
        raise ConfigError(f"params_file: missing; without it --model has to be one of {models}")
    return file


def _text(record: dict) -> str:
    """A trial as RecBole writes it."""
    head = HyperTuning.params2str(record["params"])
    if record["status"] == "failed":
        return f"{head}\nFailed:\n{record['reason']}\n"
    valid, test = dict2str(record["best_valid_result"]), dict2str(record["test_result"])
    return f"{head}\nValid result:\n{valid}\nTest result:\n{test}\n"


def _page(journal: Journal, model: str, dataset: str) -> str:
    """A page with the validation score of each trial."""
    records = list(enumerate(journal.records, 1))
    scores = [(number, record["best_valid_score"]) for number, record in records if record["status"] == "ok"]
    trials = [
        [number, HyperTuning.params2str(record["params"]), record.get("best_valid_score", record.get("reason"))]
        for number, record in records
    ]
    drawn = chart("validation score", {"trials": scores}, over="trial")
    return render("search.html", model=model, dataset=dataset, chart=drawn, trials=trials)
