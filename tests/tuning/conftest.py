"""Searches over ``tiny``: with a made-up objective, and as the command with real trials."""

import os
import shutil
import sys

import pytest
from optuna.storages import RDBStorage
from small import SMALL

import recbole_ec4srec.tuning.search  # noqa: F401
from recbole_ec4srec import tuning
from recbole_ec4srec.commands.run_hyper import main as run_hyper_command

QUICK = {**SMALL, "epochs": 1, "n_layers": 1, "topk": [10], "metrics": ["NDCG"], "valid_metric": "NDCG@10"}
FOUR = "lambda choice [0.1,0.2,-1,0.4]\n"  # one of the four is out of its range


@pytest.fixture
def space(tmp_path):
    def write(text):
        (tmp_path / "space.test").write_text(text)
        return "space.test"

    return write


@pytest.fixture
def tried(monkeypatch, data_path):
    """The points that the objective was asked for; its score is ``scores[lambda]``, or an error to be raised. The data
    set ``tiny`` lies where RecBole looks for one."""
    shutil.copytree(data_path / "tiny", "dataset/tiny")

    class Tried(list):
        def __init__(self):
            self.scores = {}

        def __call__(self, config):
            self.append({"lambda": config["lambda"], "folder": config["checkpoint_dir"], "argv": sys.argv[1:]})
            score = self.scores.get(config["lambda"], config["lambda"])
            if isinstance(score, BaseException):
                raise score
            result = {"best_valid_result": {"ndcg@10": score}, "test_result": {"ndcg@10": 1 - score}}
            return {"model": "CL4SRec", "best_valid_score": score, "valid_score_bigger": True, **result}

    tried = Tried()
    monkeypatch.setattr(tuning.trials, "objective_function", tried)
    return tried


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A storage of Optuna's, which takes a while to make."""
    file = tmp_path_factory.mktemp("storage") / "empty.db"
    RDBStorage(f"sqlite:///{file}")
    return file


@pytest.fixture
def search(data_path, empty_database):
    """``search(params_file, **options)``: a search for CL4SRec over ``tiny``, in the file ``found``."""
    shutil.copy(empty_database, "found.db")

    def start(params_file, **options):
        return tuning.search.search(params_file, output_file="found", model="CL4SRec", dataset="tiny", **options)

    return start


@pytest.fixture
def command(data_path, tmp_path, monkeypatch):
    """``command(*flags)``: runs ``run_hyper`` over ``tiny``, from a path that is relative to the working folder."""
    lines = [f"{key}: {value}" for key, value in {**QUICK, "data_path": os.path.relpath(data_path, tmp_path)}.items()]
    (tmp_path / "settings.yaml").write_text("\n".join(lines))
    (tmp_path / "four.test").write_text(FOUR)
    arguments = ["--model=CL4SRec", "--dataset=tiny", "--config_files=settings.yaml", "--params_file=four.test"]

    def run(*flags):
        monkeypatch.setattr(sys, "argv", ["run_hyper", *arguments, "--output_file=found", *flags])
        run_hyper_command()

    return run
