"""Training the runs of an experiment; a run that was killed resumes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.trainer import Trainer
from recbole.utils import init_logger

import recbole_ec4srec  # noqa: F401
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
        ConfigError: it is not evaluated by full ranking, or never.
        Refused: the model cannot be trained on the data set.
    """

    def __init__(self, run: Run, work: Path, **settings: Any):
        quiet = {"show_progress": False, "state": "WARNING", "seed": run.seed}
        self.run, self.config = run, Config(run.model, run.dataset, config_dict={**run.settings, **quiet, **settings})
        config = self.config
        _check_evaluation(config)
        if run.model == "S3Rec" and not Path(config["data_path"], f"{run.dataset}.item").is_file():
            attribute = config["item_attribute"]
            raise Refused(f"S3Rec predicts attributes of items: {run.dataset}.item needs item_id and {attribute}")
        init_logger(config)
        logging.getLogger("matplotlib").setLevel(logging.WARNING)
        built = build(config, under_both=config["benchmark_filename"] is None)
        _, self.train_data, self.valid_data, self.test_data, self.model, self.trainer = built
        self.dataset = self.train_data._dataset
        work.mkdir(parents=True, exist_ok=True)
        self.state = _state(run, work)
        self.trainer.saved_model_file = str(work / f"{run.name}.pth")
        own = own_protocol(config["repeatable"])
        self.protocols = [own, self.trainer.other] if isinstance(self.trainer, Judged) else [own]
        self.results: dict[str, dict] = {}

    def fit(self, progress: Callable[[Trainer], None] = lambda trainer: None) -> None:
        """Train to the end and test; ``progress(trainer)`` is called after each epoch.

        The model has the weights of the best epoch under its own protocol then.
        """
        if not self.state.is_file():
            warmup.take(self.run, self.trainer, self.state, self.dataset)
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


def _check_evaluation(config):
    for mode in config["eval_args"]["mode"].values():
        if mode != "full":
            raise ConfigError(
                f"eval_args: got mode {mode!r}, allowed in an experiment is full: it records ranks of all items"
            )
    if config["eval_step"] < 1:
        raise ConfigError(f"eval_step: got {config['eval_step']}, allowed in an experiment is 1 or more")


def train(
    run: Run, work: Path, progress: Callable[[Trainer], None] = lambda trainer: None, **execution: Any
) -> dict[str, Any]:
    """Train a run, or resume it, and test it.

    Its state stays, until :func:`discard` removes it: with it, a run whose record was lost has it again at once.

    Args:
        work: the folder of best models and states.
        progress: called with the trainer after each epoch.
        execution: settings that change no result (:data:`~recbole_ec4srec.storage.settings.EXECUTION_KEYS`).

    Returns:
        The record of the run, as plain values.
    """
    commit, settings = records.commit(), execution  # before files change under a long run
    if run.model == "S3Rec":
        pretrained = _pretrained(run, work)
        if not pretrained.is_file():
            Training(_first_stage(run), work, **execution).pretrain(pretrained)
        settings = {**execution, "train_stage": "finetune", "pre_model_path": str(pretrained)}
    training = Training(run, work, **settings)
    training.fit(progress)
    results = {name: {**of, "ranks": records.pack(of["ranks"])} for name, of in training.results.items()}
    own = results.pop(training.protocols[0])
    return records.made(
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


def discard(run: Run, work: Path) -> None:
    """Remove what a recorded run needs no more: its state, and the first stage of S3Rec."""
    remove_state(_state(run, work))
    _pretrained(run, work).unlink(missing_ok=True)


def record(run: Run, output: Path, work: Path, progress: Callable[[Trainer], None] = lambda trainer: None) -> None:
    """:func:`train` a run and write its record to the folder of results, ``output``."""
    records.write(output, run, train(run, work, progress))
    discard(run, work)


def _state(run: Run, work: Path) -> Path:
    return work / f"{run.name}.state"


def _first_stage(run: Run) -> Run:
    return replace(run, settings={**run.settings, "train_stage": "pretrain"})


def _pretrained(run: Run, work: Path) -> Path:
    return work / f"{_first_stage(run).name}.pretrained"


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
