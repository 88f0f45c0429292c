"""A training that is killed anywhere and resumed ends like the uninterrupted one: ``python tools/faults.py`` shows it.

One process imports everything and forks the trainings. A forked one counts the calls of Python and C functions in each
phase of the training and sends itself SIGKILL at a randomly drawn call, so phases of milliseconds are hit as often as
phases of minutes.

With ``--processes=2`` a training has two processes, one of which kills itself, in turn the first and the second; the
other one ends with it. They are started as torchrun starts them.
"""

import argparse
import json
import os
import random
import signal
import socket
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

import psutil
import torch
import torch._dynamo  # Adam imports it, which takes seconds
from recbole.config import Config
from recbole.trainer import Trainer
from small import SMALL, write_inter

from recbole_ec4srec.commands import run_recbole  # before RecBole's quick start, which alone wants Ray
from recbole_ec4srec.storage import checkpoint
from recbole_ec4srec.training import resume, trainer
from recbole_ec4srec.training.build import build
from recbole_ec4srec.training.protocols import PROTOCOLS

quick_start = sys.modules["recbole.quick_start.quick_start"]

SETTINGS = {
    **SMALL,
    "epochs": 6,
    "update_epochs": [2, 4],
    "n_layers": 1,
    "metric_decimal_place": 12,
    "data_path": "..",
    "resume": "auto",
    "learning_rate": 0.01,
}
PHASES = {
    "an epoch": trainer.EC4SRecTrainer._train_epoch,
    "an importance update": trainer.EC4SRecTrainer.update_importance,
    "saving the state": resume.save_state,
    "saving the best model": checkpoint.save_checkpoint,
}


def train(folder, settings, count, both_protocols):
    """The command, or a training under both protocols, in ``folder``; the result is left in ``result.json``, and
    ``count`` sees every call."""
    os.chdir(folder)
    fit = Trainer.fit

    def counted_fit(*args, **options):
        sys.setprofile(count)
        result = fit(*args, **options)
        sys.setprofile(None)
        return result

    def keep(result):
        if os.environ.get("RANK", "0") == "0":
            Path("result.json").write_text(json.dumps(result))

    Trainer.fit = counted_fit
    psutil.cpu_percent = lambda interval: 0.0  # RecBole measures for a second
    if both_protocols:
        sys.argv = ["faults"]
        config = Config("EC4SRec", "tiny", config_dict=settings)
        quick_start.init_logger(config)
        _, train_data, valid_data, test_data, _, judged = build(config, True)
        judged.fit(train_data, valid_data)
        keep({protocol: judged.evaluate_best(test_data, protocol) for protocol in PROTOCOLS})
        return
    sys.argv = ["run_recbole", "--model=EC4SRec", "--dataset=tiny"]
    sys.argv += [f"--{key}={value}".replace(" ", "") for key, value in settings.items()]
    run = run_recbole.run
    run_recbole.run = lambda *args, **options: keep(run(*args, **options))
    run_recbole.main()


def forked(folder, counts, *how):
    """:func:`train` in processes of its own, one for each of ``counts``; the signals that ended them, 0 for those that
    ended by themselves."""
    folder.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    settings, both_protocols = how
    processes = []
    for rank, count in enumerate(counts):
        process = os.fork()
        if process:
            processes.append(process)
            continue
        status = 1
        try:
            output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1), os.dup2(output, 2)
            if (size := len(counts)) > 1:
                group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
                group |= {"MASTER_ADDR": "localhost", "MASTER_PORT": port}
                os.environ.update({name: str(value) for name, value in group.items()})
            train(folder, settings, count, both_protocols)
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(status)
    ended = [os.waitpid(process, 0)[1] for process in processes]
    signals = [os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0 for status in ended]
    assert not any(ended) or any(signals), (folder / "output").read_text()
    return signals


