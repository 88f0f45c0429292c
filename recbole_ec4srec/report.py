"""A page about one training, finished or not: how it went, what it reached, what it was."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

from recbole_ec4srec.config import update_schedule
from recbole_ec4srec.errors import DataError
from recbole_ec4srec.page import chart, page, table
from recbole_ec4srec.resume import read_state


def read_run(path) -> dict:
    """What is known of a training.

    Args:
        path: a record of ``recbole_ec4srec.experiments``, the state that ``--resume`` leaves, or a folder, of which the
            newest of these is taken.

    Returns:
        ``config``, and of every epoch ``epochs``; a record has ``test`` too.

    Raises:
        DataError: there is no such file.
    """
    path = Path(path)
    if path.is_dir():
        files = [file for kind in ("*.json", "*.state") for file in path.rglob(kind)]
        if not files:
            raise DataError(f"{path}: has neither a record (.json) nor the state of a training (.state, of --resume)")
        path = max(files, key=lambda file: file.stat().st_mtime)
    if path.suffix == ".state":
        state = read_state(path)
        return {"config": json.loads(state["settings"]), "epochs": state["history"], "finished": state["finished"]}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {"finished": True, **{key: record[key] for key in ("config", "epochs", "test")}}
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path}: is no record of a training") from None


def report(run: dict, control: dict | None = None, views: str = "") -> str:
    """The page, as HTML, from what :func:`read_run` gave of a run and perhaps of one to compare it with; ``views`` of a
    sequence, as HTML, can be a part of it."""
    config, epochs = run["config"], run["epochs"]
    metric = config["valid_metric"].lower()
    sign = 1 if config["valid_metric_bigger"] else -1
    best = max(epochs, key=lambda epoch: (sign * epoch["valid"][metric], epoch["epoch"]))
    schedule = [config.get(key) for key in ("epochs", "num_updates", "update_epochs")]
    updates = [] if None in schedule else [epoch for epoch in update_schedule(*schedule) if epoch <= len(epochs)]
    minutes = sum(epoch["seconds"] for epoch in epochs) / 60
    state = "finished" if run["finished"] else f"running, at most {config['epochs']}"
    parts = [
        f"<p>{len(epochs)} epochs ({state}) in {minutes:.0f} minutes. The best on the validation set is epoch "
        f"{best['epoch']}, with {escape(config['valid_metric'])} {best['valid'][metric]:.4f}.</p>"
    ]

    valid = {"this training": [(epoch["epoch"], epoch["valid"][metric]) for epoch in epochs]}
    if control:
        valid["control"] = [(epoch["epoch"], epoch["valid"][metric]) for epoch in control["epochs"]]
    parts.append("<h2>Validation</h2>")
    parts.append(chart(f"{config['valid_metric']} on the validation set by epoch", valid, updates, "importance update"))
    names = list(dict.fromkeys(name for epoch in epochs for name in epoch.get("losses", {})))
    if names:
        losses = {n: [(e["epoch"], e["losses"][n]) for e in epochs if n in e["losses"]] for n in names if n != "rec"}
        parts.append("<h2>Losses</h2>")
        recommendation = {"rec": [(epoch["epoch"], epoch["losses"]["rec"]) for epoch in epochs]}
        caption = "The recommendation loss by epoch, summed over the batches"
        parts.append(chart(caption, recommendation, updates, "importance update"))
        if losses:
            caption = "The contrastive losses by epoch, weighted, summed over the batches"
            parts.append(chart(caption, losses, updates, "importance update"))
    changed = [(epoch["epoch"], epoch["update"]["changed"]) for epoch in epochs if epoch.get("update")]
    if changed:
        rows = [[number, "the first" if share is None else f"{100 * share:.1f} %"] for number, share in changed]
        parts.append("<h2>Importance updates</h2>")
        parts.append(table("Instances whose most important item changed", ["at the start of epoch", "share"], rows))

    if views:
        parts.append(f"<h2>Views of one sequence</h2>{views}")

    parts.append("<h2>Metrics</h2>")
    header, columns = ["", "validation"], [best["valid"]]
    for name, other in (("test", run), ("test, control", control or {})):
        if other.get("test"):
            header, columns = [*header, name], [*columns, other["test"]]
    rows = [[name, *(f"{column[name]:.4f}" if name in column else "" for column in columns)] for name in best["valid"]]
    parts.append(table(f"Of the best epoch, {best['epoch']}", header, rows))

    every = ["epoch", "seconds", "loss", config["valid_metric"]]
    rows = [[e["epoch"], f"{e['seconds']:.1f}", f"{e['loss']:.5g}", f"{e['valid'][metric]:.4f}"] for e in epochs]
    parts.append(f"<h2>Every epoch</h2><details><summary>A table</summary>{table('Epochs', every, rows)}</details>")
    rows = [[key, json.dumps(value)] for key, value in sorted(config.items())]
    settings = table("Settings", ["key", "value"], rows)
    parts.append(f"<h2>Configuration</h2><details><summary>All settings</summary>{settings}</details>")
    return page(f"{config['model']} on {config['dataset']}", *parts)
