"""Training that can be killed and goes on after its last whole epoch as if it had never been interrupted.

The state is tensors and plain values, written to a temporary file that then takes the place of the last one: a process
that dies while writing leaves the last state as it was, and ``torch.load(…, weights_only=True)`` reads it. The one
before it stays beside it, for the day on which the newest turns out to be damaged.

The state of an epoch is written before the model of the epoch, where that is the best so far. Of a process that died
between the two, the model is made again from the state; so the best model is always the one that a state tells of.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
from pathlib import Path
from time import time

import numpy as np
import torch
from recbole.trainer import S3RecTrainer, Trainer
from recbole.utils import set_color

from recbole_ec4srec.config.keys import AUTO
from recbole_ec4srec.data.identity import check_same, kept_in, remember
from recbole_ec4srec.errors import ConfigError, printable
from recbole_ec4srec.storage.atomic import remove_temporary, replacing
from recbole_ec4srec.storage.checkpoint import check_whole, load_checkpoint
from recbole_ec4srec.storage.settings import as_json, differences, plain, plain_settings
from recbole_ec4srec.training.trainer import EC4SRecTrainer

_FORMAT = 2


class Resumable:
    """What is mixed into a trainer of RecBole's so that it leaves its state after each epoch that it evaluates.

    With ``resume: auto`` in the configuration the state is kept beside the checkpoints, under a name that the
    configuration gives it, and a training goes on from it where there is one, or from the one before it where it is
    damaged; ``resume: FILE`` goes on from that file. Without ``resume`` nothing is written.

    Attributes:
        state_file: where the state goes, or None.
        history: of every evaluated epoch its number (from 1), seconds, training loss and validation metrics, and what
            :attr:`~recbole_ec4srec.training.trainer.EC4SRecTrainer.noted` has of it.
    """

    def __init__(self, config, model):
        super().__init__(config, model)
        self.history, self.state_file = [], None
        self._settings, self._continue_from = plain_settings(config), []
        self._saved, self._evaluated, self._best_is_new, self._whole = True, False, False, 0
        wanted = config["resume"]
        if wanted:
            digest = hashlib.sha256(self.settings.encode()).hexdigest()[:8]
            name = f"{config['model']}-{config['dataset']}-{digest}.state"
            self.keep_state(Path(config["checkpoint_dir"], name), None if wanted == AUTO else Path(wanted))

    def keep_state(self, file: Path, continue_from: Path | None = None) -> None:
        """Leave the state in ``file``, and go on from ``continue_from``, or from what was left in ``file``."""
        self.state_file = file
        remove_temporary(file)
        left = [state for state in (file, _previous(file)) if state.is_file()]
        self._continue_from = left if continue_from is None else [continue_from]

    @property
    def settings(self) -> str:
        """What decides the outcome of this training, as JSON."""
        return as_json(self._settings)

    @property
    def seconds(self) -> float:
        """How long the epochs so far took."""
        return sum(epoch["seconds"] for epoch in self.history)

    @property
    def best(self) -> dict:
        """The epoch of :attr:`history` whose model is kept: the best on the validation set, of equals the last."""
        sign = 1 if self.valid_metric_bigger else -1
        return max(self.history, key=lambda epoch: (sign * epoch["valid"][self.valid_metric], epoch["epoch"]))

    def fit(
        self, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None
    ):  # RecBole's signature
        self._saved = saved
        remember(self.model, train_data._dataset)
        if self._continue_from and self._go_on(train_data):
            self.eval_collector.data_collect(train_data)  # which metrics of the test may need, as RecBole's fit does
            return self.best_valid_score, self.best_valid_result
        started = time()

        def after_epoch(epoch, score):
            nonlocal started
            seconds, started = time() - started, time()
            told = {"loss": float(self.train_loss_dict[epoch]), "seconds": round(seconds, 2)}
            self.history[-1].update(epoch=epoch + 1, **told, **getattr(self, "noted", {}))
            self._evaluated = False
            self._write(train_data)
            self._whole = epoch + 1
            if self._best_is_new:
                self._save_checkpoint(epoch, verbose)
            if callback_fn:
                callback_fn(epoch, score)

        try:
            return super().fit(train_data, valid_data, verbose, saved, show_progress, after_epoch)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._how_to_go_on()) from None

    def _how_to_go_on(self):
        anew = "the same command starts anew"
        if not self._whole:
            return anew
        after = f"goes on after {self._whole} whole epoch{'s' * (self._whole > 1)}"
        return f"the same command {after}" if self.state_file else f"{anew}; with --resume=auto it {after}"

    def _valid_epoch(self, valid_data, show_progress=False):
        score, result = super()._valid_epoch(valid_data, show_progress)
        self.history.append({"valid": plain(result)})
        self._evaluated = self.state_file is not None
        return score, result

    def _save_checkpoint(self, epoch, verbose=True, **kwargs):
        """RecBole's, but the file that is there stays until the new one is whole; after an epoch its state is first."""
        self._best_is_new = self._evaluated
        if self._evaluated:
            return
        final = Path(kwargs.pop("saved_model_file", self.saved_model_file))
        with replacing(final) as temporary:
            super()._save_checkpoint(epoch, verbose=False, saved_model_file=str(temporary), **kwargs)
            written = temporary.is_file()  # of several processes one writes
        if verbose and written:
            self.logger.info(set_color("Saving current", "blue") + f": {final}")

    def _write(self, train_data):
        if self.state_file is None:
            return
        finished = self.history[-1]["epoch"] >= self.epochs or self.cur_step > self.stopping_step
        save_state(
            self.state_file,
            self,
            train_data,
            settings=self.settings,
            history=self.history,
            finished=finished,
            best_model=os.path.relpath(self.saved_model_file, self.state_file.parent),
        )

    def _go_on(self, train_data) -> bool:
        """Take up the state that was left; whether there is nothing left to train."""
        file, state = self._newest_whole_state()
        check_same(file, kept_in(state), train_data._dataset)
        load_state(state, self, train_data)
        self.history, self.start_epoch = state["history"], state["history"][-1]["epoch"]
        self._whole = self.start_epoch
        self.saved_model_file = str((file.parent / state["best_model"]).resolve())
        if self._saved:
            self._recover_best_model(file)
        self.logger.info(f"Going on from {file} after epoch {self.start_epoch - 1}")
        return state["finished"]

    def _newest_whole_state(self):
        for number, file in enumerate(self._continue_from, 1):
            try:
                return file, self._own_state(file)
            except ConfigError as error:
                if number == len(self._continue_from):
                    raise
                self.logger.warning(f"{error}; going on from the state before it")

    def _own_state(self, file):
        """What is in ``file``, if it is whole and this training's."""
        state = read_state(file)
        if told := differences(json.loads(state["settings"]), self._settings):
            raise ConfigError(f"resume: {file} was left by another training: {told}")
        best_model = state["best_model"]
        if printable(best_model) != best_model:  # RecBole logs it
            raise ConfigError(f"resume: {file} was left by no training: its best model is {best_model!r}")
        return state

    def _recover_best_model(self, state_file):
        """See to it that the best model is that of :attr:`best`."""
        best_model, best = Path(self.saved_model_file), self.best["epoch"] - 1
        remove_temporary(best_model)
        if best == self.start_epoch - 1:
            self._save_checkpoint(best, verbose=False)
            return
        try:
            found = load_checkpoint(best_model, "cpu")["epoch"]
        except (OSError, pickle.UnpicklingError) as error:
            raise ConfigError(f"resume: {state_file} needs the best model so far, {best_model} ({error})") from None
        # Of a state that was not the newest the model may be of an epoch to come, which makes it again.
        if found != best and found < self.start_epoch:
            raise ConfigError(
                f"resume: {state_file} needs the best model so far, of epoch {best}; {best_model} is of epoch {found}"
            )


