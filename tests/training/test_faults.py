"""A training that is killed goes on and ends as if it had not been."""

import subprocess
import sys

import pytest
from conftest import ROOT
from faults import PHASES


@pytest.mark.parametrize(
    ("kills", "options"),
    [
        pytest.param(2, ["--processes=2"], id="two processes, two points"),
        pytest.param(20, [], marks=pytest.mark.slow, id="one process"),
        pytest.param(20, ["--processes=2"], marks=pytest.mark.slow, id="two processes"),
        pytest.param(8, ["--processes=2", "--train_on=sequences"], marks=pytest.mark.slow, id="on sequences"),
        pytest.param(8, ["--processes=2", "--both_protocols"], marks=pytest.mark.slow, id="under both protocols"),
    ],
)
def test_a_training_killed_anywhere_ends_as_the_unbroken_one(kills, options, tmp_path):
    # A process of its own: one that has trained already cannot be forked.
    command = [sys.executable, ROOT / "tools" / "faults.py", tmp_path, f"--kills={kills}", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    assert done.stdout.endswith(f"{kills} of {kills}\n"), done.stdout
    assert all(f"killed in {phase}" in done.stdout for phase in [*PHASES][:kills])
