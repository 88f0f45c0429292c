"""A training that was killed and resumed ends as the unbroken one, bit for bit."""

import io
import logging
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import recbole.trainer
import torch
from conftest import SMALL

import recbole_ec4srec
from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.experiments import records
from recbole_ec4srec.experiments.records import Run, settings_of
from recbole_ec4srec.experiments.training import record
from recbole_ec4srec.training import resume

EPOCHS = {"epochs": 6, "stopping_step": 9, "eval_batch_size": 64}
OURS = {"update_epochs": [2, 5]}
#: RecBole samples no negative items for a user of all items.
FEW = {"user_inter_num_interval": "[0,30]"}
#: What depends on the clock.
CLOCK = ("seconds", "epochs")


class Killed(Exception):
    pass


@pytest.fixture
def outcome(data_path, tmp_path):
    """``outcome(model, kills, **settings)``: the record of a run that dies after each of the epochs ``kills``."""

    def train(model, kills=(), **settings):
        where = {"data_path": str(data_path)}
        run = Run(model, model, "tiny", 3, settings_of(model, "tiny", {**SMALL, **EPOCHS, **settings}, where))
        output, work = tmp_path / f"results{kills}", tmp_path / f"work{kills}"
        for kill in kills:

            def die(trainer, kill=kill):
                if trainer.history[-1]["epoch"] == kill:
                    raise Killed

            with pytest.raises(Killed):
                record(run, output, work, die)
            torch.rand(1), np.random.shuffle([1, 2])  # noqa: NPY002  (what else a process may do)
        record(run, output, work, lambda training: None)
        assert not [file for file in work.iterdir() if file.suffix not in (".pth", ".warm")]
        kept = records.read(output, run)
        curve = [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in kept["epochs"]]
        return curve, {key: value for key, value in kept.items() if key not in CLOCK}

    return train


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("EC4SRec", OURS),
        ("EC4SRec", {**OURS, "explainer": "random"}),
        (
            "EC4SRec",
            {**OURS, "loss_type": "BPR", "train_neg_sample_args": {"distribution": "uniform", "sample_num": 2}},
        ),
        ("EC4SRecSL", {**OURS, "backbone": "GRU4Rec", "num_layers": 1, "dropout_prob": 0.2, "embedding_size": 16}),
        ("EC4SRecSSL", {**OURS, "lambda_cl_pos": 0, "lambda_cl_neg": 0}),
        ("DuoRec", {}),
        ("EC4SRec", {**OURS, "train_on": "sequences", "MAX_ITEM_LIST_LENGTH": 5}),
        ("SASRec", {}),
        ("SASRec", {"train_on": "sequences", "loss_type": "CE"}),
        ("BPR", FEW),
    ],
)
def test_it_ends_as_the_unbroken_run(model, settings, outcome):
    unbroken = outcome(model, **settings)
    assert len(unbroken[0]) == 6
    assert outcome(model, (1, 4), **settings) == unbroken
    assert outcome(model, (5, 6), **settings) == unbroken  # the last one after the last epoch, before the test


def test_patience_is_kept(outcome):
    hopeless = {"learning_rate": 0.05, "epochs": 60, "stopping_step": 2}
    unbroken = outcome("CL4SRec", **hopeless)
    assert len(unbroken[0]) < 60
    last = unbroken[0][-1]["epoch"]
    assert outcome("CL4SRec", (last - 1, last), **hopeless) == unbroken


def test_a_state_is_plain_and_replaced_in_one_step(experiment, tmp_path, monkeypatch):
    trained = experiment()
    file = tmp_path / "training.state"
    resume.save_state(file, trained.trainer, trained.train_data, note=1)
    whole = file.read_bytes()
    assert torch.load(file, weights_only=True)["note"] == 1

    def torn(state, out):
        out.write_bytes(b"half of it")
        raise OSError("the disk is full")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError, match="full"):
        resume.save_state(file, trained.trainer, trained.train_data, note=2)
    assert file.read_bytes() == whole
    assert list(tmp_path.glob("*.tmp")) == []


@pytest.fixture
def run(data_path, tmp_path, monkeypatch):
    """``run(model, kill, **settings)``: what RecBole's quick start gives. Killed after an epoch, or where
    ``kill(trainer)`` says so, it gives None; the state of that epoch is written then, its model is not."""

    def quick_start(model="EC4SRec", kill=None, **settings):
        where = {"data_path": str(data_path), "checkpoint_dir": str(tmp_path / "saved")}
        ours = OURS if model.startswith("EC4SRec") else {}
        save_state = resume.save_state

        def save_and_die(file, trainer, *args, **options):
            save_state(file, trainer, *args, **options)
            if kill(trainer) if callable(kill) else trainer.history[-1]["epoch"] == kill:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(resume, "save_state", save_and_die)
            try:
                return recbole_ec4srec.run(
                    model, "tiny", config_dict={**SMALL, **EPOCHS, **ours, **where, "seed": 5, **settings}
                )
            except Killed:
                return None

    return quick_start


