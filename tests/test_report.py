"""The page about a training."""

import json
from html.parser import HTMLParser

import pytest

from recbole_ec4srec import cli
from recbole_ec4srec.errors import DataError
from recbole_ec4srec.report import read_run, report


class Reader(HTMLParser):
    """The cells of the tables, by their captions, and that every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tables, self.rows = [], {}, []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        assert tag not in ("script", "link", "iframe") and not any(key in ("src", "href") for key, _ in attributes)
        if tag in ("meta", "br") or self.get_starttag_text().endswith("/>"):
            return
        self.open.append(tag)
        self.rows = [] if tag == "table" else [*self.rows, []] if tag == "tr" else self.rows

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "caption":
            self.caption = data
            self.tables[data] = None
        elif self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)
            self.tables[self.caption] = self.rows


@pytest.fixture
def state(experiment, tmp_path):
    small = experiment(checkpoint_dir=str(tmp_path / "saved"), resume="auto")
    small.fit()
    return small, tmp_path / "saved"


def test_a_training_that_is_resumable_has_a_page(state, tmp_path, capsys):
    small, folder = state
    output = tmp_path / "page.html"
    cli.main(["report", f"--run={folder}", f"--output={output}"])
    assert capsys.readouterr() == ("", f"written: {output}\n")
    page = output.read_text(encoding="utf-8")
    tables = Reader(page).tables
    assert "<title>EC4SRec on tiny</title>" in page and "4 epochs (finished)" in page
    assert [row[0] for row in tables["Epochs"][1:]] == ["1", "2", "3", "4"]
    updates = tables["Instances whose most important item changed"]
    assert (
        [row[0] for row in updates[1:]] == ["2", "4"] and updates[1][1] == "the first" and updates[2][1].endswith("%")
    )
    best = small.trainer.best
    metrics = dict(tables[f"Of the best epoch, {best['epoch']}"][1:])
    assert metrics["ndcg@10"] == f"{best['valid']['ndcg@10']:.4f}"
    assert all(f"</svg> {name}</span>" in page for name in ("rec", "cl", "sl", "cl_pos", "cl_neg", "sl_pos"))


def test_the_views_of_a_sequence_are_a_part_of_the_page_where_asked_for(state, tmp_path):
    small, folder = state
    given = ["report", f"--run={folder}", f"--output={tmp_path / 'page.html'}", "--quiet"]
    cli.main([*given, f"--checkpoint={small.trainer.saved_model_file}", "--user=all"])
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<h2>Views of one sequence</h2>" in page
    header, *rows = next(table for name, table in Reader(page).tables.items() if name.startswith("The items"))
    assert header == ["importance", *["crop", "mask", "reorder", "ecrop+", "emask+", "erord+", "ecrop-", "emask-"]]
    assert [row[0] for row in rows] == [f"{place}. i{place + 29}" for place in range(1, 9)]
    assert sum(float(row[1].rstrip(" %")) for row in rows) == pytest.approx(100, abs=0.5)


def test_a_checkpoint_of_another_training_is_refused(state, experiment, tmp_path, capsys):
    _, folder = state
    other = experiment(checkpoint_dir=str(tmp_path / "other"), learning_rate=0.01)
    other.fit()
    file = other.trainer.saved_model_file
    with pytest.raises(SystemExit) as ended:
        cli.main(["report", f"--run={folder}", f"--checkpoint={file}", "--user=all"])
    assert ended.value.code == 1
    assert f"{file} is of another training than {folder}: learning_rate 0.01, here 0.001" in capsys.readouterr().err


def test_the_parts_of_the_loss_are_kept_and_add_up(state):
    _, folder = state
    epochs = read_run(folder)["epochs"]
    names = [sorted(epoch["losses"]) for epoch in epochs]
    assert names == [["cl", "rec", "sl"], *[["cl_neg", "cl_pos", "rec", "sl_pos"]] * 3]
    assert all(sum(epoch["losses"].values()) == pytest.approx(epoch["loss"]) for epoch in epochs)
    assert [bool(epoch.get("update")) for epoch in epochs] == [False, True, False, True]


def test_a_control_stands_beside_a_record(tmp_path):
    valid = [{"ndcg@10": value} for value in (0.1, 0.3, 0.2)]
    epochs = [{"epoch": n, "seconds": 2.0, "loss": 5.0, "valid": v} for n, v in enumerate(valid, 1)]
    config = {"model": "A<B", "dataset": "d", "valid_metric": "NDCG@10", "valid_metric_bigger": True, "epochs": 9}
    record = {"config": config, "epochs": epochs, "test": {"ndcg@10": 0.25}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    run = read_run(tmp_path / "run.json")
    tables = Reader(report(run, {**run, "test": {"ndcg@10": 0.125}})).tables
    assert tables["Of the best epoch, 2"] == [
        ["validation", "test", "test, control"],
        ["ndcg@10", "0.3000", "0.2500", "0.1250"],
    ]
    assert "A&lt;B" in report(run)


@pytest.mark.parametrize(
    "text, message", [(None, "has neither a record"), ("[]", "is no record of a training"), ("{", "is no record")]
)
def test_what_is_no_training_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_run(tmp_path)
