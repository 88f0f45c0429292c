"""A training that is killed goes on and ends as if it had not been."""

import subprocess
import sys

import pytest
from conftest import ROOT
from faults import PHASES


@pytest.mark.slow
def test_a_training_killed_at_20_points_ends_20_times_as_the_unbroken_one(tmp_path):
    # A process of its own: one that has trained already cannot be forked.
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "faults.py", tmp_path], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    assert done.stdout.endswith("20 of 20\n")
    assert all(f"killed in {phase}" in done.stdout for phase in PHASES)
