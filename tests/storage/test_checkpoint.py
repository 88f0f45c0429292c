"""Checkpoints are data: what is written is plain, and a pickle that could run code is refused."""

import copyreg
import io
import pickle
import sys
import types
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.quick_start import load_data_and_model
from recbole.trainer import Trainer
from scipy import sparse

import recbole_ec4srec
from recbole_ec4srec.storage import checkpoint, pickles


@pytest.mark.parametrize("model", ["EC4SRec", "EC4SRec(SL)", "SASRec", "BPR"])
def test_what_is_saved_is_plain_and_loads_as_recboles(model, experiment, tmp_path):
    updates = {"update_epochs": [2]} if model == "EC4SRec(SL)" else {}
    trained = experiment(model, user_inter_num_interval="[3,30]", **updates)
    trained.fit()
    file = trained.trainer.saved_model_file
    plain = torch.load(file, weights_only=True)
    assert plain["config"]["final_config_dict"]["train_batch_size"] == 32

    config, loaded, _, _, _, test_data = load_data_and_model(file)
    for name, value in vars(trained.config).items():
        if name != "final_config_dict":
            assert getattr(config, name) == value, name
    assert config.final_config_dict == trained.config.final_config_dict
    assert type(loaded) is type(trained.model)
    expected = trained.trainer.evaluate(trained.test_data)
    assert Trainer(config, loaded).evaluate(test_data, model_file=file) == expected


@pytest.mark.parametrize("model", ["EASE", "ItemKNN"])
def test_recboles_models_of_matrices_are_read_too(model, experiment):
    trained = experiment(model, user_inter_num_interval="[3,30]")
    trained.fit()
    file = trained.trainer.saved_model_file
    torch.load(file, weights_only=True)
    config, loaded, _, _, _, test_data = load_data_and_model(file)
    assert config.final_config_dict == trained.config.final_config_dict
    expected = trained.trainer.evaluate(trained.test_data)
    assert Trainer(config, loaded).evaluate(test_data, model_file=file) == expected


