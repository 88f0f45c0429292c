"""What the commands answer to bad data and settings, by the rows of ``tools/bad_input.py``."""

import shlex
import sys

import pytest
import recbole
from bad_input import DATA, GOOD, SECTIONS, page, write_files
from conftest import ROOT, SMALL

from recbole_ec4srec.commands.run_hyper import main as run_hyper_command
from recbole_ec4srec.commands.run_recbole import main as run_recbole_command
from recbole_ec4srec.errors import RunError
from recbole_ec4srec.experiments import __main__ as experiments


def call(arguments, monkeypatch, command=run_recbole_command):
    """The status that a command ends with."""
    settings = {
        **SMALL,
        "topk": [5],
        "valid_metric": "NDCG@5",
        "epochs": 1,
        "num_updates": 0,
        "n_layers": 1,
        "data_path": "dataset",
    }
    given = shlex.split(arguments)
    keys = {argument.partition("=")[0] for argument in given}
    fixed = [f"--{key}={value}".replace(" ", "") for key, value in settings.items() if f"--{key}" not in keys]
    named = [] if "--model" in keys else ["--model=EC4SRec"]
    named += [] if "--dataset" in keys else ["--dataset=shop"]
    monkeypatch.setattr(sys, "argv", ["run_recbole", *named, *given, *fixed])
    try:
        command()
    except SystemExit as end:
        return end.code
    return 0


def fits(message, told):
    """Whether a message is ``told``, in which … stands for anything."""
    first, *others = message.split("…")
    place = len(first)
    if not told.startswith(first) or not others:
        return told == message
    for part in others:
        place = told.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return others[-1] == "" or told.endswith(others[-1])


@pytest.mark.parametrize(
    ("files", "arguments", "message"),
    [pytest.param(*row[1:], id=row[0]) for rows in SECTIONS.values() for row in rows],
)
def test_bad_input_ends_in_one_line(files, arguments, message, monkeypatch, capsys):
    write_files(files)
    assert call(arguments, monkeypatch) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert fits(message, line[len("error: ") :]), line


OURS_ALONE = {"one that RecBole would download", "fewer items than are ranked"}


@pytest.mark.parametrize(
    ("files", "arguments", "message"),
    [
        pytest.param(*row[1:], id=row[0])
        for row in DATA
        if row[0] not in OURS_ALONE and "--model" not in row[2] and "oracle" not in row[2]
    ],
)
def test_of_the_same_data_recboles_models_say_the_same(files, arguments, message, monkeypatch, capsys):
    test_bad_input_ends_in_one_line(files, f"--model=SASRec {arguments}", message, monkeypatch, capsys)


@pytest.mark.parametrize(("files", "arguments"), [pytest.param(*row[1:], id=row[0]) for row in GOOD])
def test_what_is_unusual_but_right_works(files, arguments, monkeypatch, capsys):
    write_files(files)
    assert call(arguments, monkeypatch) == 0
    assert "error:" not in capsys.readouterr().err


def test_a_traceback_is_shown_where_it_is_asked_for(monkeypatch):
    write_files({})
    with pytest.raises(RunError, match="tau: got 0"):
        call("--tau=0 --traceback", monkeypatch)


def test_the_other_commands_end_in_the_same_way(monkeypatch, capsys):
    write_files({"space.test": "tau choice [0]\n", "mine.yaml": "model: EC4SRec\ndataset: shop\n"})
    status = call("--params_file=no.test --config_files=mine.yaml", monkeypatch, run_hyper_command)
    assert status == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: params_file: no.test cannot be read")
    with pytest.raises(SystemExit) as end:
        experiments.main(["table3", "--train", "--datasets", "shops", "--data_path=dataset", "--rows", "EC4SRec"])
    assert end.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: dataset: got 'shops', but there is no folder")


@pytest.mark.skipif(recbole.__version__ != "1.2.1", reason="the page counts the keys of RecBole 1.2.1")
def test_the_page_of_errors_is_current():
    assert (ROOT / "docs" / "errors.md").read_text(encoding="utf-8") == page()
