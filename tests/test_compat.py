"""RecBole 1.2.1 on current libraries: anomaly detection, checkpoints, negative sampling for cross-entropy."""

import pickle
import subprocess
import sys
import types
from collections import OrderedDict

import pytest
import torch
from conftest import SMALL
from recbole.config import Config
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.trainer import Trainer

import recbole_ec4srec
from recbole_ec4srec import compat

FRESH = """
import importlib, pkgutil, sys, torch
import recbole_ec4srec
print(torch.is_anomaly_enabled())
import recbole.model
for part in ("sequential_recommender", "general_recommender", "context_aware_recommender"):
    package = importlib.import_module(f"recbole.model.{part}")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
print(torch.is_anomaly_enabled())
"""


def test_anomaly_detection_is_off_after_importing_us_and_all_of_recboles_models():
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("model", ["EC4SRec", "SASRec"])
def test_anomaly_detection_follows_the_configuration(model, make_config):
    make_config(model, detect_anomaly=True)
    assert torch.is_anomaly_enabled()
    make_config(model)
    assert not torch.is_anomaly_enabled()


def test_recboles_own_model_trains_and_evaluates_its_best_checkpoint(data_path, tmp_path):
    settings = {**SMALL, "epochs": 2, "data_path": str(data_path)}
    result = run_recbole("SASRec", "tiny", config_dict=settings)
    (checkpoint,) = (tmp_path / "saved").glob("SASRec-*.pth")
    config, model, _, _, _, test_data = load_data_and_model(str(checkpoint))
    trainer = Trainer(config, model)
    assert trainer.evaluate(test_data, model_file=str(checkpoint)) == result["test_result"]


# --- checkpoints ------------------------------------------------------------------------------------------------------


class Global:
    """Pickled, this is a reference to ``module.name``, importable or not where it is written."""

    def __init__(self, module, name):
        self.reference = f"{module}\n{name}\n".encode()

    def __call__(self):
        """Pickle asks for something callable in a :class:`Call`."""


class Call:
    """Pickled, this is a call that unpickling makes."""

    def __init__(self, function, *args):
        self.reduced = function, args

    def __reduce__(self):
        return self.reduced


class Pickler(pickle._Pickler):
    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Global):
            self.write(pickle.GLOBAL + obj.reference)
        else:
            super().save(obj, save_persistent_id)


CREATE = "open('created', 'w').close()"
#: What a hostile file may hold, by the name that its refusal has to mention.
ATTACKS = {
    "os.system": Call(Global("os", "system"), "touch created"),
    "posix.system": Call(Global("posix", "system"), "touch created"),
    "builtins.eval": Call(Global("builtins", "eval"), CREATE),
    "__builtin__.exec": Call(Global("__builtin__", "exec"), CREATE),
    "imports_create.Recommender": Global("imports_create", "Recommender"),
    # RecBole's Config evaluates the strings that it is made from.
    "Config": Call(Config, "SASRec", "tiny", None, {"seed": CREATE}),
}


pickler = types.ModuleType("pickler")
pickler.Pickler = Pickler
pickler.dump = lambda obj, file, protocol: Pickler(file, protocol).dump(obj)


@pytest.fixture(params=["zip", "legacy"])
def write_checkpoint(request, tmp_path, monkeypatch):
    """Write a checkpoint whose ``config`` is hostile; importing ``imports_create`` would create a file, too."""
    (tmp_path / "imports_create.py").write_text("open('created', 'w').close()\nclass Recommender: pass\n")
    monkeypatch.syspath_prepend(tmp_path)

    def write(hostile):
        state = {"config": hostile, "state_dict": OrderedDict(weight=torch.ones(2)), "other_parameter": None}
        use_zip = request.param == "zip"
        torch.save(state, tmp_path / "bad.pth", pickle_module=pickler, _use_new_zipfile_serialization=use_zip)
        return str(tmp_path / "bad.pth")

    return write


def readers(experiment):
    trainer = experiment("SASRec", n_layers=1)
    return {
        "Trainer.evaluate": lambda file: trainer.trainer.evaluate(trainer.test_data, model_file=file),
        "Trainer.resume_checkpoint": trainer.trainer.resume_checkpoint,
        "load_data_and_model": load_data_and_model,
        "compat.load_checkpoint": compat.load_checkpoint,
    }