def states(tmp_path):
    return sorted((tmp_path / "saved").glob("*.state"))


@pytest.mark.parametrize("model", ["EC4SRec", "SASRec"])
def test_recboles_quick_start_resumes_by_itself(model, run, tmp_path):
    unbroken = run(model)
    assert states(tmp_path) == []  # nothing is left unless it is asked for
    assert run(model, kill=1, resume="auto") is None
    assert run(model, kill=4, resume="auto") is None
    assert run(model, resume="auto") == unbroken
    assert run(model, resume="auto") == unbroken  # there is nothing left to train
    assert len(states(tmp_path)) == 1
    assert list((tmp_path / "saved").glob("*.tmp")) == []


def test_a_training_that_has_ended_is_tested_again_by_metrics_about_items_too(run):
    settings = {"resume": "auto", "metrics": ["NDCG", "ItemCoverage"], "valid_metric": "NDCG@10"}
    assert run("SASRec", **settings) == run("SASRec", **settings)


def test_the_state_of_an_earlier_version_is_resumed_from(run, tmp_path):
    unbroken = run()
    run(kill=3, resume="auto")
    (file,) = states(tmp_path)
    state = torch.load(file, weights_only=True)
    torch.save({**state, "format": 2, "random": state["random"][0]}, file)
    assert run(resume="auto") == unbroken


def test_another_number_of_processes_is_refused_by_the_newest_state_with_what_differs(run, tmp_path, caplog):
    run(kill=3, resume="auto")
    (file,) = states(tmp_path)
    state = torch.load(file, weights_only=True)
    torch.save({**state, "random": 3 * state["random"]}, file)
    with pytest.raises(
        ConfigError,
        match=rf"^nproc: got 1, allowed is 3 to resume from .*{file.name}, which a training of 3 processes left",
    ):
        run(resume="auto")
    assert "the state before it" not in caplog.text


