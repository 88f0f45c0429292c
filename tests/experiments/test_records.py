"""What a record of a run holds: its settings, its metrics by user, and nothing of the machine."""

import importlib.metadata
import json

import numpy as np
import pytest
from conftest import SMALL

from recbole_ec4srec.experiments import records
from recbole_ec4srec.experiments.records import Run, settings_of
from recbole_ec4srec.experiments.training import Training, record

#: RecBole samples no negative items for a user of all items.
FEW = {"user_inter_num_interval": "[0,30]"}


def test_ranks_give_recboles_metrics(data_path, tmp_path):
    where = {"data_path": str(data_path), "metrics": ["Hit", "NDCG", "MRR"], "metric_decimal_place": 10}
    for model in ("EC4SRec", "BPR"):
        settings = settings_of(model, "tiny", {**SMALL, "epochs": 1, "num_updates": 0, "topk": [5, 10], **FEW}, where)
        training = Training(Run(model, model, "tiny", 3, settings), tmp_path)
        training.fit()
        assert len(training.results) == 2
        for judged in training.results.values():
            assert len(judged["test"]) == 6
            for metric, value in judged["test"].items():
                assert records.metric_of(judged["ranks"], metric).mean() == pytest.approx(value, abs=1e-9)
            assert (records.ranks({"ranks": records.pack(judged["ranks"])}) == judged["ranks"]).all()


def test_metrics_of_a_rank_by_hand():
    ranks = np.array([1, 2, 5, 6])
    assert records.metric_of(ranks, "hit@5").tolist() == [1, 1, 1, 0]
    assert records.metric_of(ranks, "mrr@5").tolist() == [1, 1 / 2, 1 / 5, 0]
    assert records.metric_of(ranks, "ndcg@5").tolist() == pytest.approx([1, 1 / np.log2(3), 1 / np.log2(6), 0])


def test_a_run_is_known_by_what_it_trains():
    run = Run("a", "EC4SRec", "tiny", 1, {"tau": 1.0, "data_path": "here"})
    assert run.name == Run("b", "EC4SRec", "tiny", 1, {"data_path": "there", "tau": 1.0}).name
    others = [
        Run("a", "DuoRec", "tiny", 1, {"tau": 1.0}),
        Run("a", "EC4SRec", "other", 1, {"tau": 1.0}),
        Run("a", "EC4SRec", "tiny", 2, {"tau": 1.0}),
        Run("a", "EC4SRec", "tiny", 1, {"tau": 0.5}),
    ]
    assert len({run.name, *(other.name for other in others)}) == 5


def test_what_makes_a_preset_is_not_given():
    given = {"num_updates": 3, "lambda_sl_pos": 0.3, "tau": 0.5}
    kept = {model: settings_of(model, "tiny", {}, given) for model in ("EC4SRec", "EC4SRecSSL", "CL4SRec")}
    assert "num_updates" not in kept["CL4SRec"] and "lambda_sl_pos" not in kept["EC4SRecSSL"]
    assert all(settings["tau"] == 0.5 for settings in kept.values())
    assert kept["EC4SRec"]["num_updates"] == 3 and kept["EC4SRec"]["lambda_sl_pos"] == 0.3


def test_a_record_tells_what_was_run_and_nothing_of_the_machine(data_path, tmp_path):
    settings = settings_of("CL4SRec", "tiny", {**SMALL, "epochs": 1}, {"data_path": str(data_path)})
    run = Run("CL4SRec", "CL4SRec", "tiny", 7, settings)
    record(run, tmp_path, tmp_path / "work", lambda training: None)
    file = next((tmp_path / "records").iterdir())
    assert str(data_path) not in file.read_text() and str(tmp_path) not in file.read_text()
    kept = json.loads(file.read_text())
    assert kept["config"]["lambda"] == 0.1 and kept["config"]["n_layers"] == 2
    assert kept["versions"]["torch"] == importlib.metadata.version("torch") and kept["seed"] == 7
    assert set(kept["valid"]) == set(kept["test"]) and kept["best_epoch"] == 1
    assert len(records.ranks(kept)) == 58  # two of the 60 users have too few interactions
