"""One training, judged with all items ranked and without seen items: each with its own best epoch and its own end."""

import numpy as np
import pytest
import torch
from recbole.evaluator import Evaluator
from recbole.trainer import Trainer

from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.training import resume
from recbole_ec4srec.training.build import build
from recbole_ec4srec.training.protocols import ALL, UNSEEN, model_file, own_protocol, protocols_of, under

SMALLEST = {
    "n_layers": 1,
    "hidden_size": 8,
    "train_batch_size": 256,
    "metrics": ["Hit", "NDCG"],
    "valid_metric": "NDCG@10",
}
#: RecBole samples no negative items for a user of all items.
FEW = {"user_inter_num_interval": "[0,30]"}
POPULARITY = {"metrics": ["Hit", "NDCG", "AveragePopularity"]}
MODELS = [
    ("EC4SRec", POPULARITY),
    ("EC4SRec", {}),
    ("SASRec", {}),
    ("GRU4Rec", {}),
    ("Caser", {}),
    ("BERT4Rec", {}),
    ("BPR", FEW),
]


@pytest.fixture
def judged(make_config, tmp_path):
    """``judged(model, **settings)``: what is built for a training under both protocols."""

    def make(model="CL4SRec", **settings):
        built = build(make_config(model, **{**SMALLEST, **settings}), under_both=True)
        built.trainer.saved_model_file = str(tmp_path / "best.pth")
        return built

    return make


@pytest.fixture
def scores(monkeypatch):
    """``scores(own, other)``: what validation finds under the two protocols, epoch by epoch."""

    def script(own, other=()):
        def evaluate(trainer, *_, **__):
            epoch = len(trainer.history)
            monkeypatch.setattr(Evaluator, "evaluate", lambda *_: {"ndcg@10": other[epoch]})
            return {"ndcg@10": own[epoch]}

        monkeypatch.setattr(Trainer, "evaluate", evaluate)

    return script


def epoch_of(file):
    return torch.load(file, weights_only=True)["epoch"]


#: Patience is one epoch: the second worse one is the last.
SOON = [0.3, 0.2, 0.2, 0.9, 0.9, 0.9, 0.9]  # ends after three epochs, of which the first is the best
LATE = [0.1, 0.2, 0.3, 0.2, 0.4, 0.1, 0.1]  # ends after seven, the fifth is the best


@pytest.mark.parametrize(("model", "repeatable"), [("SASRec", True), ("SASRec", False), ("CL4SRec", True)])
@pytest.mark.parametrize("own_first", [True, False])
def test_each_protocol_has_its_own_best_epoch_and_end(model, own_first, repeatable, judged, scores):
    own, other = (SOON, LATE) if own_first else (LATE, SOON)
    scores(own, other)
    run = judged(model, epochs=9, stopping_step=1, repeatable=repeatable)
    trainer = run.trainer
    assert (trainer.own, trainer.other) == ((ALL, UNSEEN) if repeatable else (UNSEEN, ALL))
    best, _ = trainer.fit(run.train_data, run.valid_data)
    expected = {trainer.own: own, trainer.other: other}
    for protocol, values in expected.items():
        number, best_epoch = (3, 1) if values is SOON else (7, 5)
        assert [epoch["valid"]["ndcg@10"] for epoch in trainer.epochs_under(protocol)] == values[:number]
        assert trainer.best_under(protocol)["epoch"] == best_epoch
    assert best == trainer.best_valid_score == own[trainer.best["epoch"] - 1]
    assert [epoch["epoch"] for epoch in trainer.history] == list(range(1, 8))
    files = trainer.saved_model_file, model_file(trainer.saved_model_file, trainer.other)
    assert [epoch_of(file) + 1 for file in files] == ([1, 5] if own_first else [5, 1])
    assert [torch.load(file, weights_only=True)["best_valid_score"] for file in files] == (
        [0.3, 0.4] if own_first else [0.4, 0.3]
    )


@pytest.mark.parametrize("values", [SOON, LATE])
def test_a_protocol_ends_where_a_training_that_is_judged_by_it_alone_does(values, experiment, scores):
    scores(values)
    alone = experiment("CL4SRec", **SMALLEST, epochs=9, stopping_step=1)
    alone.fit(saved=False)
    assert len(alone.trainer.history) == (3 if values is SOON else 7)
    assert alone.trainer.best["epoch"] == (1 if values is SOON else 5)


def test_patience_starts_anew_at_an_update_for_both(judged, scores):
    falling = [1 - epoch / 10 for epoch in range(9)]
    scores(falling, [*falling[:6], 0.95, *falling[7:]])  # better than before the update, but not than the best
    run = judged("EC4SRec", epochs=9, stopping_step=1, update_epochs=[4])
    run.trainer.fit(run.train_data, run.valid_data, saved=False)
    assert [len(run.trainer.epochs_under(protocol)) for protocol in (ALL, UNSEEN)] == [5, 5]


