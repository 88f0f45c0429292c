"""Two machines in one: ``python tools/two_machines.py`` trains on both, and cuts the cable between them.

The machines are network namespaces of Linux, each with an address of its own and a folder of its own; a pair of virtual
network devices is the cable. That takes root and ``ip`` (``apt-get install iproute2``).

The trainings leave nothing to chance, so that the loss, importance and metrics of two processes can be compared with
those of one.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import torch
from small import SMALL, write_inter

NAMES, ADDRESSES = ("ec4srec-1", "ec4srec-2"), ("10.77.0.1", "10.77.0.2")
PORT = 29400
SETTINGS = {
    **SMALL,
    "epochs": 3,
    "update_epochs": [1, 3],
    "n_layers": 1,
    "hidden_dropout_prob": 0.0,
    "attn_dropout_prob": 0.0,
    "shuffle": False,
    "augmentations": ["mask"],
    "negative_augmentations": ["mask"],
    "lambda_sl_pos": 0,
    "metric_decimal_place": 10,
    "ddp_backend": "gloo",
    "resume": "auto",
}
#: How the processes are started: the words before the settings, of the machine 0 or 1.
WAYS = {
    "run_recbole": lambda machine: [
        *("-m", "recbole_ec4srec", "--nproc=1", "--world_size=2", f"--group_offset={machine}"),
        *(f"--ip={ADDRESSES[0]}", f"--port={PORT}"),
    ],
    "torchrun": lambda machine: [
        *("-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1", f"--node_rank={machine}"),
        *(f"--master_addr={ADDRESSES[0]}", f"--master_port={PORT}", "-m", "recbole_ec4srec"),
    ],
}


def ip(*words):
    """The command ``ip``; what it says where it cannot do it is raised."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


@contextmanager
def two_machines():
    """Makes the machines and the cable; removed after the block."""
    made = []
    try:
        for name in NAMES:
            ip("netns", "add", name)
            made.append(name)
        ip("link", "add", "cable-1", "netns", NAMES[0], "type", "veth", "peer", "name", "cable-2", "netns", NAMES[1])
        for number, (name, address) in enumerate(zip(NAMES, ADDRESSES), 1):
            ip("-n", name, "address", "add", f"{address}/24", "dev", f"cable-{number}")
            for device in ("lo", f"cable-{number}"):
                ip("-n", name, "link", "set", device, "up")
        yield
    finally:
        for name in made:
            ip("netns", "del", name)


def cut():
    """Cut the cable: neither machine is told."""
    ip("-n", NAMES[1], "link", "set", "cable-2", "down")


def start(folder, words, settings, machine=None):
    """A process with these words, in a folder, on a machine; what it says goes to ``output`` there."""
    folder.mkdir(parents=True)
    given = ["--model=EC4SRec", "--dataset=tiny", *(f"--{k}={v}".replace(" ", "") for k, v in settings.items())]
    command = [sys.executable, *words, *given]
    if machine is not None:
        command = ["ip", "netns", "exec", NAMES[machine], *command]
    with (folder / "output").open("w") as output:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        return subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, env=environment)


def left_in(folder):
    """By epochs the losses and the metrics, and the importance scores, which the first process has left."""
    (state,) = (folder / "saved").glob("*.state")
    kept = torch.load(state, weights_only=True)
    values = [value for epoch in kept["history"] for value in (*epoch["losses"].values(), *epoch["valid"].values())]
    return torch.tensor(values, dtype=torch.float64), kept["loader"]["importance"].double()


def trained(folder, way, settings):
    """What the training of two machines has left on the first one; on the second one nothing is left."""
    processes = [start(folder / f"machine{number}", WAYS[way](number), settings, number) for number in (0, 1)]
    for number, process in enumerate(processes):
        assert process.wait(300) == 0, (folder / f"machine{number}" / "output").read_text()
    assert list((folder / "machine1").rglob("*.pth")) == list((folder / "machine1").rglob("*.state")) == []
    return left_in(folder / "machine0")


def compare(folder, settings):
    """Print how far the figures of two machines are from those of one process; the largest difference."""
    assert start(folder / "one", ["-m", "recbole_ec4srec"], settings).wait(300) == 0, (
        folder / "one" / "output"
    ).read_text()
    one, importance = left_in(folder / "one")
    largest = 0.0
    for way in WAYS:
        of_two, importance_of_two = trained(folder / way, way, settings)
        of_figures = ((of_two - one).abs() / one.abs().clamp(min=1)).max().item()
        of_importance = (importance_of_two - importance).abs().max().item()
        print(
            f"{way}: {len(one)} losses and metrics differ by at most {of_figures:.1e}, "
            f"{importance.numel()} importance scores by {of_importance:.1e}",
            flush=True,
        )
        largest = max(largest, of_figures, of_importance)
    return largest


def cut_off(folder, way, settings):
    """Cut the cable within an epoch; print after how many seconds each machine ended, and its last words."""
    endless = {**settings, "epochs": 100000, "stopping_step": 100000}
    processes = [start(folder / f"machine{number}", WAYS[way](number), endless, number) for number in (0, 1)]
    while not list((folder / "machine0").glob("saved/*.state")):
        assert all(process.poll() is None for process in processes), (folder / "machine0" / "output").read_text()
        time.sleep(0.1)
    cut()
    began, slowest = time.time(), 0.0
    for number, process in enumerate(processes):
        status = process.wait(600)
        slowest = time.time() - began
        text = (folder / f"machine{number}" / "output").read_text()
        reason = [line for line in text.splitlines() if line.startswith("error: ")]
        print(f"{way}: machine {number + 1} ended after {slowest:.0f} s with {status}: {reason}", flush=True)
        assert status == 1 and reason, text
    return slowest


def main(folder: Path) -> tuple[float, float]:
    """The largest difference from one process, and the seconds after which a machine that is cut off has ended."""
    rng = random.Random(1)
    sequences = {f"u{u}": [f"i{rng.randrange(40)}" for _ in range(rng.randrange(4, 13))] for u in range(60)}
    if sum(len(items) - 3 for items in sequences.values()) % 2:  # instances are divided among two
        sequences["odd"] = ["i1", "i2", "i3", "i4"]
    write_inter(folder, "tiny", sequences)
    settings = {**SETTINGS, "data_path": str(folder)}
    with two_machines():
        difference = compare(folder, settings)
        seconds = []
        for way in WAYS:
            seconds.append(cut_off(folder / f"{way}-cut", way, settings))
            ip("-n", NAMES[1], "link", "set", "cable-2", "up")
    return difference, max(seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="where to train (default: a temporary folder)")
    given = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary_folder:
        difference, seconds = main(given or Path(temporary_folder))
    print(f"largest difference {difference:.1e}; cut off, ended after at most {seconds:.0f} s")
