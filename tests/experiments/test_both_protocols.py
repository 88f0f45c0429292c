"""Runs, records and tables under both protocols: all items ranked, and without seen items."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import SMALL

from recbole_ec4srec.experiments import records, tables, training
from recbole_ec4srec.experiments.plans import CL4SREC, CONTROL, MODES, PLANS, Plan, Row
from recbole_ec4srec.experiments.records import Run, metric_of, ranks, settings_of
from recbole_ec4srec.experiments.significance import compare
from recbole_ec4srec.training.protocols import ALL, UNSEEN, protocols_of, under

#: RecBole samples no negative items for a user of all items.
FEW = {"user_inter_num_interval": "[0,30]"}


@pytest.fixture
def recorded(data_path, tmp_path):
    """``recorded(model, **settings)``: the record of a run on ``tiny``."""

    def make(model="CL4SRec", seed=3, **settings):
        own = {**SMALL, "epochs": 7, "stopping_step": 1, "learning_rate": 0.01, **settings}
        where = {"data_path": str(data_path), "metric_decimal_place": 12}
        run = Run(model, model, "tiny", seed, settings_of(model, "tiny", own, where))
        training.record(run, tmp_path / "results", tmp_path / "work")
        return records.read(tmp_path / "results", run)

    return make


def results(record):
    epochs = [(epoch["epoch"], epoch["loss"], epoch["valid"]) for epoch in record["epochs"]]
    return epochs, [record[key] for key in ("best_epoch", "valid", "test", "ranks")]


@pytest.mark.parametrize(
    ("model", "settings"),
    [("CL4SRec", {}), ("CL4SRec", {"train_on": "sequences"}), ("EC4SRec", {"update_epochs": [3]}), ("SASRec", {})],
)
def test_a_record_has_of_each_protocol_what_a_run_that_is_judged_by_it_alone_has(
    model, settings, recorded, monkeypatch
):
    both = recorded(model, **settings)
    assert protocols_of(both) == [ALL, UNSEEN]
    build = training.build
    monkeypatch.setattr(training, "build", lambda config, under_both: build(config))
    alone = {ALL: recorded(model, **settings), UNSEEN: recorded(model, **settings, repeatable=False)}
    for protocol, of_one in alone.items():
        assert protocols_of(of_one) == [protocol]
        assert results(under(both, protocol)) == results(under(of_one, protocol))
    assert len(both["epochs"]) == max(len(of_one["epochs"]) for of_one in alone.values())


def test_a_general_model_has_both_and_its_ranks_give_its_metrics(recorded):
    record = recorded("BPR", **FEW)
    assert protocols_of(record) == [ALL, UNSEEN] and record["config"]["repeatable"] is False
    for protocol in protocols_of(record):
        judged = under(record, protocol)
        for metric, value in judged["test"].items():
            assert metric_of(ranks(judged), metric).mean() == pytest.approx(value, abs=1e-9)
    assert (ranks(under(record, UNSEEN)) <= ranks(under(record, ALL))).mean() > 0.5


# --- tables from records ----------------------------------------------------------------------------------------------

PLAN = Plan(
    "table9", "Table 9: made by hand", (CONTROL, CL4SREC), ("d",), ("hit@10",), control="control", figure="points"
)


def made(seed, value, unseen=None):
    """A record by hand; without ``unseen`` as they were before."""

    def part(hits):
        return {
            "best_epoch": seed,
            "valid": {"hit@10": hits},
            "test": {"hit@10": hits},
            "ranks": records.pack(np.where(np.arange(100) < hits * 100, 1, 99)),
        }

    epoch = {"epoch": 1, "valid": {"hit@10": value}}
    record = {"seed": seed, "config": {"repeatable": True}, "epochs": [epoch], **part(value)}
    if unseen is not None:
        record["unseen"], epoch["unseen"] = part(unseen), {"valid": {"hit@10": unseen}}
    return record


def report(*arguments):
    """The text by the protocol."""
    return {protocol: text for protocol, (text, _) in tables.report(*arguments).items()}


def test_there_is_a_table_under_each_protocol(tmp_path):
    of_label = {"control": [made(1, 0.2, 0.4)], "CL4SRec": [made(1, 0.3, 0.7)]}
    texts = report(PLAN, "d", of_label, tmp_path)
    assert list(texts) == [ALL, UNSEEN]
    for protocol, title, file, (control, other) in (
        (ALL, "all items ranked", "table9-d", ("0.2000", "0.3000")),
        (UNSEEN, "without seen items", "table9-d-unseen", ("0.4000", "0.7000")),
    ):
        text = texts[protocol]
        assert text.startswith(f"Table 9: made by hand; d, test set, {title}.\n")
        assert f"| control | {control} | 1 | 1 |" in text and f"| CL4SRec | {other} | 1 | 1 |" in text
        assert f"Differences, d, {title}: paired t-tests" in text
        assert f"| CL4SRec | control | HR@10 | {float(other) - float(control):+.4f} |" in text
        assert (tmp_path / f"{file}.md").read_text() in text
        assert (tmp_path / f"{file}-significance.md").is_file() and (tmp_path / f"{file}.png").is_file()


def test_a_record_from_before_stands_only_in_the_table_of_its_one_protocol(tmp_path):
    of_label = {"control": [made(1, 0.2)], "CL4SRec": [made(1, 0.3), made(2, 0.5, 0.7)]}
    texts = report(PLAN, "d", of_label, tmp_path)
    assert "| CL4SRec | 0.4000 ± 0.1414 | 1, 2 | 1, 2 |" in texts[ALL] and "Differences" in texts[ALL]
    assert "| control |  |  |  |" in texts[UNSEEN] and "| CL4SRec | 0.7000 | 2 | 2 |" in texts[UNSEEN]
    assert "Differences" not in texts[UNSEEN]
    texts = report(PLAN, "d", {"control": [made(1, 0.2)]}, tmp_path)
    assert list(texts) == [ALL]
    assert texts[ALL].splitlines()[0] == "Table 9: made by hand; d, test set, all items ranked."


def test_the_papers_values_stand_beside_those_with_all_items_ranked(tmp_path):
    plan = PLANS["table3"]
    record = made(1, 0.2, 0.4)
    for part in (record, record["unseen"]):
        part["test"] = dict.fromkeys(plan.metrics, 0.1)
    texts = report(plan, "ml-100k", {"CL4SRec": [record]}, tmp_path)
    assert "0.0617" in texts[ALL] and "paper" not in texts[UNSEEN]


def test_there_are_tables_of_their_own_for_training_on_sequences(tmp_path):
    of_label = {"control": [made(1, 0.2, 0.4)]}
    on_sequences = tables.report(PLAN, "d", of_label, tmp_path, "sequences")
    titles = [(text.splitlines()[0], path.name) for text, path in on_sequences.values()]
    assert titles == [
        ("Table 9: made by hand; d, test set, all items ranked, trained on sequences.", "table9-d-sequences"),
        ("Table 9: made by hand; d, test set, without seen items, trained on sequences.", "table9-d-sequences-unseen"),
    ]
    assert not (tmp_path / "table9-d.md").exists()


def test_a_plan_is_read_for_every_way_of_training_that_there_is_a_record_of(tmp_path):
    baseline = Row("BPR", "BPR", train_on="prefixes")
    plan = replace(PLAN, rows=(baseline, CONTROL, CL4SREC))
    asked = {mode: plan.runs("d", [1], {"train_on": mode}) for mode in MODES}
    assert asked["prefixes"] == plan.runs("d", [1], {})
    names = {mode: {label: run.name for label, (run,) in runs.items()} for mode, runs in asked.items()}
    assert [label for label in names["prefixes"] if names["prefixes"][label] == names["sequences"][label]] == ["BPR"]
    assert asked["sequences"]["CL4SRec"][0].settings["train_on"] == "sequences"
    (tmp_path / "records").mkdir()

    def found(*arguments):
        read = plan.read(tmp_path, "d", [1], *arguments)
        return {mode: [label for label, of in of_label.items() if of] for mode, of_label in read.items()}

    assert found({}) == {"prefixes": []}
    for label, mode, expected in (
        ("BPR", "prefixes", {"prefixes": ["BPR"]}),
        ("CL4SRec", "sequences", {"sequences": ["BPR", "CL4SRec"]}),
        ("control", "prefixes", {"prefixes": ["BPR", "control"], "sequences": ["BPR", "CL4SRec"]}),
    ):
        (tmp_path / "records" / f"{names[mode][label]}.json").write_text("[1]")
        assert found({}) == expected
    assert found({"train_on": "sequences"}) == {"sequences": ["BPR", "CL4SRec"]}
    assert found({}, ["control"]) == {"prefixes": ["control"]}


def test_a_table_of_times_has_validation_and_the_minutes_to_the_best_epoch(tmp_path):
    """The machine paused in epoch 2, and after the best epoch, 3."""
    seconds = {1: 100, 2: 7_000, 3: 120, 4: 500}
    epochs = [{"epoch": epoch, "valid": {"hit@10": 0.1}, "seconds": taken} for epoch, taken in seconds.items()]
    record = {**made(2, 0.2), "epochs": epochs, "best_epoch": 3}
    plan = replace(PLAN, timed=True, figure=None)
    header, _, row, *_ = report(plan, "d", {"control": [record]}, tmp_path)[ALL].splitlines()[2:]
    assert header == "|  | validation HR@10 | test HR@10 | epoch | epochs | minutes to the best epoch | seeds |"
    assert row == "| control | 0.2000 | 0.2000 | 3 | 4 | 6 | 2 |"


def test_users_are_compared_under_either_protocol():
    ours, theirs = made(1, 0.3, 0.7), made(1, 0.2, 0.4)
    for protocol, difference in ((ALL, 0.1), (UNSEEN, 0.3)):
        found = compare([under(ours, protocol)], [under(theirs, protocol)], "hit@10")
        assert found.difference == pytest.approx(difference)


def test_a_record_is_plain_json(recorded, tmp_path):
    record = recorded(epochs=1)
    (file,) = (tmp_path / "results" / "records").iterdir()
    assert json.loads(file.read_text()) == record
    assert list(record["unseen"]) == ["best_epoch", "valid", "test", "ranks"]
    assert list(record["epochs"][0]["unseen"]) == ["valid"]
    assert {file.name.rpartition("seed3")[2] for file in (tmp_path / "work").iterdir()} == {".pth", "-unseen.pth"}
