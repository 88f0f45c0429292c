"""The page about a training."""

import copy
import json
import math
import re

import pytest
import torch
from html_page import Page
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_ec4srec.commands import ec4srec
from recbole_ec4srec.errors import DataError, printable
from recbole_ec4srec.reporting.report import read_run, report
from recbole_ec4srec.training import resume


@pytest.fixture
def state(experiment, tmp_path):
    small = experiment(checkpoint_dir=str(tmp_path / "saved"), resume="auto")
    small.fit()
    return small, tmp_path / "saved"


def test_a_training_that_is_resumable_has_a_page(state, tmp_path, capsys):
    small, folder = state
    output = tmp_path / "page.html"
    ec4srec.main(["report", f"--run={folder}", f"--output={output}"])
    assert capsys.readouterr() == ("", f"written: {output}\n")
    page = Page(output.read_text(encoding="utf-8"))
    tables = page.tables
    assert page.texts["title"] == page.texts["h1"] == ["EC4SRec on tiny"]
    best, minutes = small.trainer.best, small.trainer.seconds / 60
    assert page.texts["p"][0].replace("\n", " ") == (
        f"4 epochs (finished) in {minutes:.0f} minutes. The best on the validation set is epoch {best['epoch']}, "
        f"with NDCG@10 {best['valid']['ndcg@10']:.4f}."
    )
    assert [row[0] for row in tables["Epochs"][1:]] == ["1", "2", "3", "4"]
    updates = tables["Instances whose most important item changed"]
    changed = small.trainer.history[3]["update"]["changed"]
    assert updates[1:] == [["2", "the first"], ["4", f"{100 * changed:.1f} %"]]
    metrics = dict(tables[f"Of the best epoch, {best['epoch']}"][1:])
    assert metrics["ndcg@10"] == f"{best['valid']['ndcg@10']:.4f}"
    assert {"rec", "cl", "sl", "cl_pos", "cl_neg", "sl_pos"} < set(page.texts["text"])
    counts = [page.texts["text"].count("epoch"), page.texts["text"].count("importance update"), page.tags.count("svg")]
    assert counts == [3, 3, 3]


def test_the_views_of_a_sequence_are_a_part_of_the_page_where_asked_for(state, tmp_path):
    small, folder = state
    given = ["report", f"--run={folder}", f"--output={tmp_path / 'page.html'}", "--quiet"]
    ec4srec.main([*given, f"--checkpoint={small.trainer.saved_model_file}", "--user=all"])
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "Views of one sequence" in page.texts["h2"]
    header, *rows = next(table for name, table in page.tables.items() if name.startswith("The items"))
    assert header == ["", "importance", *["crop", "mask", "reorder", "ecrop+", "emask+", "erord+", "ecrop-", "emask-"]]
    assert [row[0] for row in rows] == [f"{place}. i{place + 29}" for place in range(1, 9)]
    assert sum(float(row[1]) for row in rows) == pytest.approx(100, abs=0.5)


def test_a_checkpoint_of_another_training_is_refused(state, experiment, tmp_path, capsys):
    _, folder = state
    other = experiment(checkpoint_dir=str(tmp_path / "other"), learning_rate=0.01)
    other.fit()
    file = other.trainer.saved_model_file
    with pytest.raises(SystemExit) as ended:
        ec4srec.main(["report", f"--run={folder}", f"--checkpoint={file}", "--user=all"])
    assert ended.value.code == 1
    assert f"{file} is of another training than {folder}: learning_rate 0.01, here 0.001" in capsys.readouterr().err


def test_the_parts_of_the_loss_are_kept_and_add_up(state):
    _, folder = state
    epochs = read_run(folder)["epochs"]
    names = [sorted(epoch["losses"]) for epoch in epochs]
    assert names == [["cl", "rec", "sl"], *[["cl_neg", "cl_pos", "rec", "sl_pos"]] * 3]
    assert all(sum(epoch["losses"].values()) == pytest.approx(epoch["loss"]) for epoch in epochs)
    assert [bool(epoch.get("update")) for epoch in epochs] == [False, True, False, True]


