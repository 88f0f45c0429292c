"""A small data set in RecBole's format, and configurations over it; every test runs in a folder of its own."""

import logging
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny tensors: threads would only wait for each other

import numpy as np
import pytest
import torch
from recbole.config import Config
from small import SMALL, SMALL_EC4SREC, write_inter

from recbole_ec4srec.training.build import build

#: The checkout.
ROOT = Path(__file__).resolve().parent.parent

OUR_MODELS = ["EC4SRec", "EC4SRecSSL", "EC4SRecSL", "CL4SRec", "DuoRec"]


@pytest.fixture(scope="session")
def data_path(tmp_path_factory):
    """``tiny``: 60 users, 40 items; users of 1, 2, 3 and 25 interactions, users that repeat items."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(7)
    sequences = {f"u{u}": [f"i{i}" for i in rng.integers(1, 41, rng.integers(4, 13))] for u in range(54)}
    sequences.update({"one": ["i1"], "two": ["i1", "i2"], "three": ["i1", "i2", "i3"]})
    sequences["long"] = [f"i{i}" for i in rng.integers(1, 41, 25)]
    sequences["same"] = ["i5"] * 6
    sequences["all"] = [f"i{i}" for i in range(1, 41)]
    write_inter(folder, "tiny", sequences)
    return folder


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """RecBole reads the command line and writes into the working folder, and commands set the level of the log: none
    may leak between tests."""
    level = logging.getLogger().level
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    monkeypatch.setattr("psutil.cpu_percent", lambda interval: 0.0)  # RecBole measures for a second after each run
    yield
    logging.getLogger().setLevel(level)
    torch.autograd.set_detect_anomaly(False)


@pytest.fixture
def make_config(data_path):
    """``make_config(model, **settings)``: a RecBole Config over ``tiny``."""

    def make(model="EC4SRec", dataset="tiny", **settings):
        ours = SMALL_EC4SREC if model in ("EC4SRec", "EC4SRecSSL", "EC4SRecSL") else {"epochs": 2}
        return Config(model, dataset, config_dict={"data_path": str(data_path), **SMALL, **ours, **settings})

    return make


class Experiment:
    """What RecBole's ``run_recbole`` builds, kept: config, loaders, model, trainer."""

    def __init__(self, config):
        self.config = config
        vars(self).update(build(config)._asdict())

    def fit(self, **options):
        return self.trainer.fit(self.train_data, self.valid_data, show_progress=False, **options)


@pytest.fixture
def experiment(make_config):
    """``experiment(model, **settings)``: an :class:`Experiment` over ``tiny``."""
    return lambda model="EC4SRec", **settings: Experiment(make_config(model, **settings))


@pytest.fixture
def space(tmp_path):
    """``space(text)``: writes a space file in the folder of the test, and gives its name."""

    def write(text):
        (tmp_path / "space.test").write_text(text)
        return "space.test"

    return write
