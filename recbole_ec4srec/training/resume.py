"""Training that can be killed and resumes after its last completed epoch as if it had never been interrupted.

The state is tensors and plain values, written to a temporary file that then replaces the last one: a process that dies
while it writes leaves the last state as it was, and ``torch.load(…, weights_only=True)`` reads it. The state before it
is kept beside it, in case the newest is damaged.

Of an epoch that is the best so far, the state is written before the model. If the process dies between the two, the
model is made again from the state; so the best model is always the one that a state has as the best.

Of several processes (``--nproc``) the first writes the state: what all have in common, and the random states of each.
When a training resumes, the first process reads it for all.

Epochs count from 1 in states, records and keys, from 0 in RecBole, its log and its checkpoints.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from time import time

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataloader import AbstractDataLoader
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.trainer import S3RecTrainer, Trainer
from recbole.utils import set_color

from recbole_ec4srec.config.keys import AUTO
from recbole_ec4srec.data.identity import check_same, kept_in, remember
from recbole_ec4srec.errors import ConfigError, printable
from recbole_ec4srec.model.collectives import of_all, of_first, rank_and_size
from recbole_ec4srec.storage.atomic import remove_temporary, replacing
from recbole_ec4srec.storage.checkpoint import check_whole, load_checkpoint
from recbole_ec4srec.storage.settings import differences, plain, plain_settings

_FORMAT = 3
#: Of a single process, whose random states are not in a list.
_FORMAT_OF_ONE = 2

#: Hears of an epoch that was validated: the trainer, the epoch (from 0) and the validation score.
Listener = Callable[[Trainer, int, float], None]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener | None) -> Iterator[None]:
    """In the block ``listener`` hears of each epoch of the trainings that RecBole starts, which takes no callback."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def best_epoch(history: list[dict], metric: str, bigger: bool) -> dict:
    """The best of the epochs of a training on the validation set, of equals the last, as RecBole chooses it.

    Args:
        history: of every epoch its number ``epoch`` and its metrics ``valid``.
        metric: in lower case, as in ``valid``.
        bigger: whether a larger value is better (``valid_metric_bigger``).
    """
    sign = 1 if bigger else -1
    return max(history, key=lambda epoch: (sign * epoch["valid"][metric], epoch["epoch"]))


