"""RecBole 1.2 on current libraries: anomaly detection, checkpoints, negative sampling for cross-entropy."""

import importlib
import os
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import pytest
import recbole.data.utils
import recbole.trainer.trainer
import recbole.utils.logger
import torch
from conftest import SMALL
from recbole.config import Config
from recbole.quick_start import load_data_and_model, objective_function, run_recbole
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


WITHOUT_RAY = """
import sys
sys.modules.update(dict.fromkeys(["ray", "hyperopt"]))
import recbole_ec4srec
from recbole.quick_start import objective_function
print(objective_function({"epochs": 1, **SETTINGS}, saved=False)["valid_score_bigger"])
from recbole.quick_start.quick_start import tune
try:
    tune.run
except ImportError as error:
    print(error)
"""


def test_a_trial_of_recboles_own_runs_where_neither_ray_nor_hyperopt_is_installed(data_path):
    settings = {**SMALL, "data_path": str(data_path), "model": "EC4SRec", "dataset": "tiny", "num_updates": 0}
    script = WITHOUT_RAY.replace("SETTINGS", repr(settings))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    bigger, message = done.stdout.splitlines()[-2:]
    assert bigger == "True"
    assert message.startswith("ray.tune.run: ") and message.endswith("; pip install 'recbole_ec4srec[tune]'")
    assert "Session" not in done.stderr


def test_recboles_trials_report_to_ray_where_it_is_running(monkeypatch):
    tune, found = importlib.import_module("recbole.quick_start.quick_start").tune, []
    of_recbole = SimpleNamespace(report=lambda **metrics: found.append(metrics))
    of_today = SimpleNamespace(report=lambda metrics, *, checkpoint=None: found.append(metrics))
    for ray in (of_recbole, of_today):
        monkeypatch.setitem(sys.modules, "ray.tune", ray)
        tune.report(**{"ndcg@10": 0.1})
    monkeypatch.delitem(sys.modules, "ray.tune")
    tune.report(**{"ndcg@10": 0.2})
    assert found == [{"ndcg@10": 0.1}] * 2


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


# --- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "settings"), [("SASRec", {}), ("BPR", {"eval_args": {"order": "TO"}})])
def test_data_of_ones_own_are_read_with_the_time_by_which_they_are_sorted(model, settings, data_path):
    settings = {**SMALL, "epochs": 1, "data_path": str(data_path), "user_inter_num_interval": "[0,30]", **settings}
    del settings["load_col"]
    assert run_recbole(model, "tiny", config_dict=settings, saved=False)["test_result"]


def test_fields_of_other_names_are_read():
    names = {"USER_ID_FIELD": "who", "ITEM_ID_FIELD": "what", "TIME_FIELD": "when"}
    for model in ("SASRec", "EC4SRec"):
        assert {"who", "what", "when"} <= set(Config(model, "tiny", config_dict=names)["load_col"]["inter"])


@pytest.mark.parametrize("model", ["SASRec", "EC4SRec"])
@pytest.mark.parametrize("given", [None, {"inter": ["user_id", "item_id"]}, {"inter": "*"}])
def test_what_the_user_wants_read_is_read(model, given):
    assert Config(model, "tiny", config_dict={"load_col": given})["load_col"] == given


def test_a_model_without_time_reads_what_recbole_reads():
    assert Config("BPR", "tiny")["load_col"] == {"inter": ["user_id", "item_id"]}


# --- results ----------------------------------------------------------------------------------------------------------

ABOUT_ITEMS = {"ItemCoverage", "GiniIndex", "AveragePopularity", "TailPercentage"}


@pytest.mark.parametrize("model", ["EC4SRec", "SASRec"])
def test_metrics_of_the_items_that_are_recommended_are_computed(model, experiment):
    trained = experiment(model, metrics=["NDCG", *ABOUT_ITEMS], topk=[40], valid_metric="NDCG@40")
    trained.fit()
    result = trained.trainer.evaluate(trained.test_data)
    counts = Counter(trained.train_data._dataset.inter_feat["item_id"].tolist())
    assert result["itemcoverage@40"] == round(40 / 41, 4)  # all of them are recommended; RecBole counts the padding too
    assert result["averagepopularity@40"] == round(sum(counts.values()) / 40, 4)


@pytest.mark.parametrize("model", ["EC4SRec", "SASRec"])
@pytest.mark.parametrize(("left_out", "tested"), [("valid_only", False), ("test_only", True)])
def test_a_split_without_a_part_gives_recboles_objective_what_there_is(model, left_out, tested, data_path):
    pytest.importorskip("ray")
    split = {"split": {"LS": left_out}, "order": "TO", "group_by": "user", "mode": "full"}
    updates = {"update_epochs": [2]} if model == "EC4SRec" else {}
    settings = {**SMALL, "model": model, "dataset": "tiny", "epochs": 2, "data_path": str(data_path), **updates}
    for result in (
        objective_function({**settings, "eval_args": split}),
        run_recbole(config_dict={**settings, "eval_args": split}),
    ):
        assert bool(result["test_result"]) == tested
        assert bool(result["best_valid_result"]) != tested
