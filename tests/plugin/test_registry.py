"""RecBole's own entry points know our models, and nothing changes for the models of others."""

import json
import subprocess
import sys

import numpy as np
import pytest
import recbole.data.dataset
import torch
from conftest import OUR_MODELS, SMALL, SMALL_EC4SREC
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec
from recbole.quick_start import load_data_and_model, objective_function, run_recbole
from recbole.utils import get_model, get_trainer
from recbole.utils.case_study import full_sort_scores, full_sort_topk

import recbole_ec4srec
from recbole_ec4srec import EC4SRec, register, register_model
from recbole_ec4srec.data import EC4SRecDataset, EC4SRecTrainDataLoader
from recbole_ec4srec.training.trainer import EC4SRecTrainer

ALIASES = {"EC4SRec(SSL)": "EC4SRecSSL", "EC4SRec(SL)": "EC4SRecSL"}
QUICK = {**SMALL, "epochs": 1, "n_layers": 1}
QUICK_EC4SREC = {**QUICK, "update_epochs": [1]}


def command_line(settings):
    return [f"--{key}={value}".replace(" ", "") for key, value in settings.items()]


@pytest.mark.parametrize("name", OUR_MODELS + list(ALIASES))
def test_recbole_finds_model_config_data_and_trainer_by_name(name, make_config):
    config = make_config(name, **(QUICK_EC4SREC if name.startswith("EC4SRec") else QUICK))
    class_name = ALIASES.get(name, name)
    assert get_model(name) is config.model_class is getattr(recbole_ec4srec, class_name)
    assert config["model"] == class_name
    assert config["backbone"] == "SASRec"
    assert get_trainer(config["MODEL_TYPE"], name) is EC4SRecTrainer

    dataset = create_dataset(config)
    train_data, valid_data, _ = data_preparation(config, dataset)
    assert type(dataset) is EC4SRecDataset
    assert type(train_data) is EC4SRecTrainDataLoader
    assert type(valid_data).__module__.startswith("recbole.")


@pytest.mark.parametrize("name", ALIASES)
def test_an_alias_in_a_dict_a_file_or_on_the_command_line_is_understood(name, tmp_path, monkeypatch):
    (tmp_path / "settings.yaml").write_text(f"model: {name}\ndataset: tiny\n")
    monkeypatch.setattr(sys, "argv", ["run", f"--model={name}", "--dataset=tiny"])
    assert Config()["model"] == ALIASES[name]
    monkeypatch.setattr(sys, "argv", ["run"])
    assert Config(config_dict={"model": name, "dataset": "tiny"})["model"] == ALIASES[name]
    assert Config(config_file_list=[str(tmp_path / "settings.yaml")])["model"] == ALIASES[name]


def test_a_class_is_accepted_where_recbole_accepts_one():
    config = Config(recbole_ec4srec.EC4SRecSSL, "tiny")
    assert config["model"] == "EC4SRecSSL"
    assert config["lambda_sl_pos"] == 0


@pytest.mark.parametrize("name", OUR_MODELS)
def test_run_recbole_load_data_and_model_and_case_study_work(name, data_path, tmp_path):
    settings = QUICK_EC4SREC if name.startswith("EC4SRec") else QUICK
    result = run_recbole(name, "tiny", config_dict={**settings, "data_path": str(data_path)})
    assert set(result) == {"best_valid_score", "valid_score_bigger", "best_valid_result", "test_result"}

    (checkpoint,) = (tmp_path / "saved").glob(f"{name}-*.pth")
    config, model, dataset, _, _, test_data = load_data_and_model(str(checkpoint))
    assert type(model) is getattr(recbole_ec4srec, name)
    trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
    assert trainer.evaluate(test_data, load_best_model=False) == result["test_result"]

    users = dataset.token2id(dataset.uid_field, ["u0", "long"])
    scores = full_sort_scores(users, model, test_data)
    assert scores.shape == (2, dataset.item_num)
    top_scores, top_items = full_sort_topk(users, model, test_data, k=3)
    torch.testing.assert_close(top_scores, scores.gather(1, top_items))
    assert (top_items > 0).all()


@pytest.mark.parametrize("function", [objective_function, recbole_ec4srec.objective_function])
def test_the_objective_of_hyper_parameter_search_takes_an_alias(function, data_path):
    settings = {**QUICK_EC4SREC, "model": "EC4SRec(SL)", "dataset": "tiny", "data_path": str(data_path)}
    result = function(config_dict=settings, saved=False)
    assert result["model"] == "EC4SRecSL"
    assert result["best_valid_score"] == result["best_valid_result"]["ndcg@10"]


def test_registering_twice_changes_nothing():
    def known():
        return [
            (get_model(name), get_trainer(None, name), getattr(recbole.data.dataset, f"{name}Dataset"))
            for name in [*OUR_MODELS, *ALIASES]
        ]

    before = known()
    register()
    assert known() == before