class Resumable(Trainer):
    """A trainer of RecBole's that leaves its state after each epoch that it evaluates; mixed into others.

    With ``resume: auto`` the state is kept beside the checkpoints, under a name that depends on the configuration. A
    training resumes from it if it is there, or from the one before it if it is damaged; with ``resume: FILE`` from that
    file. Without ``resume`` nothing is written.

    Attributes:
        state_file: where the state is written, or None.
        history: of every evaluated epoch its number (from 1), seconds, training loss and validation metrics, and
            :attr:`last_epoch` as it was.
        last_epoch: what a subclass knows of the epoch that has just been trained, as plain values.
    """

    def __init__(self, config: Config, model: AbstractRecommender):
        super().__init__(config, model)
        self.history: list[dict] = []
        self.last_epoch: dict = {}
        self.state_file: Path | None = None
        self._settings = plain_settings(config)
        self._resume_from: list[Path] = []
        self._saved, self._completed_epochs = True, 0
        self._state_is_due = self._best_model_is_due = False
        resume = of_first(lambda: config["resume"])
        if resume:
            digest = hashlib.sha256(self.settings.encode()).hexdigest()[:8]
            name = f"{config['model']}-{config['dataset']}-{digest}.state"
            self.keep_state(Path(config["checkpoint_dir"], name), None if resume == AUTO else Path(resume))

    def keep_state(self, file: Path, resume_from: Path | None = None) -> None:
        """Write the state to ``file``, and resume from ``resume_from``, or from what is in ``file``."""
        self.state_file = file
        if rank_and_size()[0] > 0:
            return
        remove_temporary(file)
        states = [state for state in (file, _previous(file)) if state.is_file()]
        self._resume_from = states if resume_from is None else [resume_from]

    @property
    def settings(self) -> str:
        """What decides the outcome of this training, as JSON."""
        return json.dumps(self._settings, sort_keys=True)

    @property
    def seconds(self) -> float:
        """How long the epochs so far took."""
        return sum(epoch["seconds"] for epoch in self.history)

    @property
    def best(self) -> dict:
        """The epoch of :attr:`history` whose model is kept."""
        return best_epoch(self.history, self.valid_metric, self.valid_metric_bigger)

    def fit(
        self,
        train_data: AbstractDataLoader,
        valid_data: AbstractDataLoader | None = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Callable[[int, float], None] | None = None,
    ) -> tuple[float, dict]:
        """RecBole's ``fit``, from the state that is there; ``callback_fn`` is called when the state is written."""
        self._saved = saved
        if self.state_file is not None and (not valid_data or self.eval_step < 1):
            self.logger.warning("resume: no state is written, since it is written after a validation and there is none")
        remember(self.model, train_data._dataset)
        left = of_first(self._newest_state)
        if left and self._resume(*left, train_data):
            self.eval_collector.data_collect(train_data)  # which metrics of the test may need, as RecBole's fit does
            return self.best_valid_score, self.best_valid_result
        started = time()

        def after_epoch(epoch: int, score: float) -> None:
            nonlocal started
            seconds, started = time() - started, time()
            self._complete_epoch(epoch, seconds, train_data, verbose)
            if callback_fn:
                callback_fn(epoch, score)
            if listener := _listener.get():
                listener(self, epoch, score)

        try:
            return super().fit(train_data, valid_data, verbose, saved, show_progress, after_epoch)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._how_to_resume()) from None

    # Within an epoch RecBole calls, in this order, _valid_epoch, _save_checkpoint if it is the best so far, and the
    # callback. The model is to be written after the state, so _save_checkpoint leaves it to the callback.

    def _valid_epoch(self, valid_data: AbstractDataLoader, show_progress: bool = False) -> tuple[float, dict]:
        score, result = super()._valid_epoch(valid_data, show_progress)
        self.history.append({"valid": plain(result)})
        self._state_is_due = self.state_file is not None
        return score, result

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: object) -> None:
        """RecBole's, but the file that is there stays until the new one is complete."""
        self._best_model_is_due = self._state_is_due
        if self._state_is_due:
            return
        final = Path(str(kwargs.pop("saved_model_file", self.saved_model_file)))
        with replacing(final) as temporary:
            super()._save_checkpoint(epoch, verbose=False, saved_model_file=str(temporary), **kwargs)
            written = temporary.is_file()  # of several processes one writes
        if verbose and written:
            self.logger.info(set_color("Saving current", "blue") + f": {final}")

    def _complete_epoch(self, epoch: int, seconds: float, train_data: AbstractDataLoader, verbose: bool) -> None:
        """Write the state after an epoch (from 0), then the model if it is the best so far."""
        loss = float(self.train_loss_dict[epoch])
        self.history[-1].update(epoch=epoch + 1, loss=loss, seconds=round(seconds, 2), **self.last_epoch)
        self._track()
        self._write_state(train_data)
        self._state_is_due = False
        self._completed_epochs = epoch + 1
        if self._best_model_is_due:
            self._save_checkpoint(epoch, verbose)

    def _track(self) -> None:
        """Tell what tracks the training what RecBole does not tell of its last epoch."""
        epoch = self.history[-1]
        parts = {f"loss/{name}": value for name, value in epoch.get("losses", {}).items()}
        update = {f"importance/{name}": value for name, value in epoch.get("update", {}).items()}
        told = {
            "loss/total": epoch["loss"],
            **parts,
            **update,
            "seconds": epoch["seconds"],
            "train_step": epoch["epoch"] - 1,
        }
        self.wandblogger.log_metrics({name: value for name, value in told.items() if value is not None})

    def renew_patience(self) -> None:
        """Early stopping counts from here."""
        self.cur_step = 0

    @property
    def _has_ended(self) -> bool:
        """Whether early stopping has ended the training."""
        return self.cur_step > self.stopping_step

    def _write_state(self, train_data: AbstractDataLoader) -> None:
        if self.state_file is None:
            return
        save_state(
            self.state_file,
            self,
            train_data,
            settings=self.settings,
            history=self.history,
            finished=self.history[-1]["epoch"] >= self.epochs or self._has_ended,
            best_model=os.path.relpath(self.saved_model_file, self.state_file.parent),
        )

    def _how_to_resume(self) -> str:
        """What the same command will do after an interruption."""
        anew, number = "the same command starts anew", self._completed_epochs
        if not number:
            return anew
        resumes = f"resumes after {number} completed epoch{'s' * (number > 1)}"
        return f"the same command {resumes}" if self.state_file else f"{anew}; with --resume=auto it {resumes}"

    def _resume(self, file: Path, state: dict, train_data: AbstractDataLoader) -> bool:
        """Restore the state that was left; whether the training had finished."""
        check_same(file, kept_in(state), train_data._dataset)
        load_state(state, self, train_data)
        self.history = state["history"]
        self.start_epoch = self._completed_epochs = self.history[-1]["epoch"]
        self.saved_model_file = str((file.parent / state["best_model"]).resolve())
        if self._saved and rank_and_size()[0] == 0:
            self._recover_best_model(file)
        self.logger.info(f"Resuming from {file} after epoch {self.start_epoch - 1} (counted from 0)")
        return state["finished"]

    def _newest_state(self) -> tuple[Path, dict] | None:
        """The newest state that is not damaged, with its file; None if there is none.

        Raises:
            ConfigError: it is that of another training, or of another number of processes.
        """
        if not self._resume_from:
            return None
        *newer, oldest = self._resume_from
        for file in newer:
            try:
                return file, self._if_own(file, read_state(file))
            except _Damaged as error:
                self.logger.warning(f"{error}; resuming from the state before it")
        return oldest, self._if_own(oldest, read_state(oldest))

    def _if_own(self, file: Path, state: dict) -> dict:
        """``state``, which ``file`` has, if it is this training's."""
        if differing := differences(json.loads(state["settings"]), self._settings):
            raise ConfigError(f"resume: {file} was left by another training: {differing}")
        left_by, size = len(state["random"]), rank_and_size()[1]
        if left_by != size:
            raise ConfigError(
                f"nproc: got {size}, allowed is {left_by} to resume from {file}, which a training of {left_by} "
                f"process{'es' * (left_by > 1)} left (with several machines, their processes together)"
            )
        best_model = state["best_model"]
        if printable(best_model) != best_model:  # RecBole logs it
            raise ConfigError(f"resume: {file} was left by no training: its best model is {best_model!r}")
        return state

    def _recover_best_model(self, state_file: Path) -> None:
        """Make sure that the file of the best model has the model of :attr:`best`."""
        self._recover(state_file, Path(self.saved_model_file), self.best["epoch"] - 1, self._save_checkpoint)

    def _recover(self, state_file: Path, best_model: Path, best: int, save: Callable[[int, bool], None]) -> None:
        """Make sure that ``best_model`` has the model of the epoch ``best`` (from 0); ``save(epoch, verbose)`` writes
        the one that has been loaded."""
        remove_temporary(best_model)
        if best == self.start_epoch - 1:
            save(best, False)
            return
        try:
            epoch = load_checkpoint(best_model, "cpu")["epoch"]
        except (OSError, pickle.UnpicklingError) as error:
            raise ConfigError(f"resume: {state_file} needs the best model so far, {best_model} ({error})") from None
        # After resuming from the state before the newest, it may be of an epoch that will be trained again.
        if epoch != best and epoch < self.start_epoch:
            raise ConfigError(
                f"resume: {state_file} needs the best model so far, of epoch {best} (counted from 0); "
                f"{best_model} is of epoch {epoch}"
            )


