"""Two nodes of Ray on this machine train Table 3, and a worker is killed: are the records those of a serial run?

``python tools/ray_cluster.py --rows control EC4SRec --data_path=DATA --epochs=6``: all words go to
``experiments table3 --train``, in both runs. Prints the log of the cluster's run. Needs ``pip install -e '.[tune]'``.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from small import free_port

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
RAY = [sys.executable, "-m", "ray.scripts.scripts"]


@contextmanager
def two_nodes(folder):
    """Starts both nodes, of one CPU each; gives the address of the cluster."""
    address = f"127.0.0.1:{free_port()}"
    first = ["--head", f"--port={address.rpartition(':')[2]}", f"--temp-dir={folder}", "--include-dashboard=false"]
    try:
        for way in (first, [f"--address={address}"]):
            command = [*RAY, "start", "--num-cpus=1", *way]
            done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
        yield address
    finally:
        subprocess.run([*RAY, "stop", "--force"], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def start(folder, given):
    """``experiments table3 --train``; its words go to this output."""
    command = [sys.executable, "-m", "recbole_ec4srec.experiments", "table3", "--train", *given]
    return subprocess.Popen([*command, f"--output={folder}/results", f"--work={folder}/work"], env=ENVIRONMENT)


def kill_a_worker(folder, process):
    """Kill a process that trains, as soon as a run has completed two epochs; its number is returned."""
    written = {}
    while process.poll() is None:
        for state in (folder / "work").glob("*.state"):
            with suppress(FileNotFoundError):  # the run has ended
                written.setdefault(state, set()).add(state.stat().st_mtime_ns)
        workers = [each for each in psutil.process_iter(["cmdline"]) if _trains(each)]
        if workers and any(len(times) > 1 for times in written.values()):
            workers[0].kill()
            return workers[0].pid
        time.sleep(0.05)
    raise RuntimeError("all trainings ended before a worker was killed; give more --epochs")


def _trains(process):
    return (process.info["cmdline"] or [""])[0].startswith("ray::train_on_ray")


def records_of(folder):
    """By name, without what is of the machine: times and threads."""
    found = {}
    for file in sorted((folder / "results/records").iterdir()):
        record = json.loads(file.read_text())
        for part in (record, *record["epochs"]):
            del part["seconds"]
        del record["threads"]
        found[file.name] = record
    return found


def main(given):
    """1 if a record differs."""
    with tempfile.TemporaryDirectory(prefix="ray-") as name:
        folder = Path(name)
        assert start(folder / "serial", given).wait() == 0
        with two_nodes(folder / "ray") as address:
            process = start(folder / "cluster", [*given, "--engine=ray", f"--address={address}", "-v"])
            print(f"killed: process {kill_a_worker(folder / 'cluster', process)}, a worker of Ray's", flush=True)
            assert process.wait() == 0
        serial, cluster = records_of(folder / "serial"), records_of(folder / "cluster")
    same = [record for record in serial if serial[record] == cluster.get(record)]
    print(f"{len(same)} of {len(serial)} records are equal to those of a serial run; the cluster's: {len(cluster)}")
    return int(not len(same) == len(serial) == len(cluster))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
