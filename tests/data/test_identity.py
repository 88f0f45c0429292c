"""A model knows the data that it was trained on: what differs is refused, and its own ids are used."""

import pickle
import random
import re
from datetime import datetime

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALL, write_inter
from recbole.data import create_dataset
from recbole.quick_start import load_data_and_model
from recbole.utils import utils

import recbole_ec4srec.tuning.search  # noqa: F401
from recbole_ec4srec import DataError, run, tuning
from recbole_ec4srec.data.identity import fingerprint
from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.inference import TrainedModel, recommend

SEQUENCES = {f"u{u}": [f"i{(u + 3 * k) % 20}" for k in range(6 + u % 3)] for u in range(30)}
QUICK = {**SMALL, "epochs": 2, "n_layers": 1}
HISTORY = pd.DataFrame({"user": ["someone"] * 2, "item": ["i3", "i7"]})


@pytest.fixture
def shop(tmp_path):
    """``shop(change)``: the file ``shop.inter``, its lines as ``change`` leaves them."""
    write_inter(tmp_path, "shop", SEQUENCES)
    file = tmp_path / "shop" / "shop.inter"
    header, *lines = file.read_text().splitlines()

    def make(change=lambda lines: lines):
        file.write_text("\n".join([header, *change(list(lines))]) + "\n")
        return str(tmp_path)

    return make


def shuffled(lines):
    random.Random(2).shuffle(lines)
    return lines


CHANGES = {
    "rows in another order": (shuffled, "items '20 (…)', here '20 (…)'"),
    "more rows": (lambda lines: [*lines, *(f"u{u}\ti{u % 20}\t99" for u in range(30))], "interactions '21"),
    "another item": (lambda lines: [*lines, "u1\tnew\t99"], "items '20 (…)', here '21 (…)'"),
    "another time": (lambda lines: [lines[0] + "5", *lines[1:]], "interactions '21"),
}


def train(folder, model="EC4SRec", **settings):
    updates = {"update_epochs": [2]} if model == "EC4SRec" else {"train_neg_sample_args": None}
    return run(model, "shop", config_dict={**QUICK, **updates, "data_path": folder, **settings})


def without_digests(text):
    return re.sub(r"\([0-9a-f]{16}\)", "(…)", text)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("model", ["EC4SRec", "SASRec"])
def test_a_training_is_not_resumed_over_other_data(change, model, shop, tmp_path):
    train(shop(), model, resume="auto")
    edit, told = CHANGES[change]
    with pytest.raises(DataError) as refused:
        train(shop(edit), model, resume="auto")
    assert ".state is of other data than" in str(refused.value)
    assert told in without_digests(str(refused.value))
    assert train(shop(), model, resume="auto")  # the data are those of the training again


@pytest.mark.parametrize("change", CHANGES)
def test_load_data_and_model_refuses_other_data(change, shop, tmp_path):
    train(shop())
    (checkpoint,) = (tmp_path / "saved").glob("*.pth")
    load_data_and_model(str(checkpoint))
    shop(CHANGES[change][0])
    with pytest.raises(DataError) as refused:
        load_data_and_model(str(checkpoint))
    assert CHANGES[change][1] in without_digests(str(refused.value))


@pytest.mark.parametrize("backbone", ["SASRec", "Caser", "FEARec"])
def test_recommendations_are_by_the_ids_of_the_training(backbone, shop, tmp_path):
    folder = shop()
    train(folder, backbone=backbone, n_layers=2)
    (checkpoint,) = (tmp_path / "saved").glob("*.pth")
    before, _ = recommend(TrainedModel(checkpoint), HISTORY, topk=5)
    shop(shuffled)
    if backbone == "FEARec":  # whose constructor looks at the interactions
        with pytest.raises(DataError, match=r"is of other data than .* cannot be used"):
            TrainedModel(checkpoint)
        return
    trained = TrainedModel(checkpoint)
    pd.testing.assert_frame_equal(recommend(trained, HISTORY, topk=5)[0], before)
    assert trained.interactions.groupby("user")["item"].apply(list).to_dict() == SEQUENCES
    with pytest.raises(DataError, match="is of other data than"):
        trained.train_dataset  # noqa: B018
    (tmp_path / "shop" / "shop.inter").unlink()
    (tmp_path / "shop").rmdir()
    pd.testing.assert_frame_equal(recommend(TrainedModel(checkpoint), HISTORY, topk=5)[0], before)


def test_a_checkpoint_has_ids_of_users_only_where_the_model_needs_them(shop, tmp_path):
    for backbone in ("SASRec", "Caser"):
        train(shop(), backbone=backbone, checkpoint_dir=backbone)
        (checkpoint,) = (tmp_path / backbone).glob("*.pth")
        kept = torch.load(checkpoint, weights_only=True)["other_parameter"]["trained_on"]
        assert kept["items"] == ["[PAD]", *dict.fromkeys(i for k in range(8) for i in _at(k))]
        assert ("users" in kept) == (backbone == "Caser")


def _at(step):
    """The items of all users at one step, as ``write_inter`` orders them."""
    return [SEQUENCES[user][step] for user in sorted(SEQUENCES) if step < len(SEQUENCES[user])]


def test_a_fingerprint_does_not_depend_on_where_the_file_is(shop, make_config, tmp_path):
    folder = shop()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "shop").rename(tmp_path / "elsewhere" / "shop")
    there = create_dataset(make_config(dataset="shop", data_path=str(tmp_path / "elsewhere")))
    (tmp_path / "elsewhere" / "shop").rename(tmp_path / "shop")
    here = create_dataset(make_config("SASRec", dataset="shop", data_path=folder, train_neg_sample_args=None))
    assert here.fingerprint == there.fingerprint == fingerprint(there)
    assert set(here.fingerprint) == {"users", "items", "interactions"}