class _Damaged(ConfigError):
    """A state cannot be read."""


def resumable(trainer_class: type[Trainer]) -> type[Trainer]:
    """``trainer_class`` with :class:`Resumable` mixed in; unchanged if it has that already, or a ``fit`` of its own."""
    if issubclass(trainer_class, Resumable) or trainer_class.fit not in (Trainer.fit, S3RecTrainer.fit):
        return trainer_class
    return type(trainer_class.__name__, (Resumable, trainer_class), {"__module__": trainer_class.__module__})


def save_state(path: Path, trainer: Trainer, train_data: AbstractDataLoader, **more: object) -> None:
    """Write the state of a training after an epoch; of several processes, which all call this, the first writes it.

    Args:
        path: the file, replaced in one step; what was in it goes to a file beside it, ``<path>.previous``.
        train_data: the loader that ``trainer`` trains on.
        more: plain values to be kept with it.
    """
    random_states = of_all(_random_states())
    if rank_and_size()[0] > 0:
        return
    state = {
        **more,
        "format": _FORMAT,
        "cur_step": trainer.cur_step,
        "best_valid_score": float(trainer.best_valid_score),
        "best_valid_result": plain(trainer.best_valid_result),
        "model": trainer.model.state_dict(),
        "other_parameter": trainer.model.other_parameter(),
        "optimizer": trainer.optimizer.state_dict(),
        "schedule": _own_state_of(trainer),
        "loader": _own_state_of(train_data),
        "shuffling": train_data.generator.get_state(),
        "random": random_states,
    }
    with replacing(path) as temporary:
        torch.save(state, temporary)
        if path.is_file():
            path.replace(_previous(path))


