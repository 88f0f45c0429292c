"""A page about one training, finished or not: how it went, what it reached, what it was."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_ec4srec.config.rules import FLAG, Number, Value
from recbole_ec4srec.config.schedule import update_schedule
from recbole_ec4srec.errors import DataError
from recbole_ec4srec.reporting.chart import chart
from recbole_ec4srec.reporting.page import render
from recbole_ec4srec.training.protocols import PROTOCOLS, protocols_of, under
from recbole_ec4srec.training.resume import best_epoch, read_state


def read_run(path: str | Path) -> dict:
    """What is known of a training.

    Args:
        path: a record of ``recbole_ec4srec.experiments``, the state that ``--resume`` leaves, or a folder, of which the
            newest of these is taken.

    Returns:
        ``config``, whether it is ``finished``, and of every epoch ``epochs``; a record has ``test`` too. If it was
        judged under two protocols, what belongs to the other one, as in the record.

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
            others = [protocol for protocol in PROTOCOLS if protocol in record]
            run = {"finished": True, **{key: record[key] for key in ("config", "epochs", "test", *others)}}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"{path}: is no record of a training") from None
    _check(run, {"config": _CONFIG, "finished": FLAG, "epochs": [_EPOCH], **_OF_OTHERS}, str(path))
    metric = run["config"]["valid_metric"].lower()
    results = {"test?": {...: _NUMBER}, "epochs": [{**_EPOCH, "valid": {metric: _NUMBER, ...: _NUMBER}}]}
    for protocol in protocols_of(run):
        _check(under(run, protocol), results, str(path))
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
    "repeatable?": FLAG,
    "epochs": _COUNT,
    "num_updates?": Number(0, 1e6, integer=True),
    "update_epochs?": Value(list, "a list of epochs", lambda epochs: all(isinstance(epoch, int) for epoch in epochs)),
}
_OF_OTHERS: dict[str, dict] = {f"{protocol}?": {} for protocol in PROTOCOLS}
_EPOCH = {
    "epoch": _COUNT,
    "seconds": _NUMBER,
    "loss": _NUMBER,
    "losses?": {...: _NUMBER},
    "update?": {"changed?": _NUMBER},
    **_OF_OTHERS,
}


def _check(value: Any, shape: Any, where: str) -> None:
    """Refuse a ``value`` that does not have the ``shape``.

    Args:
        shape: a :class:`Value`; a list of one shape, for a list that is not empty and whose parts have that shape; or a
            dict of shapes by key, where ``name?`` may be missing or None, and ``...`` is for all keys of the value.
        where: names the value in the message.

    Raises:
        DataError: the value, or a part of it, has another shape.
    """
    rule = _DICT if isinstance(shape, dict) else _LIST if isinstance(shape, list) else shape
    try:
        rule.parse(value)
    except (ValueError, OverflowError):
        raise DataError(f"{where}: got {reprlib.repr(value)}, allowed is {rule}") from None
    if isinstance(shape, list):
        for number, part in enumerate(value, 1):
            _check(part, shape[0], f"{where}, {number}")
    elif isinstance(shape, dict):
        for key, shape_of_key in shape.items():
            for name in value if key is ... else [key.rstrip("?")]:
                if key == name or value.get(name) is not None:
                    _check(value.get(name), shape_of_key, f"{where}: {name}")


