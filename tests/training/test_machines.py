"""Two machines compute what one process does, and none waits for one that is cut off."""

import subprocess
from pathlib import Path

import pytest
import two_machines


@pytest.fixture
def machines():
    """That two machines can be made here: by root, with ``ip``, where the system has network namespaces."""
    try:
        with two_machines.two_machines():
            pass
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no network namespaces here: {error}")


@pytest.mark.slow
def test_two_machines_compute_what_one_process_does_and_end_within_a_minute_when_they_are_cut_off(
    machines, tmp_path, capsys
):
    difference, seconds = two_machines.main(Path(tmp_path))
    with capsys.disabled():
        print(capsys.readouterr().out)
    assert difference < 1e-5
    assert seconds < 60