def remove_state(path: Path) -> None:
    """Remove what :func:`save_state` wrote: there is nothing left to resume."""
    for state in (path, _previous(path)):
        state.unlink(missing_ok=True)


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.previous")


def read_state(path: Path) -> dict:
    """What :func:`save_state` wrote; no code in the file is run.

    Raises:
        ConfigError: it is another file, incomplete or damaged.
    """
    try:
        check_whole(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["format"] == _FORMAT_OF_ONE:
            state.update(format=_FORMAT, random=[state["random"]])
        if state["format"] != _FORMAT:
            raise ValueError(f"it has format {state['format']}, this version reads {_FORMAT}")
    except Exception as error:  # another file can raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _Damaged(f"resume: {path} is not the state of a training, or not a whole one ({reason})") from None
    return state


def load_state(state: dict, trainer: Trainer, train_data: AbstractDataLoader) -> None:
    """Restore a training as it was at :func:`save_state`.

    ``trainer``, its model and ``train_data`` must be new ones of the same configuration.
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
    _set_random_states(state["random"][rank_and_size()[0]])


def _random_states() -> dict:
    """The states of this process's random numbers, as plain values and tensors."""
    _, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002  (RecBole draws from it)
    return {
        "python": random.getstate(),
        "numpy": ("MT19937", torch.from_numpy(np.asarray(keys, np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state(gpu) for gpu in _gpus()],
    }


def _set_random_states(states: dict) -> None:
    random.setstate(states["python"])
    algorithm, keys, *rest = states["numpy"]
    np.random.set_state((algorithm, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    for gpu, state in zip(_gpus(), states["cuda"]):
        torch.cuda.set_rng_state(state, gpu)


def _gpus() -> list[int]:
    """Those that this process draws random numbers on: all, or its own one where several processes have one each."""
    if not torch.cuda.is_available():
        return []
    return list(range(torch.cuda.device_count())) if rank_and_size()[1] == 1 else [torch.cuda.current_device()]


def _own_state_of(part: object) -> dict | None:
    """What :meth:`state_dict` of a trainer or loader gives; RecBole's own have none."""
    return part.state_dict() if hasattr(part, "state_dict") else None
