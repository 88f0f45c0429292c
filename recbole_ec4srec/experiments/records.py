"""A run of an experiment and the record that it leaves: one JSON file, which all tables and figures are made from."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import platform
import subprocess
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import yaml

from recbole_ec4srec.config.properties import properties_dir
from recbole_ec4srec.config.variants import VARIANTS
from recbole_ec4srec.storage.atomic import replacing
from recbole_ec4srec.storage.settings import EXECUTION_KEYS, plain_settings

#: What a training depends on, of the checkout.
SOURCES = (Path(__file__).resolve().parent.parent, properties_dir())
PACKAGES = ("recbole_ec4srec", "recbole", "torch", "numpy", "scipy", "captum")


@dataclass(frozen=True)
class Run:
    """One training: ``settings`` are all that differ from the defaults of the model and the data set."""

    label: str
    model: str
    dataset: str
    seed: int
    settings: dict = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """The same for the same training, whatever experiment asks for it and what it calls it."""
        settings = {key: value for key, value in self.settings.items() if key not in (*EXECUTION_KEYS, "seed")}
        known = json.dumps([self.model, self.dataset, settings], sort_keys=True)
        return f"{self.dataset}-{self.model}-{hashlib.sha256(known.encode()).hexdigest()[:8]}-seed{self.seed}"


def settings_of(model: str, dataset: str, own: dict, given: dict) -> dict:
    """The paper's settings, the data set's, a row's ``own``, and those ``given`` for all rows; later ones win.

    What makes a preset that preset cannot be given.
    """
    found = {**properties("paper.yaml"), **properties(f"dataset/{dataset}.yaml")}
    fixed = VARIANTS.get(model, {})
    return {**found, **own, **{key: value for key, value in given.items() if key not in fixed}}


def tuned(model: str, dataset: str) -> dict:
    """The settings chosen for a model on a data set, by validation alone; none where nothing has been chosen."""
    return properties(f"tuned/{dataset}/{model}.yaml")


def properties(name: str) -> dict:
    """What a file of ``properties/`` sets; nothing where there is none of that ``name``."""
    file = properties_dir() / name
    return yaml.safe_load(file.read_text(encoding="utf-8")) or {} if file.is_file() else {}


def read(folder: Path, run: Run) -> dict | None:
    """The record of a run, or None where it has none."""
    file = folder / "records" / f"{run.name}.json"
    return _load(file) if file.is_file() else None


def read_all(folder: Path) -> list[dict]:
    """All records that there are."""
    return [_load(file) for file in sorted((folder / "records").glob("*.json"))]


def _load(file):
    return json.loads(file.read_text(encoding="utf-8"))


def write(folder: Path, run: Run, config, **found) -> None:
    """Write what was ``found`` with what was run, on what; the file appears whole or not at all.

    Args:
        config: RecBole's.
    """
    record = {
        "model": run.model,
        "dataset": run.dataset,
        "seed": run.seed,
        "settings": {key: value for key, value in run.settings.items() if key not in EXECUTION_KEYS},
        **found,
        "versions": {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in PACKAGES}},
        "threads": torch.get_num_threads(),
        "config": plain_settings(config),
    }
    file = folder / "records" / f"{run.name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        temporary.write_text(_as_text(record), encoding="utf-8")


def _as_text(record: dict) -> str:
    """JSON with a line for each part and for each epoch."""

    def part(value):
        if isinstance(value, list):
            return "[\n" + ",\n".join(f"  {json.dumps(entry)}" for entry in value) + "\n ]"
        return json.dumps(value)

    return "{\n" + ",\n".join(f" {json.dumps(key)}: {part(value)}" for key, value in record.items()) + "\n}\n"


def commit(folders=SOURCES) -> str | None:
    """The commit of the checkout that the package stands in, with a + where the package or its property files differ
    from it; None outside one."""

    def git(*words):
        command = ["git", "-C", folders[0], *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
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
    gain = {"hit": np.ones_like, "ndcg": lambda rank: 1 / np.log2(rank + 1), "mrr": lambda rank: 1 / rank}[name]
    rank = ranks.astype(np.float64)
    return np.where(rank <= int(cut_off), gain(rank), 0.0)
