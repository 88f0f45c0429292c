"""What a person expects of any command: help with examples, quiet and verbose, statuses, pipes, Ctrl-C."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, SMALL, write_inter

from recbole_ec4srec import console
from recbole_ec4srec.commands import ec4srec, run_hyper, run_recbole
from recbole_ec4srec.data import prepare, synthetic
from recbole_ec4srec.errors import DataError, printable
from recbole_ec4srec.experiments import __main__ as experiments
from recbole_ec4srec.reporting import report
from recbole_ec4srec.tuning import study

DOCS = ROOT / "docs"
TRAIN = """
import signal
from recbole_ec4srec.commands.run_recbole import main as run_recbole_command

signal.signal(signal.SIGINT, signal.default_int_handler)  # which tests in the background of a shell are without
run_recbole_command()
"""


def of_argv(command):
    def call(arguments):
        sys.argv = ["command", *arguments]
        command()

    return call


COMMANDS = {
    "ec4srec explain": (ec4srec.main, ["explain"]),
    "ec4srec recommend": (ec4srec.main, ["recommend"]),
    "ec4srec export": (ec4srec.main, ["export"]),
    "ec4srec views": (ec4srec.main, ["views"]),
    "ec4srec report": (ec4srec.main, ["report"]),
    "run_recbole": (of_argv(run_recbole.main), []),
    "run_hyper": (of_argv(run_hyper.main), []),
    "python -m recbole_ec4srec.experiments": (experiments.main, []),
    "python -m recbole_ec4srec.data.prepare": (prepare.main, []),
    "python -m recbole_ec4srec.data.synthetic": (synthetic.main, []),
}


def end_of(command, *arguments):
    call, first = COMMANDS[command]
    with pytest.raises(SystemExit) as end:
        call([*first, *arguments])
    return end.value.code


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_and_the_options_of_all(command, capsys):
    assert end_of(command, "--help") == 0
    shown = capsys.readouterr().out
    assert re.search(rf"^examples?:\n  {re.escape(command)} ", shown, flags=re.M)
    assert all(option in shown for option in ("-q, --quiet", "-v, --verbose", "--traceback"))


@pytest.mark.parametrize("command", [name for name in COMMANDS if not name.startswith("run_")])
def test_an_option_that_does_not_exist_is_status_2(command, capsys):
    assert end_of(command, "--no-such-option") == 2
    assert "usage: " in capsys.readouterr().err


INTERRUPTED = {
    "ec4srec report": (["--run=x"], report, "read_run", "the same command starts anew"),
    "run_recbole": ([], run_recbole, "run", "the same command starts anew"),
    "run_hyper": (["--tool=Optuna"], run_hyper, "search", "the same command resumes the search"),
    "python -m recbole_ec4srec.experiments": (
        ["table1", "--train"],
        experiments,
        "record_missing",
        "the same command trains the runs that are left",
    ),
    "python -m recbole_ec4srec.data.prepare": (
        ["ml-1m", "x"],
        prepare,
        "read",
        "the same command starts anew",
    ),
    "python -m recbole_ec4srec.data.synthetic": (
        [],
        synthetic,
        "write",
        "the same command starts anew",
    ),
}


@pytest.mark.parametrize("command", INTERRUPTED)
def test_ctrl_c_is_status_130_and_one_line(command, monkeypatch, capsys):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    arguments, module, function, told = INTERRUPTED[command]
    monkeypatch.setattr(module, function, interrupt)
    assert end_of(command, *arguments) == 130
    assert capsys.readouterr().err == f"interrupted: {told}\n"


def test_text_from_files_does_not_act_on_the_terminal(capsys):
    evil = "a\x1b[2J\x07\x9b\x7f\u202eb\u2069\r\ud800\tc"
    safe = r"a\x1b[2J\x07\x9b\x7f\u202eb\u2069\r\ud800"
    assert printable(evil) == safe + r"\tc" and printable(f"{evil}\n", lines=True) == f"{safe}\tc\n"
    assert printable("卧虎藏龙 الرسالة é €") == "卧虎藏龙 الرسالة é €"
    assert str(DataError(f"x: got {evil}")) == f"x: got {safe}\tc"
    args = console.parser("x", "", "")
    console.add_options(args)

    def command():
        console.tell(evil)
        console.show(evil)
        raise OSError(f"{evil}\nb")

    with pytest.raises(SystemExit):
        console.run(command, args.parse_args([]))
    out, told = capsys.readouterr()
    assert out == f"{safe}\tc\n"
    assert told.splitlines() == [f"{safe}\tc", r"error: a\x1b[2J\x07\x9b\x7f\u202eb\u2069 \ud800\tc b"]


@pytest.mark.parametrize(
    "resume, epochs, told",
    [
        ("auto", 2, "the same command resumes after 2 completed epochs"),
        ("auto", 0, "the same command starts anew"),
        ("", 2, "the same command starts anew; with --resume=auto it resumes after 2 completed epochs"),
    ],
)
def test_a_training_says_after_which_epoch_it_goes_on(resume, epochs, told, experiment, monkeypatch):
    small, seen = experiment("CL4SRec", resume=resume, epochs=4), []
    batches = type(small.train_data).__iter__

    def interrupted(loader):
        seen.append(loader)
        if len(seen) > epochs:
            raise KeyboardInterrupt
        return batches(loader)

    monkeypatch.setattr(type(small.train_data), "__iter__", interrupted)
    with pytest.raises(KeyboardInterrupt) as end:
        small.fit()
    assert end.value.args == (told,)


def test_quiet_hides_all_but_the_result(data_path, monkeypatch, capsys):
    record = {"params": {"lambda": 0.1}, "status": "ok", "model": "CL4SRec", "best_valid_score": 1.0}
    results = {"valid_score_bigger": True, "best_valid_result": {"x": 1.0}, "test_result": {"x": 1.0}}
    monkeypatch.setattr(study, "run_trial", lambda *_: {**record, **results})
    Path("one.test").write_text("lambda choice [0.1]")
    search = ["--model=CL4SRec", "--dataset=tiny", f"--data_path={data_path}", "--params_file=one.test"]
    COMMANDS["run_hyper"][0]([*search, "--output_file=a"])
    shown, told = capsys.readouterr()
    assert told == "trial 1: lambda:0.1: 1.0000 on validation\n"
    COMMANDS["run_hyper"][0]([*search, "--output_file=b", "-q"])
    assert capsys.readouterr() == (shown, "")
    synthetic.main(["--output=data", "--quiet"])
    assert capsys.readouterr() == ("", "")


def test_the_picture_of_the_readme_is_what_its_command_draws(tmp_path):
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"`ec4srec (views [^`]*--output=docs/views\.svg)`", page)
    *arguments, _ = shlex.split(command)
    ec4srec.main([*arguments, f"--output={tmp_path / 'views.svg'}", "--quiet"])
    drawn, committed = ((folder / "views.svg").read_text(encoding="utf-8") for folder in (tmp_path, DOCS))
    texts, committed_texts = (re.findall(r"<text[^>]*>([^<]*)</text>", svg) for svg in (drawn, committed))
    assert texts == committed_texts  # the lines around them differ by version of matplotlib
    assert texts.count("[m]") == 10


def training(folder):
    """The command line of a training that takes a while."""
    write_inter(folder, "many", {f"u{u}": [f"i{(u * k) % 31}" for k in range(1, 9)] for u in range(300)})
    settings = {**SMALL, "data_path": folder, "epochs": 200, "num_updates": 2}
    del settings["show_progress"]
    flags = [f"--{key}={value}".replace(" ", "") for key, value in settings.items()]
    return [sys.executable, "-c", TRAIN, "--dataset=many", "--resume=auto", *flags]


def interrupt_after_an_epoch(process, output):
    """What is written to ``output`` until the process ends, which Ctrl-C is sent to after its first epoch."""
    text, sent = b"", False
    while True:
        try:
            part = os.read(output, 65536)
        except OSError:  # of a terminal that nobody has open any more
            part = b""
        if not part:
            return process.wait(), text.decode()
        text += part
        if not sent and b"epoch 1 training" in text:
            process.send_signal(signal.SIGINT)
            sent = True


def test_a_training_to_a_pipe_has_no_colour_and_no_bars_and_says_how_to_go_on(tmp_path):
    process = subprocess.Popen(training(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tmp_path)
    status, text = interrupt_after_an_epoch(process, process.stdout.fileno())
    process.stdout.close()
    assert status == 130
    assert re.search(r"interrupted: the same command resumes after \d+ completed epochs?\n$", text)
    assert not re.search(r"\x1b|\r|it/s|Traceback", text)


@pytest.mark.slow
def test_a_training_at_a_terminal_has_bars(tmp_path):
    pty, fcntl = pytest.importorskip("pty"), pytest.importorskip("fcntl")
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(training(tmp_path), stdout=theirs, stderr=theirs, cwd=tmp_path)
    os.close(theirs)
    status, text = interrupt_after_an_epoch(process, ours)
    assert status == 130 and "it/s" in text and "\x1b[" in text and "Traceback" not in text