RECORD = {
    "config": {
        "model": "EC4SRec",
        "dataset": "d",
        "valid_metric": "NDCG@10",
        "valid_metric_bigger": True,
        "epochs": 9,
        "num_updates": 2,
        "update_epochs": [2, 3],
    },
    "epochs": [
        {
            "epoch": epoch,
            "seconds": 2.0,
            "loss": 5.0,
            "valid": {"ndcg@10": value},
            "losses": {"rec": 4.0, "cl": 1.0},
            "update": {"changed": None if epoch == 2 else 0.25},
        }
        for epoch, value in enumerate((0.1, 0.3, 0.2), 1)
    ],
    "test": {"ndcg@10": 0.25},
}

#: The same, judged without seen items too; with all items ranked it ended with its second epoch.
BOTH = copy.deepcopy(RECORD)
for epoch, value in zip(BOTH["epochs"], (0.4, 0.5, 0.6)):
    epoch["unseen"] = {"valid": {"ndcg@10": value}}
del BOTH["epochs"][2]["valid"]
BOTH["unseen"] = {"test": {"ndcg@10": 0.55}}


def write(file, record):
    file.write_text(json.dumps(record), encoding="utf-8")
    return file


@pytest.fixture
def write_state(experiment):
    """``write_state(file, config, epochs)``: the state of a training, with another configuration and other epochs."""
    small = experiment()

    def write(file, config, epochs):
        text = config if isinstance(config, str) else json.dumps(config)
        resume.save_state(file, small.trainer, small.train_data, settings=text, history=epochs, finished=True)
        return file

    return write


def test_a_control_stands_beside_a_record(tmp_path):
    run = read_run(write(tmp_path / "run.json", RECORD))
    tables = Page(report(run, {**run, "test": {"ndcg@10": 0.125}})).tables
    assert tables["Of the best epoch, 2"] == [
        ["", "validation", "test", "test, control"],
        ["ndcg@10", "0.3000", "0.2500", "0.1250"],
    ]
    with pytest.raises(DataError, match="--control: has no ndcg@10"):
        report(run, {**run, "epochs": [{"epoch": 1, "valid": {"hit@10": 1.0}}]})


@pytest.mark.parametrize(
    "text, message", [(None, "has neither a record"), ("[]", "is no record of a training"), ("{", "is no record")]
)
def test_what_is_no_training_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_run(tmp_path)


HOSTILE = [
    "<script>alert(1)</script>",
    """'"><img src=x onerror=alert(1)>""",
    "</style></svg><b>",
    "{{ 7 * 7 }}{% raw %}",
    "\x1b[2J\x07\x9b\x00\ud800",
    "\u202eabc\u2066",
    "$\\frac$ $",
    "_",
]
TEXTS = st.sampled_from(HOSTILE) | st.text(max_size=40)
LEAVES = st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | TEXTS
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


