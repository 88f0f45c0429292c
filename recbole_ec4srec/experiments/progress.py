"""How far the trainings of an experiment are, told every ten seconds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from time import time

from recbole.trainer import Trainer

from recbole_ec4srec.console import tell
from recbole_ec4srec.experiments.records import Run
from recbole_ec4srec.training.protocols import PROTOCOLS, Judged

TELL_EVERY = 10  # seconds


@dataclass(frozen=True)
class Epoch:
    """The last epoch of a training.

    Attributes:
        text: its number, seconds, loss and validation metrics.
        taken, left: the seconds that the training took so far, and that it can take at most until it ends; early
            stopping may end it before.
    """

    text: str
    taken: float
    left: float

    @classmethod
    def of(cls, trainer: Trainer) -> Epoch:
        """Of a trainer, after an epoch."""
        last = trainer.history[-1]
        text = f"epoch {last['epoch']}, {last['seconds']:.0f} s, loss {last['loss']:.4g}, {_scores(trainer)}"
        return cls(text, trainer.seconds, (trainer.epochs - last["epoch"]) * trainer.seconds / last["epoch"])


class Progress:
    """Tells how far several trainings are.

    Args:
        count: of the trainings.
    """

    def __init__(self, count: int):
        self.count = count
        self._last: dict[Run, Epoch] = {}
        self._longest = self._told = 0.0
        self._done = self._failed = 0
        self._started = time()

    def ended(self, run: Run, failed: bool = False) -> None:
        """A training has a record, or will have none."""
        self._done += not failed
        self._failed += failed
        self._last.pop(run, None)

    def __call__(self, run: Run, epoch: Epoch, running: Collection[Run]) -> None:
        """After an epoch of a run, which is one of those that are running."""
        self._last[run] = epoch
        self._longest = max(self._longest, epoch.taken + epoch.left)
        if time() - self._told < TELL_EVERY:
            return
        self._told = time()
        waiting = self.count - self._done - self._failed - len(running)
        left = sum(self._last[each].left if each in self._last else self._longest for each in running)
        at_most = duration((left + self._longest * waiting) / len(running))
        failed = f", {self._failed} failed" if self._failed else ""
        tell(f"{self._done} done{failed}, {len(running)} running, {waiting} waiting; at most {at_most} left")
        for each in running:
            if each in self._last:
                tell(f"  {each.label}, {each.dataset}, seed {each.seed}: {self._last[each].text}")

    def summary(self) -> str:
        """After the last one."""
        return f"{self._done} trainings in {duration(time() - self._started)}"


def _scores(trainer: Trainer) -> str:
    """The validation metric of the last epoch and of the best one, under each protocol that has not ended."""
    metric = trainer.valid_metric.lower()
    if not isinstance(trainer, Judged):
        return _score(metric, trainer.history[-1], trainer.best)
    last = {protocol: trainer.epochs_under(protocol)[-1] for protocol in PROTOCOLS}
    return ", ".join(
        f"{title}: {_score(metric, last[protocol], trainer.best_under(protocol))}"
        for protocol, title in PROTOCOLS.items()
        if last[protocol]["epoch"] == trainer.history[-1]["epoch"]
    )


def _score(metric, epoch, best):
    return f"{metric} {epoch['valid'][metric]:.4f} (best {best['valid'][metric]:.4f}, epoch {best['epoch']})"


def duration(seconds: float) -> str:
    """In hours and minutes."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"