@pytest.fixture
def classes(data_path):
    """A feature of the items, which some models embed."""
    file = data_path / "tiny" / "tiny.item"
    file.write_text(
        "item_id:token\tclass:token_seq\n" + "".join(f"i{i}\tc{i % 3} c{3 + i % 5}\n" for i in range(1, 41))
    )
    yield {"load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "class"]}}
    file.unlink()


@pytest.mark.parametrize("model", ["SASRecF", "GRU4RecF", "FDSA", "DIN", "DIEN"])
def test_modules_that_hold_the_data_set_are_made_anew_with_the_weights_of_the_file(model, experiment, classes):
    trained = experiment(model, **classes)
    trained.trainer._save_checkpoint(0)
    state = torch.load(trained.trainer.saved_model_file, weights_only=True)
    assert state["other_parameter"] == {}
    _, loaded, *_ = load_data_and_model(trained.trainer.saved_model_file)
    for name, value in trained.model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_what_a_model_keeps_beside_its_weights_is_plain_and_comes_back_as_it_was(experiment):
    rows = sparse.lil_matrix(np.diag([1.5, 0, 2.0]))
    kept = {
        "dense": np.matrix([[1, 2], [3, 4]]),
        "array": np.arange(3.0),
        "number": np.float32(0.5),
        "none": None,
        "tensor": torch.ones(2),
        "by_user": defaultdict(list, {1: [(torch.tensor([2]), rows)]}),
        **{form: rows.asformat(form) for form in ("csr", "csc", "coo", "lil")},
    }
    model = experiment("SASRec", n_layers=1).model
    model.other_parameter_name = list(kept)
    for name, value in kept.items():
        setattr(model, name, value)
    file = io.BytesIO()
    torch.save(model.other_parameter(), file)
    file.seek(0)
    plain = torch.load(file, weights_only=True)

    other = experiment("SASRec", n_layers=1).model
    other.load_other_parameter(plain)
    assert type(other.dense) is np.matrix and (other.dense == kept["dense"]).all()
    assert type(other.array) is np.ndarray and (other.array == kept["array"]).all()
    assert other.number == 0.5 and other.none is None and torch.equal(other.tensor, kept["tensor"])
    ((items, found),) = other.by_user[1]
    assert torch.equal(items, torch.tensor([2])) and type(found) is type(rows)
    for form in ("csr", "csc", "coo", "lil"):
        assert type(getattr(other, form)) is type(kept[form])
        assert (getattr(other, form).toarray() == rows.toarray()).all()


def test_a_matrix_that_points_outside_itself_is_refused(experiment):
    model = experiment("EASE", user_inter_num_interval="[3,30]").model
    mark, is_matrix, form, shape, data, columns, starts = model.other_parameter()["interaction_matrix"]
    for wrong in ((data, columns + 10**6, starts), (data, columns, starts * 10**6)):
        with pytest.raises(ValueError):
            model.load_other_parameter({"interaction_matrix": (mark, is_matrix, form, shape, *wrong)})


def test_what_is_not_plain_in_a_configuration_is_told_and_left_out(experiment, tmp_path, caplog):
    trained = experiment("CL4SRec", n_layers=1)
    trained.config["note"] = {"kept": [1, (2.5, "x", None)], "lost": object()}
    trained.trainer._save_checkpoint(0)
    assert "lost: a object is not kept in checkpoints" in caplog.text
    config = checkpoint.load_checkpoint(trained.trainer.saved_model_file)["config"]
    assert config["note"] == {"kept": [1, (2.5, "x", None)]}


def test_a_checkpoint_of_several_processes_loads_in_one(experiment):
    trained = experiment("CL4SRec", n_layers=1)
    trained.config["single_spec"], trained.config["world_size"] = False, 2
    trained.trainer._save_checkpoint(0)
    config = checkpoint.load_checkpoint(trained.trainer.saved_model_file)["config"]
    assert config["single_spec"] and config["local_rank"] == 0


def test_a_checkpoint_of_a_class_that_recbole_cannot_name_is_read(experiment):
    trained = experiment("CL4SRec", n_layers=1)
    trained.config.model = "SomebodysOwn"
    trained.trainer._save_checkpoint(0)
    assert checkpoint.load_checkpoint(trained.trainer.saved_model_file)["config"]["n_layers"] == 1


@pytest.mark.parametrize("content", [b"", b"text", "half"])
def test_what_is_no_whole_checkpoint_is_refused_by_name(content, experiment, tmp_path):
    trained = experiment("CL4SRec", n_layers=1)
    trained.trainer._save_checkpoint(0)
    with open(trained.trainer.saved_model_file, "rb") as file:
        whole = file.read()
    torn = tmp_path / "torn.pth"
    torn.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    for read in readers(experiment).values():
        with pytest.raises(pickle.UnpicklingError, match=r"torn.pth is not a checkpoint, or not a whole one"):
            read(str(torn))


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
    "Config": Call(Config, "SASRec", "tiny", None, {"wandb_project": CREATE}),
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
        "checkpoint.load_checkpoint": checkpoint.load_checkpoint,
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


class Made(Call):
    """Pickled, this is an array that unpickling makes without calling its class."""

    __class__ = np.ndarray  # which pickle compares


ADDRESS = np.ndarray, (1,), "O", b"nowhere!"


@pytest.mark.parametrize("hostile", [Call(*ADDRESS), Made(copyreg.__newobj__, *ADDRESS)])
def test_bytes_are_not_taken_for_the_addresses_of_objects(hostile, write_checkpoint):
    with pytest.raises(pickle.UnpicklingError, match=r"ndarray\(\) takes no arguments"):
        checkpoint.load_checkpoint(write_checkpoint(hostile))


class Harmless:
    pass


def test_a_class_that_the_user_allows_is_let_through(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "_ALLOWED", set(pickles._ALLOWED))
    torch.save({"state_dict": {}, "other_parameter": Harmless()}, tmp_path / "own.pth")
    with pytest.raises(pickle.UnpicklingError, match=r"allow_in_checkpoints\(Harmless\)"):
        checkpoint.load_checkpoint(tmp_path / "own.pth")
    recbole_ec4srec.allow_in_checkpoints(Harmless)
    assert isinstance(checkpoint.load_checkpoint(tmp_path / "own.pth")["other_parameter"], Harmless)


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
