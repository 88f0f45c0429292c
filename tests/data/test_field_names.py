"""Every name of a field that RecBole lets a user set, set to another one: nothing else changes."""

import json

import pytest
from conftest import SMALL, Experiment
from recbole.config import Config

from recbole_ec4srec.commands import ec4srec
from recbole_ec4srec.experiments import records
from recbole_ec4srec.experiments.records import Run, settings_of
from recbole_ec4srec.experiments.training import record

NAMES = {
    "USER_ID_FIELD": "buyer",
    "ITEM_ID_FIELD": "product",
    "TIME_FIELD": "at",
    "RATING_FIELD": "stars",
    "LABEL_FIELD": "liked",
    "LIST_SUFFIX": "_sequence",
    "ITEM_LIST_LENGTH_FIELD": "size",
    "NEG_PREFIX": "other_",
    "POSITION_FIELD": "place",
    "load_col": {"inter": ["buyer", "product", "at"]},
}
SETTINGS = {**SMALL, "MAX_ITEM_LIST_LENGTH": 6, "n_layers": 1, "epochs": 2, "topk": [5], "valid_metric": "NDCG@5"}
OURS = {"update_epochs": [2]}
BPR = {"loss_type": "BPR", "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}}


@pytest.fixture
def renamed(data_path, tmp_path):
    """The folder of ``tiny`` with columns of other names."""
    (tmp_path / "data" / "tiny").mkdir(parents=True)
    text = (data_path / "tiny" / "tiny.inter").read_text(encoding="utf-8")
    rows = text.partition("\n")[2]
    (tmp_path / "data" / "tiny" / "tiny.inter").write_text("buyer:token\tproduct:token\tat:float\n" + rows)
    (tmp_path / "data" / "tiny" / "tiny.item").write_text("product:token\tname:token_seq\ni7\tSeven\n")
    return tmp_path / "data"


@pytest.mark.parametrize(
    "model, settings",
    [("EC4SRec", OURS), ("EC4SRec", {**OURS, **BPR, "user_inter_num_interval": "[0,30]"}), ("DuoRec", {})],
)
def test_a_training_is_the_same(model, settings, data_path, renamed):
    def trained(folder, names):
        config = Config(model, "tiny", config_dict={"data_path": str(folder), **SETTINGS, **settings, **names})
        experiment = Experiment(config)
        experiment.fit(saved=False)
        return experiment.model.state_dict()

    usual, other = trained(data_path, {}), trained(renamed, NAMES)
    assert usual.keys() == other.keys()
    assert all(usual[name].equal(other[name]) for name in usual)


def test_a_record_is_the_same_and_so_is_what_goes_on_with_a_state(data_path, renamed, tmp_path):
    def die(trainer):
        if trainer.history[-1]["epoch"] == 1:
            raise KeyError("killed")

    def recorded(folder, names):
        where = {"data_path": str(folder)}
        run = Run("EC4SRec", "EC4SRec", "tiny", 3, settings_of("EC4SRec", "tiny", {**SETTINGS, **OURS, **names}, where))
        output, work = tmp_path / f"results{len(names)}", tmp_path / f"work{len(names)}"
        with pytest.raises(KeyError, match="killed"):
            record(run, output, work, die)
        record(run, output, work, lambda training: None)
        return records.read(output, run)

    usual, other = recorded(data_path, {}), recorded(renamed, NAMES)
    for found in ("best_epoch", "valid", "test", "ranks"):
        assert usual[found] == other[found]
    assert [epoch["losses"] for epoch in usual["epochs"]] == [epoch["losses"] for epoch in other["epochs"]]


def test_a_trained_model_can_be_used(renamed, tmp_path, capsys):
    settings = {"data_path": str(renamed), "checkpoint_dir": str(tmp_path), **SETTINGS, **OURS, **NAMES}
    experiment = Experiment(Config("EC4SRec", "tiny", config_dict=settings))
    experiment.fit()
    file = experiment.trainer.saved_model_file
    ec4srec.main(["recommend", f"--checkpoint={file}", f"--input={renamed / 'tiny' / 'tiny.inter'}", "--topk=1"])
    assert len(capsys.readouterr().out.splitlines()) == 1 + 60
    ec4srec.main(["explain", f"--checkpoint={file}", "--user=all", "--topk=1", f"--output={tmp_path / 'why.json'}"])
    (found,) = json.loads((tmp_path / "why.json").read_text())
    assert [item["item"] for item in found["history"]] == [f"i{number}" for number in range(35, 41)]
    ec4srec.main(["explain", f"--checkpoint={file}", "--items=i7 i3", "--topk=1"])
    assert "Seven" in capsys.readouterr().out
    ec4srec.main(["views", f"--checkpoint={file}", "--user=all"])
    assert "next item: i38" in capsys.readouterr().out
