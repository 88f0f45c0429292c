"""The schedule: train for a while, ask the explainer what matters, hand the answer to the loader, go on."""

from __future__ import annotations

import math
from pathlib import Path
from time import time

import torch
from recbole.trainer import Trainer
from recbole.utils import set_color

from recbole_ec4srec.config.schedule import update_schedule
from recbole_ec4srec.data.dataloader import WithViews
from recbole_ec4srec.errors import ConfigError, NonFiniteError
from recbole_ec4srec.explain import build_explainer


class EC4SRecTrainer(Trainer):
    """RecBole's trainer, with importance updates at the start of scheduled epochs (section 4.1).

    Early stopping cannot end a run before its first update, and patience starts anew at each update; the best
    checkpoint is chosen among all epochs.

    Raises:
        NonFiniteError: from ``fit``, when a part of the loss, a weight or an importance score is not finite; the best
            model so far stays as it is.
    """

    def __init__(self, config, model):
        super().__init__(config, model)
        if max(config["topk"]) > model.n_items:
            raise ConfigError(
                f"topk: got {config['topk']}, allowed is at most {model.n_items - 1}, the number of items"
            )
        self.explainer = build_explainer(config, model)
        self.update_epochs = update_schedule(config["epochs"], config["num_updates"], config["update_epochs"])
        self._patience = self.stopping_step
        self._updates_done = 0
        self._epoch = 0
        self._batch, self._losses, self._names = 0, (), ()
        self._best_epoch = None
        #: Of the last epoch: ``losses``, the sum over its batches of each part of the loss, weighted; and, where it
        #: began with an update, ``update``: the share of instances whose most important item has changed.
        self.noted = {}

    def state_dict(self) -> dict:
        """Where in its schedule a training is."""
        return {"updates": self._updates_done, "best_epoch": self._best_epoch, "explainer": self.explainer.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self._updates_done, self._best_epoch = state["updates"], state["best_epoch"]
        self.explainer.load_state_dict(state["explainer"])

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        if not isinstance(train_data, WithViews):
            raise TypeError(
                f"{type(self.model).__name__} is trained with the views of an EC4SRecTrainDataLoader, not with a "
                f"{type(train_data).__name__}; make the loaders with recbole.data.data_preparation"
            )
        if self.update_epochs and train_data.needs_importance:
            self.explainer.prepare(train_data._dataset)
        self._epoch, self.noted = epoch_idx + 1, {}
        due = sum(epoch <= self._epoch for epoch in self.update_epochs)
        if due > self._updates_done:
            self.update_importance(train_data, show_progress)
            self._updates_done = due
            self.cur_step = 0
        self.stopping_step = math.inf if self.update_epochs and due == 0 else self._patience
        calculate_loss, self._batch = loss_func or self.model.calculate_loss, 0

        def noted(batch):
            self._batch += 1
            self._losses = calculate_loss(batch)
            self._names = _names(self._losses)
            return self._losses

        total = super()._train_epoch(train_data, epoch_idx, noted, show_progress)
        self.noted["losses"] = dict(zip(self._names, _parts(total)))
        self._losses = ()  # with what their gradients were computed from
        broken = [name for name, weight in self.model.named_parameters() if not weight.isfinite().all()]
        if broken:
            self._stop(f", after batch {self._batch}", f"the weights {', '.join(broken)} are not finite")
        return total

    def _check_nan(self, loss):
        """RecBole's check of each batch's loss, which waits for the device once too, for infinity as well."""
        if not torch.isfinite(loss):
            told = ", ".join(f"{name} {part.item():g}" for name, part in zip(self._names, _parts(self._losses)))
            self._stop(f", batch {self._batch}", f"the loss is not finite ({told})")

    def _stop(self, where, what):
        kept = f"; the best model so far is {self.saved_model_file}" if Path(self.saved_model_file).is_file() else ""
        raise NonFiniteError(
            f"epoch {self._epoch - 1}{where}: {what}; a smaller learning_rate, or sim: cos, may keep it in bounds{kept}"
        )

    def update_importance(self, train_data, show_progress=False) -> None:
        """Explain all training instances with the model as it is, and guide the loader's views by the result.

        Logged: the seconds, and the share of instances whose most important item changed since the last update.
        """
        if not train_data.needs_importance:
            train_data.set_importance(None)
            return
        start = time()
        number = sum(epoch <= self._epoch for epoch in self.update_epochs)
        earlier = train_data.importance
        importance = self.explainer.table(train_data._dataset, self.device, show_progress)
        if broken := importance.not_finite():
            scores = f"the scores of {broken} of {len(importance)} instances are not finite"
            self._stop(" importance update", f"explainer: {self.config['explainer']}: {scores}")
        train_data.set_importance(importance)
        seconds = time() - start
        message = f"{number} of {len(self.update_epochs)}, {len(importance)} instances, time: {seconds:.2f}s"
        self.tensorboard.add_scalar("Importance/seconds", seconds, self._epoch - 1)
        changed = None if earlier is None else importance.changed_share(earlier)
        self.noted["update"] = {"changed": changed}
        if changed is not None:
            message += f", most important item changed: {changed:.2%}"
            self.tensorboard.add_scalar("Importance/changed_most_important_item", changed, self._epoch - 1)
        self.logger.info(set_color(f"epoch {self._epoch - 1} importance update", "green") + f" [{message}]")

    def _valid_epoch(self, valid_data, show_progress=False):
        score, result = super()._valid_epoch(valid_data, show_progress)
        best = self.best_valid_score
        if score >= best if self.valid_metric_bigger else score <= best:
            self._best_epoch = self._epoch - 1
        return score, result

    def fit(self, *args, **kwargs):
        result = super().fit(*args, **kwargs)
        if self._best_epoch is not None:
            self.logger.info(f"Best epoch of all: {self._best_epoch}, {self.valid_metric}: {self.best_valid_score}")
        return result

    def _generate_train_loss_output(self, epoch_idx, s_time, e_time, losses):
        output = super()._generate_train_loss_output(epoch_idx, s_time, e_time, losses)
        for number, name in reversed(list(enumerate(self._names, 1))):
            output = output.replace(f"train_loss{number}", name)
        return output

    def _add_train_loss_to_tensorboard(self, epoch_idx, losses, tag="Loss/Train"):
        for name, loss in zip(self._names, _parts(losses)):
            self.tensorboard.add_scalar(f"{tag}/{name}", loss, epoch_idx)
        self.tensorboard.add_scalar(tag, sum(_parts(losses)), epoch_idx)


def _parts(losses) -> tuple:
    return losses if isinstance(losses, tuple) else (losses,)


def _names(losses) -> tuple:
    """The names of the parts of what a ``calculate_loss`` returned; RecBole's where a user's own names none."""
    return getattr(losses, "names", tuple(f"train_loss{number}" for number in range(1, len(_parts(losses)) + 1)))