def report(run: dict, control: dict | None = None, views: Sequence[dict] = ()) -> str:
    """The page about a training, as HTML.

    Args:
        run: what :func:`read_run` gives.
        control: the same of a training to compare it with.
        views: tables (:func:`~recbole_ec4srec.reporting.rendering.views_tables`) of the views of a sequence.

    Raises:
        DataError: the two have no metric, or no protocol, in common.
    """
    config, epochs = run["config"], run["epochs"]
    metric = config["valid_metric"].lower()
    judged = {protocol: under(run, protocol) for protocol in protocols_of(run)}
    controls = {protocol: under(control, protocol) for protocol in protocols_of(control)} if control else {}
    if control and not judged.keys() & controls.keys():
        names = [" and ".join(PROTOCOLS[protocol] for protocol in each) for each in (controls, judged)]
        raise DataError(f"--control: was judged {names[0]}, the run {names[1]}")
    if not all(metric in epoch["valid"] for each in controls.values() for epoch in each["epochs"]):
        raise DataError(f"--control: has no {metric} on the validation set, by which the run was chosen")
    valid = {name: {e["epoch"]: _four(e["valid"][metric]) for e in each["epochs"]} for name, each in judged.items()}
    several = len(judged) > 1
    return render(
        "report.html",
        config=config,
        finished=run["finished"],
        minutes=sum(epoch["seconds"] for epoch in epochs) / 60,
        protocols=[_of_protocol(PROTOCOLS[p] if several else "", judged[p], controls.get(p)) for p in judged],
        **_losses(config, epochs),
        updates=_updates(epochs),
        views=views,
        columns=[f"{config['valid_metric']}, {PROTOCOLS[p]}" if several else config["valid_metric"] for p in judged],
        every=[
            [e["epoch"], f"{e['seconds']:.1f}", f"{e['loss']:.5g}", *(of.get(e["epoch"], "") for of in valid.values())]
            for e in epochs
        ],
        settings=[[key, json.dumps(value, ensure_ascii=False)] for key, value in sorted(config.items())],
    )


def _of_protocol(title: str, run: dict, control: dict | None) -> dict:
    """What a page shows of a training, and of one to compare it with, under one protocol."""
    config, epochs = run["config"], run["epochs"]
    metric = config["valid_metric"].lower()
    best = best_epoch(epochs, metric, config["valid_metric_bigger"])
    results, metrics = _results(best, run, control)
    runs = {"this training": run, **({"control": control} if control else {})}
    curves = {name: [(e["epoch"], e["valid"][metric]) for e in each["epochs"]] for name, each in runs.items()}
    return {
        "title": title,
        "best": best["epoch"],
        "score": _four(best["valid"][metric]),
        "validation": chart(config["valid_metric"], curves, _epochs_of_updates(config, epochs)),
        "results": results,
        "metrics": metrics,
    }


def _losses(config: dict, epochs: list) -> dict:
    """Curves by epoch (SVG) of the parts of the loss, ``recommendation`` and ``contrastive``, each None where there are
    none."""
    updates = _epochs_of_updates(config, epochs)
    losses: dict[str, list] = {}
    for epoch in epochs:
        for name, loss in (epoch.get("losses") or {}).items():
            losses.setdefault(name, []).append((epoch["epoch"], loss))
    contrastive = {name: points for name, points in losses.items() if name != "rec"}
    return {
        "recommendation": chart("loss", {"rec": losses["rec"]}, updates) if "rec" in losses else None,
        "contrastive": chart("loss", contrastive, updates) if contrastive else None,
    }


def _epochs_of_updates(config: dict, epochs: list) -> list[int]:
    """The epochs so far that began with an importance update; none for a model without them."""
    schedule: list[Any] = [config.get(key) for key in ("epochs", "num_updates", "update_epochs")]
    planned = [] if None in schedule else update_schedule(*schedule)
    return [epoch["epoch"] for epoch in epochs if epoch["epoch"] in planned]


def _updates(epochs: list) -> list[list]:
    """Of each importance update its epoch, and how many instances have another most important item since the last."""
    changed = {epoch["epoch"]: epoch["update"].get("changed") for epoch in epochs if epoch.get("update")}
    return [[number, "the first" if part is None else f"{100 * part:.1f} %"] for number, part in changed.items()]


def _results(best: dict, run: dict, control: dict | None) -> tuple[list, list]:
    """The names of the results there are, and a row of them for each metric of the validation set."""
    results = {"validation": best["valid"], "test": run.get("test"), "test, control": control and control.get("test")}
    results = {name: metrics for name, metrics in results.items() if metrics}
    return list(results), [[name, *(_four(of.get(name)) for of in results.values())] for name in best["valid"]]


def _four(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
