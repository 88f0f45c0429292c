"""The model card of an exported model: what it is, what it was trained on, how good it is, and how it is called."""

from __future__ import annotations

import math
import platform
from importlib.metadata import version

import yaml

from recbole_ec4srec.errors import printable
from recbole_ec4srec.inference.trained import TrainedModel
from recbole_ec4srec.storage.settings import plain_settings
from recbole_ec4srec.version import __version__

_PACKAGES = ("recbole", "torch", "numpy", "onnx", "onnxruntime", "safetensors")


def model_card(trained: TrainedModel, name: str, interface: dict[str, str], opset: int, difference: float) -> str:
    """The page, in Markdown.

    Args:
        name: of the model.
        interface: what each input and output of the graph is, by its name.
        difference: the largest one of a score between onnxruntime and PyTorch.
    """
    settings = {key: value for key, value in plain_settings(trained.config).items() if value is not None}
    data = {"name": trained.config["dataset"], **trained.fingerprint}
    versions = {"recbole_ec4srec": __version__, "Python": platform.python_version()}
    versions.update((package, version(package)) for package in _PACKAGES)
    sections = {
        f"{name}, trained on {trained.config['dataset']}": [
            "A sequential recommender: it takes the items that a user has had, oldest first, and scores each item as "
            f"the next one. It knows {len(trained.items) - 1} items and no users, and sees the last "
            f"{trained.config['MAX_ITEM_LIST_LENGTH']} items of a history. Written by `ec4srec export`."
        ],
        "Data set": _list(data),
        "Metrics": _list(_validation(trained)) or ["None are known."],
        "Files": [
            f"`model.onnx` has operators of opset {opset}. The largest difference of a score between onnxruntime and "
            f"PyTorch, over histories of all lengths, is {difference:.1e}.",
            "",
            *_list({f"`{of}`": what for of, what in interface.items()}),
            "",
            "`items.json` has the id of each item at the place of its number. `model.safetensors` has the weights.",
        ],
        "Settings": ["```yaml", *yaml.safe_dump(settings, allow_unicode=True).splitlines(), "```"],
        "Versions": _list(versions),
    }
    lines = []
    for number, (title, text) in enumerate(sections.items()):
        lines += [f"{'##' if number else '#'} {title}", "", *text, ""]
    return printable("\n".join(lines), lines=True)


def _list(values):
    return [f"- {name}: {value}" for name, value in values.items()]


def _validation(trained):
    """The metric by which the epoch was chosen, if there was a validation."""
    score = trained.best_valid_score
    if score is None or not math.isfinite(score):
        return {}
    name = f"{trained.config['valid_metric']} on the validation set"
    return {name: f"{score:.4f}, after epoch {trained.epoch} (counted from 0)"}
