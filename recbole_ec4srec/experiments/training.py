"""Training the runs of an experiment; a run that was killed resumes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from time import time
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.trainer import Trainer
from recbole.utils import init_logger

import recbole_ec4srec  # noqa: F401
from recbole_ec4srec.console import tell
from recbole_ec4srec.data.identity import check_same, kept_in, remember
from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.experiments import records, warmup
from recbole_ec4srec.experiments.records import Run
from recbole_ec4srec.storage.atomic import replacing
from recbole_ec4srec.storage.checkpoint import load_checkpoint
from recbole_ec4srec.storage.settings import plain
from recbole_ec4srec.training.build import build
from recbole_ec4srec.training.protocols import PROTOCOLS, Judged, model_file, own_protocol
from recbole_ec4srec.training.resume import load_state, read_state, remove_state, save_state

TELL_EVERY = 10  # seconds


class Refused(ConfigError):
    """This data set does not allow this run; the other runs of the experiment are trained."""


class Training:
    """A model with its data and trainer, as in RecBole's quick start. It resumes if it was killed.

    It is judged under both protocols (:mod:`recbole_ec4srec.training.protocols`); with files that are split already
    (``benchmark_filename``), which may lack what a user had before, under that of ``repeatable`` alone.

    Args:
        run: what is trained.
        work: the folder for the best model, ``<name>.pth``, that under the other protocol,
            ``<name>-<protocol>.pth``, and, until the training ends, its state, ``<name>.state``.
        settings: have precedence over those of the run.

    Attributes:
        protocols: under which it is judged, its own first.
        results: after :meth:`fit`, under each protocol its ``best_epoch``, ``valid``, ``test`` and :meth:`ranks`.

    Raises:
        Refused: the model cannot be trained on the data set.
    """

    def __init__(self, run: Run, work: Path, **settings: Any):
        quiet = {"show_progress": False, "state": "WARNING", "seed": run.seed}
        self.run, self.config = run, Config(run.model, run.dataset, config_dict={**run.settings, **quiet, **settings})
        config = self.config
        if run.model == "S3Rec" and not Path(config["data_path"], f"{run.dataset}.item").is_file():
            attribute = config["item_attribute"]
            raise Refused(f"S3Rec predicts attributes of items: {run.dataset}.item needs item_id and {attribute}")
        init_logger(config)
        logging.getLogger("matplotlib").setLevel(logging.WARNING)
        built = build(config, under_both=config["benchmark_filename"] is None)
        _, self.train_data, self.valid_data, self.test_data, self.model, self.trainer = built
        self.dataset = self.train_data._dataset
        work.mkdir(parents=True, exist_ok=True)
        self.state = work / f"{run.name}.state"
        self.trainer.saved_model_file = str(work / f"{run.name}.pth")
        own = own_protocol(config["repeatable"])
        self.protocols = [own, self.trainer.other] if isinstance(self.trainer, Judged) else [own]
        self.results: dict[str, dict] = {}

    def fit(self, progress: Callable[[Trainer], None] = lambda trainer: None) -> None:
        """Train to the end and test; ``progress(trainer)`` is called after each epoch.

        The model has the weights of the best epoch under its own protocol then.
        """
        if not self.state.is_file():
            warmup.take(self.run, self.trainer, self.state)
        self.trainer.keep_state(self.state)

        def after_epoch(*_: object) -> None:
            warmup.keep(self.run, self.trainer, self.state)
            progress(self.trainer)

        self.trainer.fit(self.train_data, self.valid_data, verbose=False, callback_fn=after_epoch)
        for protocol in reversed(self.protocols):
            self.results[protocol] = self._test(protocol)

    def _test(self, protocol):
        best = self.trainer.best_under(protocol) if isinstance(self.trainer, Judged) else self.trainer.best
        test = self.evaluate_best(protocol)
        return {"best_epoch": best["epoch"], "valid": best["valid"], "test": test, "ranks": self.ranks(protocol)}

    def evaluate_best(self, protocol: str) -> dict[str, float] | None:
        """The test metrics under a protocol with the weights of its best epoch, which the model has then."""
        if isinstance(self.trainer, Judged):
            return self.trainer.evaluate_best(self.test_data, protocol)
        return plain(self.trainer.evaluate(self.test_data, load_best_model=True))

    def best_model(self, protocol: str) -> Path:
        """The file of the weights of a protocol's best epoch."""
        own = Path(self.trainer.saved_model_file)
        return own if protocol == self.protocols[0] else model_file(own, protocol)

    def pretrain(self, file: Path) -> None:
        """Train the first stage of S3Rec and write its weights to ``file``; it resumes if it was killed."""
        trainer = self.trainer
        remember(self.model, self.dataset)
        if self.state.is_file():
            state = read_state(self.state)
            check_same(self.state, kept_in(state), self.dataset)
            load_state(state, trainer, self.train_data)
            trainer.start_epoch = state["epoch"]
        trainer.save_step = 1
        trainer.save_pretrained_model = lambda epoch, _: save_state(
            self.state, trainer, self.train_data, epoch=epoch + 1
        )
        trainer.pretrain(self.train_data, verbose=False)
        with replacing(file) as temporary:
            torch.save({"state_dict": self.model.state_dict()}, temporary)
        remove_state(self.state)

    @torch.no_grad()
    def ranks(self, protocol: str) -> np.ndarray:
        """The rank (from 1) of each test user's item among those that are ranked under a protocol, ``[users]``, by the
        users' internal ids; with the weights that the model has.

        Of items with equal scores, the item has the middle rank.
        """
        parts, trainer = [], self.trainer
        self.model.eval()
        for batch in self.test_data:
            judged = trainer.scores(batch, protocol) if isinstance(trainer, Judged) else None
            interaction, scores, row, item = judged or trainer._full_sort_batch_eval(batch)
            scores, target = scores[row], scores[row, item].unsqueeze(1)
            rank = 1 + (scores > target).sum(1) + ((scores == target).sum(1) - 1).clamp(min=0) // 2
            user = interaction[self.dataset.uid_field].to(rank.device)[row]
            parts.append(torch.stack([user, rank]).cpu())
        user, rank = torch.cat(parts, 1)
        return rank[user.argsort()].numpy()


