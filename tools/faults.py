"""A training that is killed anywhere and resumed ends like the uninterrupted one: ``python tools/faults.py`` shows it.

One process imports everything and forks the trainings. A forked one counts the calls of Python and C functions in each
phase of the training and sends itself SIGKILL at a randomly drawn call, so phases of milliseconds are hit as often as
phases of minutes.
"""

import json
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path

import psutil
import torch
import torch._dynamo  # Adam imports it, which takes seconds
from small import SMALL, write_inter

from recbole_ec4srec.commands import run_recbole
from recbole_ec4srec.storage import checkpoint
from recbole_ec4srec.training import resume, trainer

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
KILLS_PER_PHASE = 5


def train(folder, count):
    """The command, in ``folder``; the result is left in ``result.json``, and ``count`` sees every call."""
    os.chdir(folder)
    sys.argv = ["run_recbole", "--model=EC4SRec", "--dataset=tiny"]
    sys.argv += [f"--{key}={value}".replace(" ", "") for key, value in SETTINGS.items()]
    run, fit = run_recbole.run, trainer.Trainer.fit

    def run_and_keep(*args, **options):
        Path("result.json").write_text(json.dumps(run(*args, **options)))

    def counted_fit(*args, **options):
        sys.setprofile(count)
        result = fit(*args, **options)
        sys.setprofile(None)
        return result

    run_recbole.run, trainer.Trainer.fit = run_and_keep, counted_fit
    psutil.cpu_percent = lambda interval: 0.0  # RecBole measures for a second
    run_recbole.main()


def forked(folder, count):
    """:func:`train` in a process of its own; the signal that ended it, or 0."""
    folder.mkdir(exist_ok=True)
    process = os.fork()
    if process == 0:
        status = 1
        try:
            output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1), os.dup2(output, 2)
            train(folder, count)
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(process, 0)
    assert status == 0 or os.WIFSIGNALED(status), (folder / "output").read_text()
    return os.WTERMSIG(status)


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
    """The result, the weights of the best model, and how many files of each kind there are."""
    files = list((folder / "saved").iterdir())
    (best,) = (file for file in files if file.suffix == ".pth")
    return (
        json.loads((folder / "result.json").read_text()),
        torch.load(best, weights_only=True)["state_dict"],
        Counter(file.suffix for file in files),
    )


def same(one, other):
    return (
        one[0] == other[0]
        and one[2] == other[2]
        and one[1].keys() == other[1].keys()
        and all(torch.equal(one[1][name], other[1][name]) for name in one[1])
    )


def main(folder: Path, seed: int = 1) -> int:
    """Kill and resume; the number of trainings that ended like the uninterrupted one."""
    rng = random.Random(seed)
    starts = [(rng.randint(1, 30), rng.randint(4, 12)) for _ in range(40)]
    write_inter(folder, "tiny", {f"u{i}": [f"i{(a + k) % 30}" for k in range(n)] for i, (a, n) in enumerate(starts)})
    assert forked(folder / "unbroken", Tally(folder / "calls")) == 0
    unbroken, calls = left_behind(folder / "unbroken"), json.loads((folder / "calls").read_text())
    kills = [(phase, rng.randint(1, calls[phase])) for phase in PHASES for _ in range(KILLS_PER_PHASE)]
    good = 0
    for number, (phase, call) in enumerate(kills, 1):
        where = folder / f"killed{number}"
        assert forked(where, Calls(phase, call)) == signal.SIGKILL
        temporary = len(list((where / "saved").glob("*.tmp")))
        assert forked(where, None) == 0
        ended = same(left_behind(where), unbroken)
        good += ended
        resumed = "after epoch" in (where / "output").read_text()
        print(
            f"{number:2}. killed in {phase}, at call {call} of {calls[phase]}; {temporary} half-written files, "
            f"{'resumed' if resumed else 'started again'}: {'the same' if ended else 'ANOTHER'} end",
            flush=True,
        )
    print(f"{good} of {len(kills)}")
    return good


if __name__ == "__main__":
    import tempfile

    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
