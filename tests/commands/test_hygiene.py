"""A training talks to nobody, writes where it is told to, and tells nobody's name."""

import logging
import os
import sys
import tempfile
from pathlib import Path

from conftest import SMALL, write_inter

from recbole_ec4srec.commands.run_recbole import main as run_recbole_command

WRITING = os.O_WRONLY | os.O_RDWR
ASKING = {"socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"}


def test_a_training_connects_to_nothing_writes_into_three_folders_and_keeps_no_ids(tmp_path, monkeypatch):
    write_inter(tmp_path / "data", "club", {f"member-{u}": [f"i{(u + k) % 30}" for k in range(6)] for u in range(20)})
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir(), home.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # RecBole adds its own where there are none
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(tempfile, "tempdir", str(home))
    settings = {**SMALL, "epochs": 2, "update_epochs": [2], "data_path": tmp_path / "data", "resume": "auto"}
    arguments = [f"--{key}={value}".replace(" ", "") for key, value in settings.items()]
    monkeypatch.setattr(sys, "argv", ["run_recbole", "--model=EC4SRec", "--dataset=club", *arguments])
    watching, asked, written = [True], [], []

    def watch(event, given):  # stays for good: Python has no way to take it back
        if watching and event in ASKING:
            asked.append((event, given))
        if watching and event == "open" and given[2] & WRITING and isinstance(given[0], (str, os.PathLike)):
            written.append(Path(given[0]).resolve())

    sys.addaudithook(watch)
    try:
        run_recbole_command()
    finally:
        watching.clear()
    assert asked == []
    assert written
    assert [file for file in written if work not in file.parents and file != Path(os.devnull)] == []
    assert sorted(path.name for path in work.iterdir()) == ["log", "log_tensorboard", "saved"]
    # the first optimizer of a process makes PyTorch import its compiler, which makes its own temporary folder
    assert [path for path in home.rglob("*") if not path.name.startswith("torchinductor_")] == []
    files = [file for file in work.rglob("*") if file.is_file()]
    assert {file.suffix for file in files if file.stat().st_size} >= {".log", ".pth", ".state"}
    assert [file for file in files if b"member-" in file.read_bytes()] == []
