"""Every model and every backbone from the command to the test result, and what can be done with its best model then."""

import contextlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import recbole
from end_to_end import (
    BACKBONES_PAGE,
    FAULTS,
    HEAD,
    LIBRARIES,
    OF_KIND,
    PAGE,
    SMALL,
    Failed,
    call,
    models,
    newest,
    read_again,
    recommend,
    row,
    settings_of,
    sizes,
    train,
    train_in_stages,
    write_data,
)
from recbole.trainer import Trainer

from recbole_ec4srec.commands import ec4srec
from recbole_ec4srec.reporting.markdown import markdown_row


@pytest.fixture
def small(tmp_path):
    write_data(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), [pytest.param(*model, id=model[1]) for model in models()])
def test_the_page_tells_what_becomes_of_a_model_of_recboles(kind, name, small):
    assert markdown_row(row(kind, name)) in PAGE.read_text(encoding="utf-8").splitlines()


OF_THE_PAGES = pytest.mark.skipif(recbole.__version__ != "1.2.1", reason="the pages have the models of RecBole 1.2.1")


@OF_THE_PAGES
def test_the_page_has_a_row_for_each_model_of_recboles():
    told = PAGE.read_text(encoding="utf-8")
    assert told.startswith(HEAD)
    rows = [line.split(" | ")[0][2:] for line in told.splitlines() if line.startswith("| ")]
    assert [name for name in rows if name not in ("model", "---")] == [name for _, name in models()]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_what_fails_fails_in_recbole_without_this_package_in_the_same_way(name, small):
    error, _ = FAULTS[name]
    with pytest.raises(Exception) as raised:
        train_in_stages("sequential", name)
    assert type(raised.value).__name__ == error
    settings = {**settings_of("sequential", name)[0], "train_neg_sample_args": None}
    alone = f"from recbole.quick_start import run_recbole\nrun_recbole({name!r}, 'small', None, {settings!r}, False)"
    done = subprocess.run([sys.executable, "-c", alone], capture_output=True, text=True)
    assert "recbole_ec4srec" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(error)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_that_is_missing_is_named(name, small):
    if importlib.util.find_spec(LIBRARIES[name]):
        pytest.skip(f"{LIBRARIES[name]} is here")
    kind = next(kind for kind, other in models() if other == name)
    with pytest.raises(Failed, match=f"error: model: got '{name}', which needs {LIBRARIES[name]}, which is not"):
        train_in_stages(kind, name)


# --- Backbones --------------------------------------------------------------------------------------------------------

BACKBONES = [line.strip("| ").split(" | ") for line in BACKBONES_PAGE.read_text(encoding="utf-8").splitlines()]
BACKBONES = {cells[0]: (cells[1], cells[-1]) for cells in BACKBONES if len(cells) == 4 and cells[1] in ("yes", "no")}


def ours(backbone):
    return {
        "model": "EC4SRec",
        "backbone": backbone,
        **SMALL,
        **OF_KIND["sequential"],
        **sizes(backbone),
        "update_epochs": [2],
    }


@OF_THE_PAGES
def test_the_table_of_backbones_is_found():
    assert {name for kind, name in models() if kind == "sequential"} == set(BACKBONES)


def stop_in_the_second_epoch(monkeypatch):
    original = Trainer._train_epoch

    def stopped(self, train_data, epoch_idx, *args, **options):
        if epoch_idx == 1:
            raise KeyboardInterrupt
        return original(self, train_data, epoch_idx, *args, **options)

    monkeypatch.setattr(Trainer, "_train_epoch", stopped)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, (trains, _) in BACKBONES.items() if trains == "yes"])
def test_a_backbone_that_trains_goes_all_the_way(name, small, monkeypatch):
    told = BACKBONES[name][1]
    explainer = "random" if told.startswith("none") else told.split(", ")[0]
    settings = {**ours(name), "explainer": explainer}
    result = train(**settings)
    file = newest("EC4SRec-*.pth")
    assert dict(read_again(file)) == result
    assert len(recommend(file)) == 20

    asked = ("explain", f"--checkpoint={file}", "--items=i1 i2 i3", "--topk=1")
    if explainer == "random":
        with pytest.raises(Failed, match=f"error: explainer: got 'occlusion'.*{name}"):
            call(ec4srec.main, *asked, "--explainer=occlusion")
    else:
        assert "i2" in call(ec4srec.main, *asked, f"--explainer={explainer}")

    with monkeypatch.context() as patched:
        stop_in_the_second_epoch(patched)
        with pytest.raises(Failed, match="resumes after 1 completed epoch"):
            train(**settings, resume="auto")
    assert train(**settings, resume="auto") == result


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, (trains, _) in BACKBONES.items() if trains == "no"])
def test_a_backbone_that_does_not_train_says_why_in_a_line(name, small):
    with pytest.raises(Failed) as failed:
        train(**ours(name))
    assert str(failed.value).splitlines()[-1] == f"error: backbone: got {name!r}, {BACKBONES[name][1]}"


@pytest.mark.slow
@pytest.mark.parametrize("model", ["SASRecF", "GRU4RecF", "FDSA", "EASE"])
def test_a_model_that_keeps_more_than_weights_goes_on(model, small, monkeypatch):
    kind = "general" if model == "EASE" else "sequential"
    settings = {"model": model, **settings_of(kind, model)[0]}
    result = train(**settings)
    with monkeypatch.context() as patched:
        stop_in_the_second_epoch(patched)
        with contextlib.suppress(Failed):  # EASE has one epoch
            train(**settings, resume="auto")
    assert train(**settings, resume="auto") == result


@pytest.mark.slow
def test_the_commands_are_those_of_a_shell(small):
    def run(command, *arguments):
        script = Path(sys.executable).with_name(command)  # where pip puts it
        return subprocess.run([script, *arguments], capture_output=True, text=True, check=True)

    given = [f"--{key}={value}" for key, value in ours("SASRecF").items()]
    told = run("run_recbole", "--dataset=small", "-q", *given).stdout.splitlines()[-1]
    file = newest("EC4SRec-*.pth")
    assert dict(read_again(file)) == json.loads(told)
    assert "i2" in run("ec4srec", "explain", f"--checkpoint={file}", "--items=i1 i2 i3").stdout
