"""The schedule: when importance is updated, what the losses are in between, early stopping, and what is logged."""

import gc
import logging
import re
import threading
from pathlib import Path

import pytest
import torch
from recbole.trainer import Trainer

from recbole_ec4srec.data import ImportanceTable
from recbole_ec4srec.errors import NonFiniteError
from recbole_ec4srec.plugin import compat

WARMUP, GUIDED = ("rec", "cl", "sl"), ("rec", "cl_pos", "cl_neg", "sl_pos")


class Watched:
    """An experiment with the epochs, counted from 1, of its importance updates, and the losses of every epoch."""

    def __init__(self, experiment):
        self.experiment, self.trainer = experiment, experiment.trainer
        self.updates, self.losses = [], []
        table, train_epoch = self.trainer.explainer.table, self.trainer._train_epoch

        def watch_table(*args, **options):
            self.updates.append(len(self.losses) + 1)
            return table(*args, **options)

        def watch_epoch(*args, **options):
            result = train_epoch(*args, **options)
            self.losses.append(tuple(self.trainer.last_epoch["losses"]))
            return result

        self.trainer.explainer.table, self.trainer._train_epoch = watch_table, watch_epoch

    def fit(self, **options):
        self.experiment.fit(**options)
        return self


@pytest.fixture
def watched(experiment):
    """``watched(…)``: a :class:`Watched` experiment, the smallest there is."""

    def make(model="EC4SRec", **settings):
        return Watched(experiment(model, **{"n_layers": 1, "hidden_size": 8, "train_batch_size": 256, **settings}))

    return make


@pytest.fixture
def scores(monkeypatch):
    """``scores(…)``: what validation finds, epoch by epoch."""

    def script(*values):
        values = iter(values)
        monkeypatch.setattr(Trainer, "_valid_epoch", lambda *_, **__: (value := next(values), {"ndcg@10": value}))

    return script


def falling(number):
    return [1 - epoch / 1000 for epoch in range(number)]


# --- the schedule -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "updates"),
    [
        ({"epochs": 6, "num_updates": 2, "update_epochs": []}, [2, 4]),
        ({"epochs": 5, "num_updates": 1, "update_epochs": []}, [2]),
        ({"epochs": 5, "update_epochs": [5, 3]}, [3, 5]),
        ({"epochs": 2, "update_epochs": [1]}, [1]),
        ({"epochs": 3, "num_updates": 0, "update_epochs": []}, []),
    ],
)
def test_importance_is_updated_at_the_start_of_the_scheduled_epochs(settings, updates, watched):
    run = watched(**settings).fit(saved=False)
    assert run.updates == updates
    first = updates[0] if updates else settings["epochs"] + 1
    assert run.losses == [WARMUP] * (first - 1) + [GUIDED] * (settings["epochs"] + 1 - first)


@pytest.mark.parametrize("model", ["CL4SRec", "DuoRec"])
def test_the_random_models_explain_nothing(model, watched):
    run = watched(model).fit(saved=False)
    assert run.updates == []
    assert set(run.losses) == {("rec", "cl") if model == "CL4SRec" else ("rec", "sl")}


def test_without_guided_losses_nothing_is_explained(watched):
    run = watched(lambda_cl_pos=0, lambda_cl_neg=0, lambda_sl_pos=0).fit(saved=False)
    assert run.updates == []
    assert run.losses == [WARMUP] + [("rec",)] * 3


def test_each_update_explains_the_model_as_it_is_then(watched):
    run = watched()
    tables = []
    set_importance = run.experiment.train_data.set_importance
    run.experiment.train_data.set_importance = lambda table: tables.append(table) or set_importance(table)
    run.fit(saved=False)
    assert len(tables) == 2
    assert not tables[0].values.equal(tables[1].values)
    assert run.experiment.train_data.importance is tables[1]


def test_another_loader_is_refused(watched, experiment):
    other = experiment("SASRec", n_layers=1)
    with pytest.raises(TypeError, match="EC4SRecTrainDataLoader, not with a TrainDataLoader"):
        watched().trainer.fit(other.train_data, other.valid_data)