@pytest.mark.parametrize("named", ATTACKS)
def test_a_hostile_checkpoint_is_refused_by_name_and_runs_nothing(named, write_checkpoint, experiment, tmp_path):
    file = write_checkpoint(ATTACKS[named])
    for reader, read in readers(experiment).items():
        error = None
        try:
            read(file)
        except Exception as raised:
            error = raised
        assert not (tmp_path / "created").exists(), f"{reader} ran code from the file"
        assert isinstance(error, pickle.UnpicklingError), f"{reader} went on: {error}"
        assert named in str(error)


def test_the_attacks_would_work_on_a_plain_torch_load(write_checkpoint, tmp_path):
    # Otherwise the refusals above would prove nothing.
    for hostile in ATTACKS.values():
        torch.load(write_checkpoint(hostile), weights_only=False)
        assert (tmp_path / "created").exists()
        (tmp_path / "created").unlink()
        sys.modules.pop("imports_create", None)


class Harmless:
    pass


def test_a_class_that_the_user_allows_is_let_through(tmp_path, monkeypatch):
    monkeypatch.setattr(compat, "_CALLED", set(compat._CALLED))
    torch.save({"state_dict": {}, "other_parameter": Harmless()}, tmp_path / "own.pth")
    with pytest.raises(pickle.UnpicklingError, match=r"allow_in_checkpoints\(Harmless\)"):
        compat.load_checkpoint(tmp_path / "own.pth")
    recbole_ec4srec.allow_in_checkpoints(Harmless)
    assert isinstance(compat.load_checkpoint(tmp_path / "own.pth")["other_parameter"], Harmless)


def test_torch_load_of_the_users_own_code_is_untouched(tmp_path):
    torch.save(Harmless(), tmp_path / "own.pth")
    assert isinstance(torch.load(tmp_path / "own.pth", weights_only=False), Harmless)
    with pytest.raises(pickle.UnpicklingError, match="Weights only"):
        torch.load(tmp_path / "own.pth", weights_only=True)


@pytest.mark.parametrize("use_zip", [True, False])
def test_an_honest_checkpoint_is_read_in_either_format(use_zip, experiment, tmp_path):
    trained = experiment("CL4SRec", n_layers=1)
    state = {"config": trained.config, "state_dict": trained.model.state_dict(), "other_parameter": None}
    torch.save(state, tmp_path / "good.pth", _use_new_zipfile_serialization=use_zip)
    _, model, *_ = load_data_and_model(str(tmp_path / "good.pth"))
    for name, value in trained.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


def test_training_resumes_from_a_checkpoint(experiment):
    first = experiment("CL4SRec", n_layers=1)
    first.trainer.fit(first.train_data)  # without validation the last epoch is what is saved
    second = experiment("CL4SRec", n_layers=1, epochs=3)
    second.trainer.resume_checkpoint(first.trainer.saved_model_file)
    for name, value in first.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value)
    second.fit(saved=False)
    assert list(first.trainer.train_loss_dict) == [0, 1]
    assert list(second.trainer.train_loss_dict) == [2]


# --- negative sampling ------------------------------------------------------------------------------------------------


def test_a_cross_entropy_loss_needs_no_setting_for_negative_sampling():
    assert Config("SASRec", "tiny")["train_neg_sample_args"]["distribution"] == "none"


def test_an_explicit_setting_still_gives_recboles_error():
    with pytest.raises(ValueError, match="should be None when the loss_type is CE"):
        Config("SASRec", "tiny", config_dict={"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}})


@pytest.mark.parametrize("model", ["SASRec", "EC4SRec", "BPR"])
def test_a_pairwise_loss_keeps_recboles_default(model):
    settings = {} if model == "BPR" else {"loss_type": "BPR"}
    assert Config(model, "tiny", config_dict=settings)["train_neg_sample_args"] == {
        "distribution": "uniform",
        "sample_num": 1,
        "alpha": 1.0,
        "dynamic": False,
        "candidate_num": 0,
    }