def resumable(trainer_class: type) -> type:
    """``trainer_class`` with :class:`Resumable` mixed in; as it is where its ``fit`` is not RecBole's common one."""
    if trainer_class.fit not in (Trainer.fit, EC4SRecTrainer.fit, S3RecTrainer.fit):
        return trainer_class
    return type(trainer_class.__name__, (Resumable, trainer_class), {"__module__": trainer_class.__module__})


def save_state(path, trainer, train_data, **more) -> None:
    """Write the state of a training after an epoch.

    Args:
        path: the file, replaced in one step; what it held before goes to a file beside it, ``<path>.previous``.
        trainer: a RecBole trainer.
        train_data: the loader that it trains on.
        more: plain values to be kept beside it.
    """
    algorithm, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002  (RecBole draws from it)
    state = {
        **more,
        "format": _FORMAT,
        "cur_step": trainer.cur_step,
        "best_valid_score": float(trainer.best_valid_score),
        "best_valid_result": plain(trainer.best_valid_result),
        "model": trainer.model.state_dict(),
        "other_parameter": trainer.model.other_parameter(),
        "optimizer": trainer.optimizer.state_dict(),
        "schedule": _of(trainer),
        "loader": _of(train_data),
        "shuffling": train_data.generator.get_state(),
        "random": {
            "python": random.getstate(),
            "numpy": (algorithm, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        },
    }
    path = Path(path)
    with replacing(path) as temporary:
        torch.save(state, temporary)
        if path.is_file():
            path.replace(_previous(path))


def remove_state(path: Path) -> None:
    """Remove what :func:`save_state` left: there is nothing to go on with."""
    for state in (path, _previous(path)):
        state.unlink(missing_ok=True)


def _previous(path):
    return path.with_name(f"{path.name}.previous")


def read_state(path) -> dict:
    """What :func:`save_state` wrote; no code in the file is run.

    Raises:
        ConfigError: it is no such file, or a part of one.
    """
    try:
        check_whole(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["format"] != _FORMAT:
            raise ValueError(f"it has format {state['format']}, this version reads {_FORMAT}")
    except Exception as error:  # what is no such file fails in as many ways as there are files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"resume: {path} is not the state of a training, or not a whole one ({reason})") from None
    return state


def load_state(state: dict, trainer, train_data) -> None:
    """Put a training back to where :func:`save_state` found it.

    The trainer, its model and the loader have to be made as they were then, from the same configuration.
    """
    trainer.cur_step = state["cur_step"]
    trainer.best_valid_score = state["best_valid_score"]
    trainer.best_valid_result = state["best_valid_result"]
    trainer.model.load_state_dict(state["model"])
    trainer.model.load_other_parameter(state["other_parameter"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    for part, kept in ((trainer, state["schedule"]), (train_data, state["loader"])):
        if kept is not None:
            part.load_state_dict(kept)
    train_data.generator.set_state(state["shuffling"])
    drawn = state["random"]
    random.setstate(drawn["python"])
    algorithm, keys, *rest = drawn["numpy"]
    np.random.set_state((algorithm, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(drawn["torch"])
    if drawn["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(drawn["cuda"])


def _of(part):
    """The state of what has more of one than RecBole's own classes."""
    return part.state_dict() if hasattr(part, "state_dict") else None