# --- validation and early stopping ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stopping_step", "update_epochs", "epochs_run"),
    [
        (0, [5], 5),  # no patience at all: the first epoch after the update is the last
        (1, [5], 6),
        (2, [3], 5),
        (2, [3, 5], 7),  # the second update comes in time, and patience starts again
        (1, [3, 6], 4),  # only the first update is waited for
        (9, [2], 10),
    ],
)
def test_a_falling_score_ends_the_run_after_the_patience_that_starts_at_each_update(
    stopping_step, update_epochs, epochs_run, watched, scores
):
    scores(*falling(10))
    run = watched(epochs=10, update_epochs=update_epochs, stopping_step=stopping_step).fit(saved=False)
    assert len(run.losses) == epochs_run
    assert run.updates == [epoch for epoch in update_epochs if epoch <= epochs_run]


def test_a_run_without_updates_stops_as_recbole_does(watched, scores):
    scores(*falling(10))
    run = watched("CL4SRec", epochs=10, stopping_step=2).fit(saved=False)
    assert len(run.losses) == 4


@pytest.mark.parametrize("best", [1, 2, 4, 6])
def test_the_best_checkpoint_is_that_of_the_best_epoch_of_all(best, watched, scores, caplog):
    caplog.set_level(logging.INFO)
    scores(*[0.9 if epoch == best else epoch / 100 for epoch in range(1, 7)])
    run = watched(epochs=6, update_epochs=[3, 5]).fit()
    assert compat.load_checkpoint(run.trainer.saved_model_file)["epoch"] == best - 1
    assert run.trainer.best_valid_score == 0.9
    assert f"Best epoch of all: {best - 1}, ndcg@10: 0.9" in caplog.text


@pytest.mark.parametrize("options", [{"eval_step": 0}, {"valid_data": None}])
def test_without_validation_every_epoch_runs_and_the_last_is_kept(options, watched):
    run = watched(eval_step=options.get("eval_step", 1), stopping_step=0)
    valid_data = options.get("valid_data", run.experiment.valid_data)
    run.trainer.fit(run.experiment.train_data, valid_data)
    assert len(run.losses) == 4
    assert run.updates == [2, 4]
    assert compat.load_checkpoint(run.trainer.saved_model_file)["epoch"] == 3


def test_nothing_is_written_where_nothing_is_to_be_saved(watched, tmp_path):
    watched().fit(saved=False)
    assert list((tmp_path / "saved").iterdir()) == []


# --- what is logged ---------------------------------------------------------------------------------------------------


def test_the_log_tells_each_updates_time_and_how_much_changed(watched, caplog):
    caplog.set_level(logging.INFO)
    run = watched().fit(saved=False)
    number = len(run.experiment.train_data._dataset)
    text = re.sub(r"\x1b\[\d+m", "", caplog.text)
    updates = re.findall(r"epoch (\d) importance update \[(\d of \d), (\d+) instances, time: \d+\.\d\ds(.*)\]", text)
    assert [update[:3] for update in updates] == [("1", "1 of 2", str(number)), ("3", "2 of 2", str(number))]
    first, second = (run.trainer.history[epoch]["update"] for epoch in (1, 3))
    assert first["changed"] is None  # nothing to compare the first one with
    assert updates[0][3] == f", last item on top: {first['last_on_top']:.2%}"
    on_top = f", last item on top: {second['last_on_top']:.2%}"
    assert updates[1][3] == f"{on_top}, most important item changed: {second['changed']:.2%}"


@pytest.mark.parametrize("explainer", ["random", "attention_norm"])
def test_an_update_tells_the_share_of_sequences_whose_last_item_is_the_most_important(explainer, watched):
    run = watched(explainer=explainer, update_epochs=[2], epochs=2).fit(saved=False)
    lengths, importance = run.experiment.train_data._dataset.item_seq_len.tolist(), run.experiment.train_data.importance
    rows = [importance.rows(torch.tensor([row]))[0, :n].tolist() for row, n in enumerate(lengths) if n > 1]
    share = sum(row.index(max(row)) == len(row) - 1 for row in rows) / len(rows)
    assert run.trainer.history[1]["update"]["last_on_top"] == pytest.approx(share)
    assert 0 < share < 1


def test_sequences_of_one_item_have_no_such_share():
    table = ImportanceTable(torch.tensor([1, 1]), 3)
    assert table.last_on_top_share() is None


def test_the_log_names_the_parts_of_the_loss(watched, caplog):
    caplog.set_level(logging.INFO)
    watched().fit(saved=False)
    text = re.sub(r"\x1b\[\d+m", "", caplog.text)
    assert "train_loss" not in text
    number = r"\d+\.\d{4}"
    assert re.search(rf"epoch 0 training \[time: .*s, rec: {number}, cl: {number}, sl: {number}\]", text)
    assert re.search(rf"epoch 1 .*, rec: {number}, cl_pos: {number}, cl_neg: {number}, sl_pos: {number}\]", text)


