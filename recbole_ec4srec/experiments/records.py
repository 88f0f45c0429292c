"""A run of an experiment and its record, one JSON file; all tables and figures are made from records."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import platform
import subprocess
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from recbole.config import Config

from recbole_ec4srec.config.keys import SEQUENCES
from recbole_ec4srec.config.properties import properties_dir
from recbole_ec4srec.config.variants import VARIANTS
from recbole_ec4srec.storage.atomic import replacing
from recbole_ec4srec.storage.settings import EXECUTION_KEYS, plain_settings
from recbole_ec4srec.version import __version__

#: What a training depends on, of the checkout.
SOURCES = (Path(__file__).resolve().parent.parent, properties_dir())
PACKAGES = ("recbole_ec4srec", "recbole", "torch", "numpy", "scipy", "captum")


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        label: of the row of the table that asks for it.
        model: its name, of this package or RecBole.
        settings: those that differ from the defaults of the model and the data set.
    """

    label: str
    model: str
    dataset: str
    seed: int
    settings: dict = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """The name of the record. It is the same for the same training, whatever the label."""
        settings = {key: value for key, value in self.settings.items() if key != "seed" and key not in EXECUTION_KEYS}
        content = json.dumps([self.model, self.dataset, settings], sort_keys=True)
        return f"{self.dataset}-{self.model}-{hashlib.sha256(content.encode()).hexdigest()[:8]}-seed{self.seed}"


def settings_of(model: str, dataset: str, own: dict, given: dict) -> dict:
    """The paper's settings, the data set's, those of training on sequences, a row's ``own``, and those ``given``.

    Later ones win. Settings that define a variant of EC4SRec (:data:`VARIANTS`) cannot be given.
    """
    fixed = VARIANTS.get(model, {})
    given = {key: value for key, value in given.items() if key not in fixed}
    of_mode = properties("sequences.yaml") if own.get("train_on") == SEQUENCES else {}
    return {**properties("paper.yaml"), **properties(f"dataset/{dataset}.yaml"), **of_mode, **own, **given}


def tuned_settings(model: str, dataset: str) -> dict:
    """The settings chosen on the validation set for a model and a data set; empty if none were."""
    return properties(f"tuned/{dataset}/{model}.yaml")


def properties(name: str) -> dict:
    """The settings in a file of ``properties/``; empty if there is no such file."""
    file = properties_dir() / name
    return yaml.safe_load(file.read_text(encoding="utf-8")) or {} if file.is_file() else {}


def read(folder: Path, run: Run) -> dict | None:
    """The record of a run, or None."""
    return _load(_file(folder, run)) if exists(folder, run) else None


def exists(folder: Path, run: Run) -> bool:
    """Whether the run has a record."""
    return _file(folder, run).is_file()


def read_runs(folder: Path, runs: dict[str, list[Run]]) -> dict[str, list[dict]]:
    """The records of the runs of each label, without the runs that have none."""
    records = {label: [read(folder, run) for run in of_label] for label, of_label in runs.items()}
    return {label: [record for record in of_label if record] for label, of_label in records.items()}


def read_all(folder: Path) -> list[dict]:
    """All records of the folder of results."""
    return [_load(file) for file in sorted((folder / "records").glob("*.json"))]


def name_of(record: dict) -> str:
    """The name of a record."""
    return Run("", *(record[key] for key in ("model", "dataset", "seed", "settings"))).name


def metric_value(record: dict, split: str, metric: str) -> float:
    """A metric (such as ``ndcg@10``) of a record, or of one of its epochs, on the ``test`` or the ``valid`` set."""
    return record[split][metric]


def _file(folder: Path, run: Run) -> Path:
    return folder / "records" / f"{run.name}.json"


def _load(file: Path) -> dict:
    return json.loads(file.read_text(encoding="utf-8"))


def made(run: Run, config: Config, **results: Any) -> dict[str, Any]:
    """The record of a run: its ``results``, its settings, and the versions that it was trained with.

    Args:
        config: of the training.
    """
    return {
        "model": run.model,
        "dataset": run.dataset,
        "seed": run.seed,
        "settings": {key: value for key, value in run.settings.items() if key not in EXECUTION_KEYS},
        **results,
        "versions": {"python": platform.python_version(), **{package: _version(package) for package in PACKAGES}},
        "threads": torch.get_num_threads(),
        "config": plain_settings(config),
    }


def _version(package):
    if package == "recbole_ec4srec":
        return __version__
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def write(folder: Path, run: Run, record: dict[str, Any]) -> None:
    """Write the record of a run to the folder of results, in one step."""
    file = _file(folder, run)
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        temporary.write_text(_as_text(record), encoding="utf-8")


def _as_text(record: dict) -> str:
    """JSON with a line for each part and for each epoch."""

    def part(value: object) -> str:
        if isinstance(value, list):
            return "[\n" + ",\n".join(f"  {json.dumps(entry)}" for entry in value) + "\n ]"
        return json.dumps(value)

    return "{\n" + ",\n".join(f" {json.dumps(key)}: {part(value)}" for key, value in record.items()) + "\n}\n"


def commit(folders: Sequence[Path] = SOURCES) -> str | None:
    """The commit of the checkout that has the package, with a + if ``folders`` differ from it; None outside of one."""

    def git(*words: str | Path) -> str:
        command = ["git", "-C", folders[0], *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "--", folders[0])  # not a repository that the package only lies in
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", *folders) else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def pack(ranks: np.ndarray) -> str:
    """Ranks ``[users]`` as text: little-endian 32-bit integers, deflated, in base 64."""
    return base64.b64encode(zlib.compress(ranks.astype("<i4").tobytes(), 9)).decode()


def ranks(record: dict) -> np.ndarray:
    """The rank, from 1, of each test user's item, in the order of the users' internal ids, ``[users]``."""
    return np.frombuffer(zlib.decompress(base64.b64decode(record["ranks"])), "<i4")


def metric_of(ranks: np.ndarray, metric: str) -> np.ndarray:
    """``hit@k``, ``ndcg@k`` or ``mrr@k`` of every user with one relevant item at ``ranks [users]``, ``[users]``."""
    name, cut_off = metric.split("@")
    rank = ranks.astype(np.float64)
    gain = {"hit": np.ones_like(rank), "ndcg": 1 / np.log2(rank + 1), "mrr": 1 / rank}[name]
    return np.where(rank <= int(cut_off), gain, 0.0)
