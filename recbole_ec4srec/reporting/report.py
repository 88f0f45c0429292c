"""A page about one training, finished or not: how it went, what it reached, what it was."""

from __future__ import annotations

import json
import reprlib
from pathlib import Path

from recbole_ec4srec.config.rules import FLAG, Number, Value
from recbole_ec4srec.config.schedule import update_schedule
from recbole_ec4srec.errors import DataError
from recbole_ec4srec.reporting.chart import chart
from recbole_ec4srec.reporting.page import render
from recbole_ec4srec.training.resume import best_epoch, read_state


def read_run(path) -> dict:
    """What is known of a training.

    Args:
        path: a record of ``recbole_ec4srec.experiments``, the state that ``--resume`` leaves, or a folder, of which the
            newest of these is taken.

    Returns:
        ``config``, and of every epoch ``epochs``; a record has ``test`` too.

    Raises:
        DataError: there is no such file, or it holds what no training leaves.
        ConfigError: a state is damaged.
    """
    path = Path(path)
    if path.is_dir():
        files = [file for kind in ("*.json", "*.state") for file in path.rglob(kind)]
        if not files:
            raise DataError(f"{path}: has neither a record (.json) nor the state of a training (.state, of --resume)")
        path = max(files, key=lambda file: file.stat().st_mtime)
    state = read_state(path) if path.suffix == ".state" else None
    try:
        if state:
            run = {"config": json.loads(state["settings"]), "epochs": state["history"], "finished": state["finished"]}
        else:
            record = json.loads(path.read_text(encoding="utf-8"))
            run = {"finished": True, **{key: record[key] for key in ("config", "epochs", "test")}}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"{path}: is no record of a training") from None
    _check(run, {"config": _CONFIG, "finished": FLAG, "test?": {...: _NUMBER}}, str(path))
    metric = run["config"]["valid_metric"].lower()
    _check(run, {"epochs": [{**_EPOCH, "valid": {metric: _NUMBER, ...: _NUMBER}}]}, str(path))
    return run


# Nothing draws a curve up to the largest floating-point number.
_NUMBER = Value((int, float), "a finite number", lambda value: not isinstance(value, bool) and abs(value) < 1e30)
_COUNT, _TEXT = Number(1, 1e6, integer=True), Value(str, "a text")
_DICT, _LIST = Value(dict, "values by name"), Value(list, "a list that is not empty", bool)
_CONFIG = {
    "model": _TEXT,
    "dataset": _TEXT,
    "valid_metric": _TEXT,
    "valid_metric_bigger": FLAG,
    "epochs": _COUNT,
    "num_updates?": Number(0, 1e6, integer=True),
    "update_epochs?": Value(list, "a list of epochs", lambda epochs: all(isinstance(epoch, int) for epoch in epochs)),
}
_EPOCH = {
    "epoch": _COUNT,
    "seconds": _NUMBER,
    "loss": _NUMBER,
    "losses?": {...: _NUMBER},
    "update?": {"changed?": _NUMBER},
}


def _check(value, shape, where: str) -> None:
    """Refuse a ``value`` that has not the ``shape``: a dict's keys have theirs (with ``?`` where None and nothing will
    do, under ``...`` all), of a list, which is not empty, all parts have the one in it, and others parse their value.
    """
    kind = _DICT if isinstance(shape, dict) else _LIST if isinstance(shape, list) else shape
    try:
        kind.parse(value)
    except (ValueError, OverflowError):
        raise DataError(f"{where}: got {reprlib.repr(value)}, allowed is {kind}") from None
    if kind is _LIST:
        for number, part in enumerate(value, 1):
            _check(part, shape[0], f"{where}, {number}")
    elif kind is _DICT:
        for key, of_key in shape.items():
            names = value if key is ... else [key.rstrip("?")]
            for name in names:
                if key == name or value.get(name) is not None:
                    _check(value.get(name), of_key, f"{where}: {name}")


def report(run: dict, control: dict | None = None, views=()) -> str:
    """The page, as HTML, from what :func:`read_run` gave of a run and perhaps of one to compare it with; ``views`` of a
    sequence, as tables, can be a part of it.

    Raises:
        DataError: the two have no metric in common.
    """
    config, epochs = run["config"], run["epochs"]
    metric = config["valid_metric"].lower()
    if control and not all(metric in epoch["valid"] for epoch in control["epochs"]):
        raise DataError(f"--control: has no {metric} on the validation set, by which the run was chosen")
    best = best_epoch(epochs, metric, config["valid_metric_bigger"])
    valid = {
        name: [(epoch["epoch"], epoch["valid"][metric]) for epoch in of_run["epochs"]]
        for name, of_run in (("this training", run), ("control", control))
        if of_run
    }
    losses = {}
    for epoch in epochs:
        for name, loss in (epoch.get("losses") or {}).items():
            losses.setdefault(name, []).append((epoch["epoch"], loss))
    schedule = [config.get(key) for key in ("epochs", "num_updates", "update_epochs")]
    planned = set() if None in schedule else set(update_schedule(*schedule))
    updates = [epoch["epoch"] for epoch in epochs if epoch["epoch"] in planned]
    changed = [(epoch["epoch"], epoch["update"].get("changed")) for epoch in epochs if epoch.get("update")]
    tests = {"test": run.get("test"), "test, control": control and control.get("test")}
    results = {"validation": best["valid"], **{name: found for name, found in tests.items() if found}}
    return render(
        "report.html",
        config=config,
        finished=run["finished"],
        minutes=sum(epoch["seconds"] for epoch in epochs) / 60,
        best=best,
        score=_four(best["valid"][metric]),
        validation=chart(config["valid_metric"], valid, updates),
        recommendation=chart("loss", {"rec": losses.pop("rec")}, updates) if "rec" in losses else None,
        contrastive=chart("loss", losses, updates) if losses else None,
        updates=[[number, "the first" if share is None else f"{100 * share:.1f} %"] for number, share in changed],
        views=views,
        results=list(results),
        metrics=[[name, *(_four(found.get(name)) for found in results.values())] for name in best["valid"]],
        every=[[e["epoch"], f"{e['seconds']:.1f}", f"{e['loss']:.5g}", _four(e["valid"][metric])] for e in epochs],
        settings=[[key, json.dumps(value, ensure_ascii=False)] for key, value in sorted(config.items())],
    )


def _four(value):
    return "" if value is None else f"{value:.4f}"