class Calls:
    """Calls in each phase, an inner phase's being its own; at call ``kill`` of ``phase`` the process kills itself."""

    def __init__(self, phase=None, kill=None):
        self.names = {function.__code__: name for name, function in PHASES.items()}
        self.inside, self.seen, self.kill = [], Counter(), (phase, kill)

    def __call__(self, frame, event, argument):
        name = self.names.get(frame.f_code)
        if name and event == "call":
            self.inside.append(name)
        if self.inside:
            self.seen[self.inside[-1]] += 1
            if (self.inside[-1], self.seen[self.inside[-1]]) == self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
        if name and event == "return":
            self.inside.pop()


class Tally(Calls):
    """The calls of an unbroken training, left in a file at each end of a phase."""

    def __init__(self, file):
        super().__init__()
        self.file = file

    def __call__(self, frame, event, argument):
        super().__call__(frame, event, argument)
        if event == "return" and frame.f_code in self.names:
            self.file.write_text(json.dumps(self.seen))


def left_behind(folder):
    """The result, how many files of each kind there are, the epochs' losses and metrics, and the weights of the best
    models and of the last epoch."""
    files = sorted((folder / "saved").iterdir(), key=lambda file: ("-unseen" in file.stem, file.stem))
    (state,) = (torch.load(file, weights_only=True) for file in files if file.suffix == ".state")
    best = [torch.load(file, weights_only=True)["state_dict"] for file in files if file.suffix == ".pth"]
    history = [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in state["history"]]
    result = json.loads((folder / "result.json").read_text())
    return result, Counter(file.suffix for file in files), history, [*best, state["model"]]


def same(one, other):
    *values, weights = one
    *others, other_weights = other
    return values == others and all(
        ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
        for ours, theirs in zip(weights, other_weights)
    )


def main(
    folder: Path, processes: int = 1, kills: int = 20, train_on: str = "prefixes", both_protocols: bool = False
) -> int:
    """Kill and resume; the number of trainings that ended like the uninterrupted one."""
    rng = random.Random(1)
    starts = [(rng.randint(1, 30), rng.randint(4, 12)) for _ in range(40)]
    write_inter(folder, "tiny", {f"u{i}": [f"i{(a + k) % 30}" for k in range(n)] for i, (a, n) in enumerate(starts)})
    how = {**SETTINGS, "train_on": train_on, "ddp_backend": "gloo"}, both_protocols
    counted = [folder / f"calls{rank}" for rank in range(processes)]
    assert not any(forked(folder / "unbroken", [Tally(file) for file in counted], *how))
    unbroken, calls = left_behind(folder / "unbroken"), [json.loads(file.read_text()) for file in counted]
    good = 0
    for number in range(kills):
        phase = [*PHASES][number % len(PHASES)]
        rank = (number + number // len(PHASES)) % processes
        rank *= phase in calls[rank]  # the first process alone has all phases
        call = rng.randint(1, calls[rank][phase])
        where, unharmed = folder / f"killed{number}", [None] * processes
        killed = [Calls(phase, call) if of == rank else None for of in range(processes)]
        assert forked(where, killed, *how)[rank] == signal.SIGKILL, (where / "output").read_text()
        temporary = len(list((where / "saved").glob("*.tmp")))
        assert not any(forked(where, unharmed, *how)), (where / "output").read_text()
        ended = same(left_behind(where), unbroken)
        good += ended
        resumed = "after epoch" in (where / "output").read_text()
        print(
            f"{number + 1:2}. process {rank} killed in {phase}, at call {call} of {calls[rank][phase]}; "
            f"{temporary} half-written files, {'resumed' if resumed else 'started again'}: "
            f"{'the same' if ended else 'ANOTHER'} end",
            flush=True,
        )
    print(f"{good} of {kills}")
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="where to train (default: a temporary folder)")
    parser.add_argument("--processes", type=int, default=1, help="of a training (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=20, help="how many trainings are killed (default: %(default)s)")
    parser.add_argument("--train_on", default="prefixes", help="prefixes or sequences (default: %(default)s)")
    parser.add_argument("--both_protocols", action="store_true", help="judge the training under both protocols")
    options = vars(parser.parse_args())
    with tempfile.TemporaryDirectory() as temporary_folder:
        main(**{**options, "folder": options["folder"] or Path(temporary_folder)})