def places(value, path=()):
    """The paths of all parts of ``value``."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([path] if path else []), *(place for key, part in parts for place in places(part, (*path, key)))]


ALLOWED = (
    "html head meta title style body main h1 h2 p figure figcaption div table thead tbody tr th td bdi details summary "
    "svg g defs path use text clippath rect"
)


def checked_page(run):
    text = report(run)
    assert printable(text, lines=True) == text
    page = Page(text)
    assert set(page.tags) <= set(ALLOWED.split())
    return page


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(places(BOTH)), st.sampled_from(["replaced", "renamed", "gone"]), VALUES, TEXTS)
def test_whatever_stands_in_a_record_there_is_a_page_without_its_markup_or_one_line(tmp_path, path, how, value, name):
    record = copy.deepcopy(BOTH)
    holder = record
    for key in path[:-1]:
        holder = holder[key]
    former = holder.pop(path[-1])
    if how == "replaced":
        holder.insert(path[-1], value) if isinstance(holder, list) else holder.update({path[-1]: value})
    elif how == "renamed" and isinstance(holder, dict):
        holder[name] = former
    try:
        run = read_run(write(tmp_path / "x.json", record))
    except DataError as error:
        assert "\n" not in str(error)
        return
    checked_page(run)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_in_any_place_is_a_text_on_the_page(text):
    record = copy.deepcopy(RECORD)
    record["config"].update(model=text, dataset=text, **{text: text})
    for epoch in record["epochs"]:
        epoch["losses"][text] = epoch["valid"][text] = 0.5
    record["test"][text] = 0.5
    page = checked_page({**record, "finished": True})
    shown = printable(text)
    assert page.texts["h1"] == [f"{shown} on {shown}"]
    assert [shown, "0.5000", "0.5000"] in page.tables["Of the best epoch, 2"]
    assert [shown, printable(json.dumps(text, ensure_ascii=False))] in page.tables["Settings"]


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda config, epochs: config.update(epochs="<script>"),
            "config: epochs: got '<script>', allowed is an integer",
        ),
        (lambda config, epochs: config.pop("valid_metric"), "config: valid_metric: got None, allowed is a text"),
        (lambda config, epochs: config.update(num_updates=1.5), "config: num_updates: got 1.5, allowed is an"),
        (lambda config, epochs: epochs.clear(), "epochs: got [], allowed is a list that is not empty"),
        (
            lambda config, epochs: epochs[1].update(loss=math.nan),
            "epochs, 2: loss: got nan, allowed is a finite number",
        ),
        (lambda config, epochs: epochs[1].update(valid={}), "epochs, 2: valid: ndcg@10: got None, allowed is a finite"),
        (lambda config, epochs: epochs[0].update(losses=[1]), "epochs, 1: losses: got [1], allowed is values by name"),
        (lambda config, epochs: epochs.append(torch.ones(2)), "epochs, 4: got tensor([1., 1.]), allowed is values by"),
    ],
)
def test_a_state_that_is_no_trainings_is_told_with_the_place(tmp_path, write_state, change, message):
    config, epochs = copy.deepcopy((RECORD["config"], RECORD["epochs"]))
    read_run(write_state(tmp_path / "x.state", config, epochs))
    change(config, epochs)
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'x.state'}: {message}")):
        read_run(write_state(tmp_path / "x.state", config, epochs))
    with pytest.raises(DataError, match="is no record of a training"):
        read_run(write_state(tmp_path / "x.state", "{", epochs))


# --- two protocols ----------------------------------------------------------------------------------------------------


@pytest.fixture
def both():
    return copy.deepcopy(BOTH)


def test_a_page_shows_both_protocols_of_a_record(both, tmp_path):
    page = Page(report(read_run(write(tmp_path / "run.json", both))))
    text = " ".join(page.texts["p"][0].split())
    assert "The best on the validation set, all items ranked, is epoch 2, with NDCG@10 0.3000. " in text
    assert text.endswith("The best on the validation set, without seen items, is epoch 3, with NDCG@10 0.6000.")
    assert page.tables["Of the best epoch, 2, all items ranked"][1] == ["ndcg@10", "0.3000", "0.2500"]
    assert page.tables["Of the best epoch, 3, without seen items"][1] == ["ndcg@10", "0.6000", "0.5500"]
    assert [row[3:] for row in page.tables["Epochs"]] == [
        ["NDCG@10, all items ranked", "NDCG@10, without seen items"],
        ["0.1000", "0.4000"],
        ["0.3000", "0.5000"],
        ["", "0.6000"],
    ]


def test_a_control_stands_beside_the_protocols_that_it_has(both):
    control = {**RECORD, "test": {"ndcg@10": 0.125}, "finished": True}
    tables = Page(report({**both, "finished": True}, control)).tables
    assert tables["Of the best epoch, 2, all items ranked"][0] == ["", "validation", "test", "test, control"]
    assert tables["Of the best epoch, 3, without seen items"][0] == ["", "validation", "test"]
    of_unseen = {**control, "config": {**RECORD["config"], "repeatable": False}}
    with pytest.raises(DataError, match="--control: was judged without seen items, the run all items ranked"):
        report(control, of_unseen)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.update(unseen=[1]), "x.json: unseen: got [1], allowed is values by name"),
        (
            lambda record: record["unseen"].update(test={"a": "b"}),
            "x.json: test: a: got 'b', allowed is a finite number",
        ),
        (lambda record: record["epochs"][1].update(unseen=3), "x.json: epochs, 2: unseen: got 3, allowed is values by"),
        (lambda record: record["epochs"][1].update(unseen={"epoch": -1}), "x.json: epochs, 2: epoch: got -1"),
        (lambda record: record["epochs"][1].update(unseen={"valid": {}}), "epochs, 2: valid: ndcg@10: got None"),
        (lambda record: record["config"].update(repeatable=3), "x.json: config: repeatable: got 3"),
    ],
)
def test_what_no_training_left_of_another_protocol_is_refused(both, tmp_path, change, message):
    change(both)
    with pytest.raises(DataError, match=re.escape(message)):
        read_run(write(tmp_path / "x.json", both))
