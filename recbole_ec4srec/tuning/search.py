"""The whole of a search: choosing on the validation set, and writing what was found."""

from __future__ import annotations

import sys
from pathlib import Path

from recbole.trainer import HyperTuning
from recbole.utils import dict2str

from recbole_ec4srec.config.properties import properties_dir
from recbole_ec4srec.config.variants import canonical_name
from recbole_ec4srec.console import show, tell
from recbole_ec4srec.errors import ConfigError, printable
from recbole_ec4srec.reporting.chart import chart
from recbole_ec4srec.reporting.page import render
from recbole_ec4srec.tuning.engines import search_with_hyperopt, search_with_ray
from recbole_ec4srec.tuning.space import read_space
from recbole_ec4srec.tuning.trials import Search


def search(
    params_file=None,
    output_file="hyper_example.result",
    display_file=None,
    tool="Hyperopt",
    model=None,
    dataset=None,
    config_files=None,
    max_concurrent=None,
    asked=None,
    **options,
) -> dict:
    """The command ``run_hyper``: search, choosing on the validation set, and write what was found.

    Args:
        params_file: the space; the paper's for the model (``properties/hyper/``) where it is left out.
        output_file: RecBole's text, made at the end; the journal is beside it, in ``output_file`` + ``.jsonl``.
        display_file: an HTML page with a plot of the trials.
        asked: see :class:`Search`.
        options: ``algo``, ``max_evals`` and ``early_stop`` of RecBole's ``HyperTuning``.

    Returns:
        the best trial's line of the journal.

    Raises:
        ConfigError: the space, the settings or a flag is refused; no trial was run.
        SystemExit: all trials failed.
        KeyboardInterrupt: it says how to go on.
    """
    space = read_space(params_file or _shipped(model))
    ranges = [name for name, (kind, _) in space.items() if kind != "choice"]
    if options.get("algo", "exhaustive") == "exhaustive" and ranges:
        raise ConfigError(f"algo: got exhaustive, allowed is random or bayes: {ranges[0]} is no choice")
    if tool == "Ray" and options.get("algo") == "bayes":
        raise ConfigError("algo: got bayes, allowed with --tool=Ray is exhaustive or random")
    found = Search(space, f"{output_file}.jsonl", model, dataset, config_files, asked)
    journal = found.journal
    if journal.records:
        tell(f"{len(journal.records)} trials are taken from {journal.file}")
    try:
        if tool == "Ray":
            search_with_ray(found, max_concurrent=max_concurrent, **options)
        else:
            search_with_hyperopt(found, **options)
    except KeyboardInterrupt:
        number = len(journal.records)
        raise KeyboardInterrupt(f"the same command goes on after {number} trials") from None
    best = journal.best
    texts = [_text(record) for record in journal.records] + ([f"Best, on validation: {_text(best)}"] if best else [])
    Path(output_file).write_text("\n".join(texts), encoding="utf-8")
    if best is None:
        reason = journal.records[-1]["reason"]
        sys.exit(printable(f"error: all {len(journal.records)} trials failed, see {output_file}; the last: {reason}"))
    if display_file:
        Path(display_file).write_text(_page(journal, found.settings["dataset"]), encoding="utf-8")
    show(f"best params: {best['params']}")
    result = {key: best[key] for key in ("best_valid_score", "best_valid_result", "test_result")}
    show(f"best result: {result}")
    return best


def _shipped(model):
    folder = properties_dir() / "hyper"
    file = folder / f"{canonical_name(model)}.test"
    if not file.is_file():
        models = ", ".join(sorted(file.stem for file in folder.iterdir()))
        raise ConfigError(f"params_file: missing; without it --model has to be one of {models}")
    return file


def _text(record) -> str:
    """A trial as RecBole writes it."""
    head = HyperTuning.params2str(record["params"])
    if record["status"] == "failed":
        return f"{head}\nFailed:\n{record['reason']}\n"
    valid, test = dict2str(record["best_valid_result"]), dict2str(record["test_result"])
    return f"{head}\nValid result:\n{valid}\nTest result:\n{test}\n"


def _page(journal, dataset) -> str:
    """A page with the validation score of each trial."""
    records = list(enumerate(journal.records, 1))
    scores = [(number, record["best_valid_score"]) for number, record in records if record["status"] == "ok"]
    trials = [
        [number, HyperTuning.params2str(record["params"]), record.get("best_valid_score", record.get("reason"))]
        for number, record in records
    ]
    drawn = chart("validation score", {"trials": scores}, over="trial")
    return render("search.html", model=journal.best["model"], dataset=dataset, chart=drawn, trials=trials)