def record(run: Run, output: Path, work: Path, progress: Callable[[Trainer], None] = lambda trainer: None) -> None:
    """Train a run, or resume it, and write its record; ``progress(trainer)`` is called after each epoch."""
    commit, pretrained, settings = records.commit(), None, {}  # before files change under a long run
    if run.model == "S3Rec":
        first = Run(run.label, run.model, run.dataset, run.seed, {**run.settings, "train_stage": "pretrain"})
        pretrained = work / f"{first.name}.pretrained"
        if not pretrained.is_file():
            Training(first, work).pretrain(pretrained)
        settings = {"train_stage": "finetune", "pre_model_path": str(pretrained)}
    training = Training(run, work, **settings)
    training.fit(progress)
    results = {name: {**of, "ranks": records.pack(of["ranks"])} for name, of in training.results.items()}
    own = results.pop(training.protocols[0])
    records.write(
        output,
        run,
        best_epoch=own["best_epoch"],
        valid=own["valid"],
        test=own["test"],
        seconds=round(training.trainer.seconds, 1),
        epochs=training.trainer.history,
        ranks=own["ranks"],
        **results,
        data=training.dataset.fingerprint,
        commit=commit,
        config=training.config,
    )
    remove_state(training.state)
    if pretrained:
        pretrained.unlink()


def trained(run: Run, output: Path, work: Path) -> Training:
    """A recorded run with the weights of its best epoch; it is trained first if record or weights are missing."""
    training = Training(run, work)
    kept = all(training.best_model(protocol).is_file() for protocol in training.protocols)
    if not records.exists(output, run) or training.state.is_file() or not kept:
        record(run, output, work)
        training = Training(run, work)
    best = training.best_model(training.protocols[0])
    state = load_checkpoint(best, training.config["device"])
    check_same(best, kept_in(state), training.dataset)
    training.model.load_state_dict(state["state_dict"])
    return training


def which_best(settings: dict) -> str:
    """In words, which of its two best models :func:`trained` gives for a run with these settings."""
    return f"of the best epoch, {PROTOCOLS[own_protocol(settings.get('repeatable'))]}"


def record_missing(runs: Iterable[Run], output: Path, work: Path) -> None:
    """List ``runs``, train those that have no record, and tell the progress every ten seconds."""
    runs = list({run.name: run for run in runs}.values())
    missing = [run for run in runs if not records.exists(output, run)]
    for run in runs:
        begun = (work / f"{run.name}.state").is_file()
        state = "recorded" if run not in missing else "begun" if begun else "to be trained"
        tell(f"{run.label}, {run.dataset}, seed {run.seed}: {state}")
    started, progress = time(), _Progress(len(missing))
    for run in missing:
        progress.begin(run)
        try:
            record(run, output, work, progress)
        except Refused as reason:
            tell(f"[{progress.number} of {len(missing)}] {run.label}, {run.dataset}: not trained: {reason}")
    if missing:
        tell(f"{len(missing)} runs in {_duration(time() - started)}")


class _Progress:
    """Tells how far the training of several runs is; called after each epoch."""

    def __init__(self, count: int):
        self.count, self.number, self.longest = count, 0, 0.0
        self.began = self.told = 0.0

    def begin(self, run: Run) -> None:
        """The next run begins, which ends the last one."""
        if self.number:
            self.longest = max(self.longest, time() - self.began)
        self.run, self.began = run, time()
        self.number += 1

    def __call__(self, trainer: Trainer) -> None:
        if time() - self.told < TELL_EVERY:
            return
        self.told = time()
        last = trainer.history[-1]
        # Early stopping may end a run before its last epoch, so this is the most that it can take.
        left = (trainer.epochs - last["epoch"]) * trainer.seconds / last["epoch"]
        each = max(self.longest, time() - self.began + left)
        tell(
            f"[{self.number} of {self.count}] {self.run.label}, {self.run.dataset}, seed {self.run.seed}: "
            f"epoch {last['epoch']}, {last['seconds']:.0f} s, loss {last['loss']:.4g}, {_scores(trainer)}; "
            f"at most {_duration(left + each * (self.count - self.number))} left"
        )


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


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"