@pytest.mark.parametrize(("model", "settings"), MODELS)
def test_the_metrics_are_those_of_recboles_evaluation_one_by_one(model, settings, judged, experiment):
    settings = {"metric_decimal_place": 12, **settings}
    run = judged(model, **settings)
    trainer = run.trainer
    trainer.fit(run.train_data, run.valid_data)
    names = [trainer.own, trainer.other]
    both = {protocol: trainer.evaluate_best(run.test_data, protocol) for protocol in names}
    for protocol in names:
        alone = experiment(model, **{**SMALLEST, **settings}, repeatable=protocol == ALL)
        alone.trainer.eval_collector.data_collect(alone.train_data)
        file = trainer.saved_model_file if protocol == trainer.own else model_file(trainer.saved_model_file, protocol)
        if model == "BPR" and protocol == ALL:  # which RecBole does not rank for it
            assert both[ALL]["hit@10"] <= both[UNSEEN]["hit@10"] and both[ALL] != both[UNSEEN]
        else:
            assert both[protocol] == alone.trainer.evaluate(alone.test_data, model_file=str(file))


def test_scores_are_computed_once(judged, monkeypatch):
    run = judged()
    batches = []
    predict = type(run.model).full_sort_predict
    monkeypatch.setattr(type(run.model), "full_sort_predict", lambda *a: batches.append(1) or predict(*a))
    run.trainer.evaluate(run.valid_data, load_best_model=False)
    assert len(batches) == len(run.valid_data)


class Killed(Exception):
    pass


@pytest.mark.parametrize("model", ["CL4SRec", "SASRec"])
@pytest.mark.parametrize(
    "kills", [(1, 3), (4, 6), (7,)]
)  # one protocol ends with the third epoch, one with the seventh
def test_a_killed_training_ends_as_the_unbroken_one(model, kills, judged, scores, tmp_path, monkeypatch):
    scores(SOON, LATE)

    def train(folder, kill=None):
        run = judged(model, epochs=9, stopping_step=1)
        trainer = run.trainer
        trainer.saved_model_file = str(tmp_path / folder / "best.pth")
        (tmp_path / folder).mkdir(exist_ok=True)
        trainer.keep_state(tmp_path / folder / "run.state")
        save_state = resume.save_state

        def save_and_die(*args, **options):  # before the best models are written
            save_state(*args, **options)
            if trainer.history[-1]["epoch"] == kill:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(resume, "save_state", save_and_die)
            if kill:
                with pytest.raises(Killed):
                    trainer.fit(run.train_data, run.valid_data)
                return None
            trainer.fit(run.train_data, run.valid_data)
        history = [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in trainer.history]
        files = trainer.saved_model_file, model_file(trainer.saved_model_file, UNSEEN)
        kept = [torch.load(file, weights_only=True) for file in files]
        return history, trainer.state_dict()["protocols"], trainer.best_valid_score, kept

    *unbroken, models = train("unbroken")
    for kill in kills:
        train("killed", kill)
        torch.rand(1), np.random.shuffle([1, 2])  # noqa: NPY002  (what else a process may do)
    *resumed, others = train("killed")
    assert resumed == unbroken
    for one, other in zip(models, others):
        assert one["epoch"] == other["epoch"] and one["best_valid_score"] == other["best_valid_score"]
        weights = zip(one["state_dict"].values(), other["state_dict"].values())
        assert all(torch.equal(*pair) for pair in weights)


def test_a_state_of_one_protocol_is_refused(judged, experiment, tmp_path):
    alone = experiment("CL4SRec", **SMALLEST)
    file = tmp_path / "run.state"
    alone.trainer.keep_state(file)
    alone.fit()
    run = judged("CL4SRec")
    run.trainer.keep_state(file)
    with pytest.raises(ConfigError, match=r"run\.state was left by an earlier version, which judged"):
        run.trainer.fit(run.train_data, run.valid_data)


# --- what is read from a record or a state ----------------------------------------------------------------------------


def test_a_record_from_before_has_one_protocol():
    record = {"config": {"repeatable": True}, "epochs": [{"epoch": 1, "valid": {"ndcg@10": 0.1}}], "test": {}}
    assert protocols_of(record) == [ALL] and under(record, ALL) == record
    assert protocols_of({**record, "config": {"repeatable": False}}) == [UNSEEN]
    assert [own_protocol(repeatable) for repeatable in (None, True, False)] == [ALL, ALL, UNSEEN]


def test_a_record_under_a_protocol_is_that_of_a_training_judged_by_it_alone():
    first = {"epoch": 1, "loss": 9, "valid": {"ndcg@10": 0.3}, "unseen": {"valid": {"ndcg@10": 0.4}}}
    second = {"epoch": 2, "loss": 8, "unseen": {"valid": {"ndcg@10": 0.5}}}
    other = {"best_epoch": 2, "test": {"ndcg@10": 0.45}}
    record = {
        "config": {"repeatable": True},
        "best_epoch": 1,
        "test": {"ndcg@10": 0.2},
        "epochs": [first, second],
        "unseen": other,
    }
    assert protocols_of(record) == [ALL, UNSEEN]
    of_all, of_unseen = (under(record, protocol) for protocol in (ALL, UNSEEN))
    assert (of_all["best_epoch"], of_all["test"], of_all["epochs"]) == (1, {"ndcg@10": 0.2}, [first])
    assert (of_unseen["best_epoch"], of_unseen["test"]) == (2, {"ndcg@10": 0.45})
    assert [(epoch["epoch"], epoch["valid"]["ndcg@10"]) for epoch in of_unseen["epochs"]] == [(1, 0.4), (2, 0.5)]
