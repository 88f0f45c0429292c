"""The Python function and the console commands, for our models and RecBole's."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import OUR_MODELS, SMALL

import recbole_ec4srec
from recbole_ec4srec.__main__ import main
from recbole_ec4srec.commands.run_hyper import main as run_hyper_command
from recbole_ec4srec.commands.run_recbole import main as run_recbole_command

QUICK = {**SMALL, "epochs": 2, "n_layers": 1, "topk": [10], "metrics": ["Hit", "NDCG"], "valid_metric": "NDCG@10"}
EMBEDDING = {"embedding_size": 16, "dropout_prob": 0.1}


def settings_of(model):
    if model.startswith("EC4SRec"):
        return {**QUICK, "update_epochs": [2]}
    if model == "BPR":  # there is no negative item for a user who has all
        return {**QUICK, "user_inter_num_interval": "[3,30]"}
    return {**QUICK, **EMBEDDING}


def command_line(settings):
    return [f"--{key}={value}".replace(" ", "") for key, value in settings.items()]


@pytest.mark.parametrize("model", [*OUR_MODELS, "EC4SRec(SSL)", "SASRec", "GRU4Rec", "Caser", "BERT4Rec", "BPR"])
def test_run_trains_and_tests_our_models_and_recboles(model, data_path, tmp_path):
    settings = {**settings_of(model), "data_path": str(data_path)}
    result = recbole_ec4srec.run(model, "tiny", config_dict=settings)
    assert set(result["test_result"]) == {"hit@10", "ndcg@10"}
    assert 0 < result["test_result"]["ndcg@10"] < result["test_result"]["hit@10"]
    assert result["best_valid_score"] == result["best_valid_result"]["ndcg@10"]
    name = model.replace("(", "").replace(")", "")
    assert len(list((tmp_path / "saved").glob(f"{name}-*.pth"))) == 1


def test_run_reads_files_and_a_dict_and_saves_nothing_where_told(data_path, tmp_path):
    (tmp_path / "one.yaml").write_text("topk: [3]\nvalid_metric: Hit@3\nepochs: 1\n")
    (tmp_path / "two.yaml").write_text("topk: [4]\nvalid_metric: Hit@4\n")
    files = [str(tmp_path / "one.yaml"), str(tmp_path / "two.yaml")]
    settings = {**SMALL, "n_layers": 1, "metrics": ["Hit"], "data_path": str(data_path)}
    result = recbole_ec4srec.run("DuoRec", "tiny", files, settings, saved=False)
    assert list(result["test_result"]) == ["hit@4"]
    assert list((tmp_path / "saved").iterdir()) == []


@pytest.mark.parametrize("model", ["EC4SRec(SL)", "SASRec"])
def test_the_console_command_takes_every_setting(model, data_path, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "one.yaml").write_text("topk: [3]\nvalid_metric: Hit@3\n")
    (tmp_path / "two.yaml").write_text("topk: [4]\nvalid_metric: Hit@4\n")
    settings = {**settings_of(model), "data_path": data_path, "metrics": ["Hit"]}
    del settings["topk"], settings["valid_metric"]
    arguments = ["--model", model, "--dataset=tiny", "--config_files", "one.yaml two.yaml", *command_line(settings)]
    monkeypatch.setattr(sys, "argv", ["run_recbole", *arguments])
    run_recbole_command()
    assert "test result" in caplog.text
    assert "'hit@4'" in caplog.text
    assert "'hit@3'" not in caplog.text
    name = model.replace("(", "").replace(")", "")
    assert len(list((tmp_path / "saved").glob(f"{name}-*.pth"))) == 1


@pytest.mark.parametrize("command", [run_recbole_command, run_hyper_command, main])
def test_help_tells_the_usage_and_ends_well(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["command", "--help"])
    with pytest.raises(SystemExit) as end:
        command()
    assert end.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_running_no_script_tells_the_usage_and_ends_badly(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["recbole_ec4srec"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "usage: python -m recbole_ec4srec SCRIPT" in capsys.readouterr().out


@pytest.mark.slow
def test_the_installed_command_runs_on_the_data_that_come_with_recbole(tmp_path):
    settings = {"epochs": 2, "update_epochs": [2], "MAX_ITEM_LIST_LENGTH": 5, "hidden_size": 16, "inner_size": 16}
    settings.update(n_layers=1, train_batch_size=512, show_progress=False)
    command = [Path(sys.executable).with_name("run_recbole")]  # where pip puts it
    arguments = ["--model=EC4SRec", "--dataset=ml-100k", *command_line(settings)]
    done = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "importance update" in done.stderr + done.stdout
    assert "test result" in done.stderr + done.stdout