def test_without_validation_a_training_says_that_it_leaves_no_state(run, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    run(eval_step=0, resume="auto")
    assert "resume: no state is written" in caplog.text
    assert not list((tmp_path / "saved").glob("*.state"))


def test_another_configuration_has_a_state_of_its_own(run, tmp_path):
    run(kill=1, resume="auto")
    run(kill=1, resume="auto", tau=0.5)
    assert len(states(tmp_path)) == 2


def test_any_file_of_a_state_is_resumed_from_but_not_by_another_training(run, tmp_path, capsys):
    unbroken = run()
    run(kill=3, resume="auto")
    (file,) = states(tmp_path)
    kept = file.rename(file.with_name("kept"))
    assert run(resume=str(kept)) == unbroken
    with pytest.raises(ConfigError, match=r"kept was left by another training: tau 1.0, here 0.5"):
        run(resume=str(kept), tau=0.5)


def test_what_is_no_whole_state_is_refused_by_name_and_runs_nothing(run, tmp_path):
    run(kill=1, resume="auto")
    (file,) = states(tmp_path)
    whole = file.read_bytes()
    ran = tmp_path / "ran"

    class Harmful:
        def __reduce__(self):
            return ran.write_text, ("x",)

    harmful = io.BytesIO()
    torch.save({"format": 1, "history": Harmful()}, harmful)
    foreign = io.BytesIO()
    torch.save({"weights": torch.zeros(3)}, foreign)
    for content in (
        whole[: len(whole) // 2],
        b"",
        b"text",
        foreign.getvalue(),
        harmful.getvalue(),
        pickle.dumps(Harmful()),
    ):
        file.write_bytes(content)
        with pytest.raises(
            ConfigError, match=rf"resume: .*{file.name} is not the state of a training, or not a whole one"
        ):
            run(resume="auto")
        assert not ran.exists()


#: Metrics that go up and down.
RESTLESS = {"learning_rate": 0.3, "epochs": 8}


@pytest.fixture
def best_at_two(monkeypatch):
    """Epoch 2 is the best of a training of ours, whatever the rounding of a CPU makes of it."""
    evaluate = recbole.trainer.Trainer._valid_epoch

    def _valid_epoch(trainer, *args, **options):
        _, result = evaluate(trainer, *args, **options)
        result["ndcg@10"] = {0: 0.1, 1: 0.3}.get(len(trainer.history), 0.2)
        return result["ndcg@10"], result

    monkeypatch.setattr(recbole.trainer.Trainer, "_valid_epoch", _valid_epoch)


def after_a_worse_epoch(trainer):
    return trainer.history[-1] is not trainer.best and trainer.best["epoch"] > 1


def flipped(content):
    """A bit of each of some bytes in the middle of the largest tensor changed; one alone may be of no meaning."""
    largest = max(zipfile.ZipFile(io.BytesIO(content)).infolist(), key=lambda entry: entry.file_size)
    middle = largest.header_offset + largest.file_size // 2
    return content[:middle] + bytes(byte ^ 1 for byte in content[middle : middle + 500]) + content[middle + 500 :]


def test_a_best_model_that_is_not_the_states_is_refused(run, best_at_two, tmp_path):
    run(epochs=1, update_epochs=[1])
    (earlier,) = (tmp_path / "saved").glob("*.pth")
    of_another = earlier.read_bytes()
    earlier.unlink()
    run(kill=after_a_worse_epoch, resume="auto", **RESTLESS)
    (best,) = (tmp_path / "saved").glob("*.pth")
    whole = best.read_bytes()
    for content, reason in (
        (None, "No such file"),
        (whole[:999], "is not a checkpoint, or not a whole one"),
        (flipped(whole), "is damaged, as its checksums tell"),
        (of_another, "is of epoch 0"),
    ):
        best.unlink() if content is None else best.write_bytes(content)
        with pytest.raises(ConfigError, match=rf"^resume: .*needs the best model so far, .*pth.*{reason}"):
            run(resume="auto", **RESTLESS)


def test_where_the_newest_state_is_damaged_the_one_before_it_is_used_and_that_is_told(
    run, best_at_two, tmp_path, caplog
):
    caplog.set_level(logging.INFO)
    unbroken = run(**RESTLESS)
    for kill, damage in ((4, flipped), (after_a_worse_epoch, None)):
        shutil.rmtree(tmp_path / "saved")
        run(kill=kill, resume="auto", **RESTLESS)
        (file,) = states(tmp_path)
        if damage:
            file.write_bytes(damage(file.read_bytes()))
        else:  # it died between the two renamings
            file.unlink()
        caplog.clear()
        assert run(resume="auto", **RESTLESS) == unbroken
        assert f"Resuming from {file}.previous" in caplog.text
        assert (f"resume: {file} is not the state of a training, or not a whole one" in caplog.text) == bool(damage)


def test_a_best_model_whose_name_would_act_on_the_terminal_is_refused(run, tmp_path):
    run(kill=1, resume="auto")
    (file,) = states(tmp_path)
    torch.save({**torch.load(file, weights_only=True), "best_model": "\x1b[2J.pth"}, file)
    with pytest.raises(ConfigError, match=r"was left by no training: its best model is '\\x1b\[2J.pth'"):
        run(resume=str(file))


def test_a_damaged_state_that_was_named_outright_is_refused(run, tmp_path):
    run(kill=3, resume="auto")
    (file,) = states(tmp_path)
    file.write_bytes(flipped(file.read_bytes()))
    with pytest.raises(ConfigError, match=rf"^resume: {file} is not .*whole one .*is damaged, as its checksums tell"):
        run(resume=str(file))


def test_what_killed_processes_left_half_written_is_removed(run, tmp_path):
    run(kill=3, resume="auto")
    (file,) = states(tmp_path)
    gone, alive = 2**22 + 1, os.getppid()  # above the largest id of a process
    for process in (gone, alive):
        file.with_name(f"{file.name}.{process}.tmp").write_bytes(b"half of it")
    run(resume="auto")
    assert [left.name for left in file.parent.glob("*.tmp")] == [f"{file.name}.{alive}.tmp"]


@pytest.mark.parametrize("value", ["nowhere.state", 3, True])
def test_a_resume_that_cannot_work_is_refused_before_the_data_is_read(value, run):
    for model in ("EC4SRec", "SASRec"):
        with pytest.raises(ConfigError, match="resume: got"):
            run(model, resume=value, data_path="nowhere")


def test_a_best_model_is_replaced_in_one_step(experiment, monkeypatch):
    trainer = experiment().trainer
    trainer._save_checkpoint(0)
    whole = Path(trainer.saved_model_file).read_bytes()

    def torn(state, file, **options):
        Path(file).write_bytes(b"half of it")
        raise OSError("the disk is full")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError, match="full"):
        trainer._save_checkpoint(1)
    best = Path(trainer.saved_model_file)
    assert best.read_bytes() == whole
    assert list(best.parent.glob("*.tmp")) == []


def test_trainers_with_a_loop_of_their_own_stay_as_they_are():
    assert resume.resumable(recbole.trainer.DecisionTreeTrainer) is recbole.trainer.DecisionTreeTrainer
    assert issubclass(resume.resumable(recbole.trainer.Trainer), recbole.trainer.Trainer)


@pytest.mark.parametrize(("bigger", "best"), [(True, 4), (False, 2)])
def test_the_best_epoch_is_by_the_metric_and_of_equals_the_last(bigger, best):
    scores = [0.2, 0.1, 0.3, 0.3, 0.2] if bigger else [0.1, 0.1, 0.3, 0.3, 0.2]
    history = [{"epoch": number, "valid": {"ndcg@10": score}} for number, score in enumerate(scores, 1)]
    assert resume.best_epoch(history, "ndcg@10", bigger)["epoch"] == best