def test_tensorboard_gets_each_part_of_the_loss_and_the_share_that_changed(watched, monkeypatch):
    run, written = watched(), {}
    add = lambda tag, value, step: written.setdefault(tag, {}).update({step: value})  # noqa: E731
    monkeypatch.setattr(run.trainer.tensorboard, "add_scalar", add)
    run.fit(saved=False)
    epochs = {tag: sorted(values) for tag, values in written.items()}
    assert epochs["Loss/Train"] == epochs["Loss/Train/rec"] == [0, 1, 2, 3]
    assert epochs["Loss/Train/cl"] == epochs["Loss/Train/sl"] == [0]
    assert epochs["Loss/Train/cl_pos"] == epochs["Loss/Train/cl_neg"] == epochs["Loss/Train/sl_pos"] == [1, 2, 3]
    assert epochs["Importance/seconds"] == [1, 3]
    changed = run.trainer.history[3]["update"]["changed"]
    assert written["Importance/changed_most_important_item"] == {3: changed}
    shares = {epoch: run.trainer.history[epoch]["update"]["last_on_top"] for epoch in (1, 3)}
    assert written["Importance/last_item_on_top"] == shares
    for epoch, total in written["Loss/Train"].items():
        parts = [values[epoch] for tag, values in written.items() if tag.startswith("Loss/Train/") and epoch in values]
        assert total == pytest.approx(sum(parts))


# --- what is not finite -----------------------------------------------------------------------------------------------


def stopped(run):
    """The message that a training stops with, in its second epoch or later; the best model of the first is left."""
    saved = Path(run.trainer.saved_model_file)
    after_first = []
    with pytest.raises(NonFiniteError) as caught:
        run.fit(callback_fn=lambda *_: after_first.append(saved.read_bytes()))
    assert saved.read_bytes() == after_first[-1]
    assert str(caught.value).endswith(f"the best model so far is {saved}")
    return str(caught.value)


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize("part", GUIDED)
def test_a_loss_that_is_not_finite_stops_the_run_with_epoch_batch_and_part(part, value, watched):
    run = watched(update_epochs=[2], train_batch_size=32)
    calculate_loss, batches = run.experiment.model.calculate_loss, []

    def spoilt(batch):
        losses = calculate_loss(batch)
        if run.losses:
            batches.append(batch)
        if len(batches) < 3:
            return losses
        return losses.also(**{part: losses[losses.names.index(part)] * float(value)})

    run.experiment.model.calculate_loss = spoilt
    message = stopped(run)
    assert message.startswith("epoch 1 (counted from 0), batch 3: the loss is not finite (rec ")
    assert re.findall(r"(\w+) (?:nan|inf)", message) == [part]


def test_weights_that_the_last_batch_made_not_finite_are_neither_evaluated_nor_saved(watched):
    run = watched(update_epochs=[2], train_batch_size=1024)
    weight = run.experiment.model.backbone.model.item_embedding.weight
    weight.register_hook(lambda gradient: gradient * float("nan") if run.losses else gradient)
    message = "epoch 1 (counted from 0), after batch 1: the weights backbone.model.item_embedding.weight are not finite"
    assert stopped(run).startswith(message)


def test_importance_that_is_not_finite_stops_the_run_with_the_explainer_and_the_number_of_instances(watched):
    run = watched(update_epochs=[2], explainer="saliency")
    table = run.trainer.explainer.table

    def spoilt(*args):
        importance = table(*args)
        importance.values[[0, 1, -1]] = float("nan")  # of three instances
        return importance

    run.trainer.explainer.table = spoilt
    number = len(run.experiment.train_data._dataset)
    scores = f"explainer: saliency: the scores of 3 of {number} instances are not finite"
    assert stopped(run).startswith(f"epoch 1 (counted from 0) importance update: {scores}")


def test_a_training_that_is_over_leaves_no_thread(experiment):
    """TensorBoard's, one for each trainer: RecBole does not end it."""
    gc.collect()
    before = threading.active_count()
    kept = [experiment("CL4SRec", epochs=1) for _ in range(3)]
    for each in kept:
        each.trainer.fit(each.train_data, each.valid_data, show_progress=False)
    assert threading.active_count() == before + 3
    logs = list(Path(kept[0].trainer.tensorboard.log_dir).glob("events*"))
    del kept, each
    gc.collect()
    assert threading.active_count() == before
    assert logs and all(b"Loss/Train" in log.read_bytes() for log in logs)
