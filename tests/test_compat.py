"""RecBole 1.2 on current libraries: anomaly detection, checkpoints, negative sampling for cross-entropy."""

import os
import subprocess
import sys

import pytest
import recbole.data.utils
import recbole.trainer.trainer
import recbole.utils.logger
import torch
from conftest import SMALL
from recbole.config import Config
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.trainer import Trainer

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


def test_recboles_graph_models_find_what_scipy_took_away(data_path):
    settings = {**SMALL, "epochs": 1, "data_path": str(data_path), "user_inter_num_interval": "[0,30]"}
    assert run_recbole("LightGCN", "tiny", config_dict=settings, saved=False)["test_result"]["ndcg@10"] > 0


def test_a_folder_that_another_process_made_meanwhile_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "exists", lambda path: False)  # as it was a moment ago
    for module in (recbole.utils, recbole.utils.logger, recbole.trainer.trainer, recbole.data.utils):
        module.ensure_dir(str(tmp_path))


# --- negative sampling ------------------------------------------------------------------------------------------------


def test_a_cross_entropy_loss_needs_no_setting_for_negative_sampling():
    assert Config("SASRec", "tiny")["train_neg_sample_args"]["distribution"] == "none"


def test_an_explicit_setting_is_still_refused():
    with pytest.raises(ValueError, match=r"^train_neg_sample_args: got .*, allowed is None with loss_type: CE"):
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
