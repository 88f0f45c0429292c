"""What MLflow and Weights & Biases are told of a training."""

import importlib.util
import sys
from contextlib import suppress
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from recbole.config import Config

from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.training.build import build
from recbole_ec4srec.training.tracking import Tracker


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """A folder that MLflow writes to."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # later versions would rather have a database
    with suppress(MlflowException):  # of another test, whose store is gone
        mlflow.end_run()
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    Tracker._run = None
    yield
    mlflow.end_run()
    Tracker._run = None


def runs():
    found = mlflow.search_runs(output_format="list")
    return {run.info.run_name: run for run in found}


def history(run, metric):
    points = mlflow.MlflowClient().get_metric_history(run.info.run_id, metric)
    return [(point.step, point.value) for point in points]


def test_mlflow_has_settings_losses_updates_and_validation_of_every_epoch_and_the_test(experiment):
    small = experiment(log_mlflow=True, epochs=4, update_epochs=[2, 3])
    small.fit()
    result = small.trainer.evaluate(small.test_data, load_best_model=True)
    (run,) = runs().values()
    assert run.info.run_name == "EC4SRec-tiny"
    assert run.data.params["mu_e"] == "0.5" and run.data.params["explainer"] == "occlusion"
    epochs = small.trainer.history
    assert len(epochs) == 4
    for metric, values in {
        "train/loss/total": [(e["epoch"] - 1, e["loss"]) for e in epochs],
        "train/loss/sl": [(0, epochs[0]["losses"]["sl"])],
        "train/loss/sl_pos": [(e["epoch"] - 1, e["losses"]["sl_pos"]) for e in epochs[1:]],
        "train/importance/last_on_top": [(e["epoch"] - 1, e["update"]["last_on_top"]) for e in epochs[1:3]],
        "train/importance/changed": [(2, epochs[2]["update"]["changed"])],
        "valid/ndcg_at_10": [(e["epoch"] - 1, e["valid"]["ndcg@10"]) for e in epochs],
    }.items():
        assert history(run, metric) == values, metric
    assert run.data.metrics["eval/ndcg_at_10"] == result["ndcg@10"]


def test_both_protocols_validation_is_told(make_config):
    built = build(make_config("CL4SRec", log_mlflow=True, epochs=2), under_both=True)
    built.trainer.fit(built.train_data, built.valid_data)
    (run,) = runs().values()
    for name, part in (("valid/ndcg_at_10", "all"), ("valid/unseen/ndcg_at_10", "unseen")):
        epochs = built.trainer.epochs_under(part)
        assert history(run, name) == [(e["epoch"] - 1, e["valid"]["ndcg@10"]) for e in epochs]


def test_recboles_own_model_is_told_of_and_a_second_training_is_a_second_run(experiment):
    for model in ("SASRec", "GRU4Rec"):
        experiment(model, log_mlflow=True, epochs=1).fit()
    assert set(runs()) == {"SASRec-tiny", "GRU4Rec-tiny"}
    assert all("valid/ndcg_at_10" in run.data.metrics for run in runs().values())


def test_a_run_that_is_active_is_used(experiment):
    with mlflow.start_run(run_name="mine"):
        experiment(log_mlflow=True, epochs=1, num_updates=0, update_epochs=[]).fit()
        assert mlflow.active_run() is not None
    assert set(runs()) == {"mine"}


def test_nothing_is_told_unless_it_is_asked_for(experiment, tmp_path):
    experiment(epochs=1, num_updates=0, update_epochs=[]).fit()
    assert not runs()


def test_weights_and_biases_has_the_parts_of_the_loss_and_the_updates(experiment, monkeypatch):
    told = []
    wandb = ModuleType("wandb")
    wandb.__spec__ = ModuleSpec("wandb", None)
    wandb.run, wandb.define_metric = SimpleNamespace(summary={}), lambda *names, **options: None
    wandb.log = lambda metrics, commit: told.append(metrics)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    small = experiment(log_wandb=True, epochs=2, update_epochs=[2])
    small.fit()
    second = next(metrics for metrics in told if "train/loss/cl_neg" in metrics)
    epoch = small.trainer.history[1]
    assert second["train/loss/cl_neg"] == epoch["losses"]["cl_neg"] and second["train_step"] == 1
    assert second["train/importance/last_on_top"] == epoch["update"]["last_on_top"]


def test_without_mlflow_the_key_is_refused(data_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *more: None if name == "mlflow" else find_spec(name, *more)
    )
    with pytest.raises(ConfigError, match=r"log_mlflow: got True, allowed is False without MLflow: pip install"):
        Config("EC4SRec", "tiny", config_dict={"data_path": str(data_path), "log_mlflow": True})