UNTOUCHED = """
import json, sys
data_path, plugin = sys.argv.pop(), sys.argv.pop()
if plugin == "with":
    import recbole_ec4srec
else:  # RecBole alone does not run with numpy 2, for want of these names
    import numpy as np
    np.complex_, np.float_, np.unicode_ = np.complex128, np.float64, np.str_
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.utils import get_dataloader
from recbole.utils import get_model, get_trainer

found = {}
for model, dataset, settings in [
    ("SASRec", "tiny", {"train_neg_sample_args": None}),
    ("SASRec", "ml-100k", {"train_neg_sample_args": None}),
    ("GRU4Rec", "tiny", {"loss_type": "BPR"}),
    ("S3Rec", "ml-100k", {"train_stage": "pretrain", "train_neg_sample_args": None}),
    ("BPR", "tiny", {}),
    ("MultiVAE", "tiny", {}),
    ("KGAT", "ml-100k", {}),
]:
    config = Config(model, dataset, config_dict={"data_path": data_path, **settings})
    names = [get_model(model), get_trainer(config["MODEL_TYPE"], model)]
    names += [get_dataloader(config, phase) for phase in ("train", "valid", "test")]
    if dataset == "tiny":
        config["load_col"] = {"inter": ["user_id", "item_id", "timestamp"]}
        names.append(type(create_dataset(config)))
    settings = {key: str(value) for key, value in config.final_config_dict.items()}
    found[f"{model} {dataset}"] = [settings, [f"{c.__module__}.{c.__qualname__}" for c in names]]
print(json.dumps(found, sort_keys=True))
"""


def test_other_models_have_the_same_settings_and_classes_with_and_without_the_plugin(data_path):
    def found(plugin):
        command = [sys.executable, "-c", UNTOUCHED, plugin, str(data_path)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return json.loads(output.splitlines()[-1])

    without = found("without")
    assert found("with") == without
    assert len(without) == 7


def test_a_users_subclass_gets_our_settings_data_and_trainer(make_config):
    class MyEC4SRec(recbole_ec4srec.EC4SRecSSL):
        pass

    register_model(MyEC4SRec, "My EC4SRec")
    assert get_model("My EC4SRec") is MyEC4SRec
    config = make_config("MyEC4SRec", **SMALL_EC4SREC)
    assert config["lambda_cl_pos"] == 0.1
    assert config["lambda_sl_pos"] == 0  # the variant it is derived from
    assert get_trainer(config["MODEL_TYPE"], "MyEC4SRec") is EC4SRecTrainer
    assert type(create_dataset(config)) is EC4SRecDataset


def test_run_takes_a_class_of_the_users_own(data_path):
    class RunByClass(EC4SRec):
        calls = 0

        def calculate_loss(self, interaction):
            type(self).calls += 1
            return super().calculate_loss(interaction)

    settings = {**QUICK_EC4SREC, "data_path": str(data_path)}
    result = recbole_ec4srec.run(RunByClass, "tiny", config_dict=settings, saved=False)
    assert RunByClass.calls > 0
    assert np.isfinite(result["best_valid_score"])


def test_run_takes_a_class_derived_from_a_model_of_recbole(data_path):
    class SASRecOfMyOwn(SASRec):
        pass

    settings = {"hidden_dropout_prob": 0.5, "attn_dropout_prob": 0.5, "hidden_act": "gelu", "layer_norm_eps": 1e-12}
    settings.update(QUICK, initializer_range=0.02, loss_type="CE", data_path=str(data_path))
    result = recbole_ec4srec.run(SASRecOfMyOwn, "tiny", config_dict=settings, saved=False)
    assert "ndcg@10" in result["test_result"]
    assert not hasattr(recbole.data.dataset, "SASRecOfMyOwnDataset")


@pytest.mark.parametrize("name", ["SASRec", "sasrec", "BPR", "KGAT"])
def test_a_name_that_recbole_has_already_is_refused(name):
    with pytest.raises(ValueError, match=name):
        register_model(type(name, (EC4SRec,), {}))
    assert get_model("SASRec") is SASRec


RECBOLE_SCRIPT = """
import argparse
from recbole.quick_start import run

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", "-m", type=str, default="BPR")
    parser.add_argument("--dataset", "-d", type=str, default="ml-100k")
    parser.add_argument("--config_files", type=str, default=None)
    parser.add_argument("--nproc", type=int, default=1)
    parser.add_argument("--ip", type=str, default="localhost")
    parser.add_argument("--port", type=str, default="5678")
    parser.add_argument("--world_size", type=int, default=-1)
    parser.add_argument("--group_offset", type=int, default=0)
    args, _ = parser.parse_known_args()
    config_file_list = args.config_files.strip().split(" ") if args.config_files else None
    result = run(
        args.model,
        args.dataset,
        config_file_list=config_file_list,
        nproc=args.nproc,
        world_size=args.world_size,
        ip=args.ip,
        port=args.port,
        group_offset=args.group_offset,
    )
    print("RESULT", dict(result["test_result"]))
"""


def test_an_unmodified_recbole_script_runs_our_model(data_path, tmp_path):
    (tmp_path / "run_recbole.py").write_text(RECBOLE_SCRIPT)
    arguments = ["--model=CL4SRec", "--dataset=tiny", *command_line({**QUICK, "data_path": data_path})]
    command = [sys.executable, "-m", "recbole_ec4srec", "run_recbole.py", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "'ndcg@10'" in done.stdout.split("RESULT")[1]