def test_trainings_that_start_in_the_same_second_have_their_own_files(shop, tmp_path, monkeypatch):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2024, 1, 1, 12, 0, 0)

    monkeypatch.setattr(utils.datetime, "datetime", Clock)
    for seed in (1, 2, 1):
        train(shop(), seed=seed)
    assert len(list((tmp_path / "saved").glob("EC4SRec-Jan-01-2024_12-00-00-*.pth"))) == 3
    assert len(list((tmp_path / "log" / "EC4SRec").glob("*.log"))) == 3


def test_a_training_that_saves_its_loaders_can_be_resumed_and_trains_as_one_that_does_not(shop, tmp_path):
    plain = train(shop(), checkpoint_dir="a", resume="auto")
    saving = train(shop(), checkpoint_dir="b", resume="auto", save_dataloaders=True)
    loading = train(shop(), checkpoint_dir="b", epochs=2, seed=QUICK.get("seed", 2020))
    assert plain["test_result"] == saving["test_result"] == loading["test_result"]
    assert list((tmp_path / "b").glob("shop-for-EC4SRec-dataloader.pth"))


def test_saved_loaders_of_other_data_are_refused(shop):
    train(shop(), save_dataloaders=True)
    with pytest.raises(DataError, match=r"shop-for-EC4SRec-dataloader.pth holds loaders of other data than .*; remove"):
        train(shop(shuffled))


def test_a_data_set_that_an_earlier_version_saved_is_refused(shop, tmp_path):
    train(shop(), save_dataset=True)
    (file,) = (tmp_path / "saved").glob("shop-EC4SRecDataset.pth")
    assert train(shop(), epochs=2)  # what this version saved is used
    dataset = pickle.loads(file.read_bytes())
    del dataset.fingerprint
    file.write_bytes(pickle.dumps(dataset))
    with pytest.raises(DataError, match="shop was saved by RecBole alone or an earlier version"):
        train(shop())


def test_what_was_saved_is_not_trained_on_in_another_way(shop):
    fresh = {train_on: train(shop(), train_on=train_on)["test_result"] for train_on in ("prefixes", "sequences")}
    assert fresh["prefixes"] != fresh["sequences"]
    for saved, other in (fresh, reversed(fresh)):
        for key in ("save_dataset", "save_dataloaders"):
            settings = {"checkpoint_dir": f"{key}-{saved}", "seed": 2020}
            train(shop(), train_on=saved, **{key: True}, **settings)
            assert train(shop(), train_on=other, **settings)["test_result"] == fresh[other]


@pytest.mark.slow
def test_several_processes_save_no_share_of_the_data(shop, tmp_path):
    settings = {**QUICK, "data_path": shop(), "update_epochs": [2], "ddp_backend": "gloo", "port": "5699"}
    run("EC4SRec", "shop", config_dict={**settings, "save_dataloaders": True}, nproc=2, port="5699")
    assert not list((tmp_path / "saved").glob("*dataloader.pth"))


def test_what_is_no_checkpoint_is_refused_in_words(shop, tmp_path):
    train(shop(), resume="auto", save_dataset=True)
    run("BPR", "shop", config_dict={"data_path": shop(), "epochs": 1, "checkpoint_dir": "general"})
    (best,) = (tmp_path / "saved").glob("EC4SRec-[A-Z]*.pth")
    (state,) = (tmp_path / "saved").glob("*.state")
    (general,) = (tmp_path / "general").glob("BPR-*.pth")
    cut, text = tmp_path / "cut.pth", tmp_path / "text.pth"
    cut.write_bytes(best.read_bytes()[:5000])
    text.write_text("weights\n")
    told = {
        tmp_path / "nothing.pth": "No such file",
        tmp_path: "Is a directory",
        cut: "not a checkpoint, or not a whole one",
        text: "not a checkpoint, or not a whole one",
        tmp_path / "saved" / "shop-EC4SRecDataset.pth": "",
        state: f"the state of a training to be resumed; its best model is {best}",
        general: "holds a BPR, which knows no sequences of items",
    }
    for file, reason in told.items():
        with pytest.raises(DataError) as refused:
            TrainedModel(file)
        assert str(file) in str(refused.value) and reason in str(refused.value), (file, refused.value)


def test_a_search_is_not_gone_on_with_over_other_data(shop, tmp_path, monkeypatch):
    (tmp_path / "space.test").write_text("learning_rate choice [0.01,0.001]\n")
    settings = tmp_path / "settings.yaml"
    settings.write_text("\n".join(f"{key}: {value}" for key, value in QUICK.items()) + "\nupdate_epochs: [2]\n")
    options = {"params_file": "space.test", "model": "EC4SRec", "dataset": "shop", "config_files": [str(settings)]}
    asked = {"data_path": shop()}
    monkeypatch.setattr("sys.argv", ["run_hyper", f"--data_path={asked['data_path']}"])
    tuning.search.search(**options, max_evals=2)
    shop(shuffled)
    with pytest.raises(ConfigError, match=r"is a search of other data: users '30 .*', here '30"):
        tuning.search.search(**options, max_evals=2)


def test_ids_that_are_kept_are_plain_text(shop, tmp_path):
    train(shop())
    (checkpoint,) = (tmp_path / "saved").glob("*.pth")
    kept = torch.load(checkpoint, weights_only=True)["other_parameter"]["trained_on"]
    assert {type(token) for token in kept["items"]} == {str}
    assert not any(isinstance(value, np.generic) for value in kept["fingerprint"].values())
