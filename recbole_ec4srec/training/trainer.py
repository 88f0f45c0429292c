"""The trainer with its schedule: at each importance update the model is explained, and the loader's views are guided by
the result.

Epochs count from 1 in keys and in ``state_dict``, from 0 in RecBole, its log and TensorBoard.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Any, TypeVar

import torch
from recbole.config import Config
from recbole.data.dataloader import AbstractDataLoader
from recbole.utils import set_color
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from recbole_ec4srec.config.schedule import update_schedule
from recbole_ec4srec.data import SequenceBatch
from recbole_ec4srec.data.dataloader import WithViews
from recbole_ec4srec.errors import ConfigError, NonFiniteError
from recbole_ec4srec.explain import build_explainer
from recbole_ec4srec.model.ec4srec import EC4SRec
from recbole_ec4srec.training.resume import Resumable

T = TypeVar("T")


def _has_fused_adam(device: torch.device) -> bool:
    try:
        Adam([torch.zeros(1, device=device)], fused=True)  # refused where there is none
    except (RuntimeError, TypeError):
        return False
    return True


class EC4SRecTrainer(Resumable):
    """RecBole's trainer, with importance updates at the start of scheduled epochs (section 4.1).

    Early stopping cannot end a run before its first update, and its patience starts again at each update; the best
    checkpoint is chosen among all epochs. :attr:`last_epoch` has ``losses``, the sum over the batches of each weighted
    part of the loss; and ``update``, if the epoch began with one: ``changed``, the share of instances whose most
    important item is another than before, and ``last_on_top``, the share of those of two or more items whose last item
    is the most important one.

    Raises:
        NonFiniteError: from ``fit``, when a part of the loss, a weight or an importance score is not finite; the best
            model so far stays as it is.
    """

    def __init__(self, config: Config, model: EC4SRec):
        super().__init__(config, model)
        if max(config["topk"]) > model.n_items:
            raise ConfigError(
                f"topk: got {config['topk']}, allowed is at most {model.n_items - 1}, the number of items"
            )
        self.explainer = build_explainer(config, model)
        self.update_epochs = update_schedule(config["epochs"], config["num_updates"], config["update_epochs"])
        self._patience: float = config["stopping_step"]
        self.stopping_step: float = self._patience  # infinite before the first update
        self._updates_done = 0
        self._epoch = 0  # from 1
        # Of the batch that is trained: its number from 1, the parts of its loss and their names.
        self._batch = 0
        self._losses: tuple[Tensor, ...] | Tensor = ()
        self._names: tuple[str, ...] = ()

    def _build_optimizer(self, **kwargs: Any) -> Optimizer:
        """RecBole's; Adam in one kernel for all weights, where PyTorch has one for the device."""
        optimizer = super()._build_optimizer(**kwargs)
        if type(optimizer) in (Adam, AdamW) and _has_fused_adam(self.device):
            for group in optimizer.param_groups:
                group["fused"] = True
        return optimizer

    def state_dict(self) -> dict:
        """Where in its schedule a training is, as plain values and tensors."""
        return {"updates": self._updates_done, "explainer": self.explainer.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Continue from :meth:`state_dict`."""
        self._updates_done = state["updates"]
        self.explainer.load_state_dict(state["explainer"])

    def _train_epoch(
        self,
        train_data: AbstractDataLoader,
        epoch_idx: int,
        loss_func: Callable | None = None,
        show_progress: bool = False,
    ) -> float | tuple[float, ...]:
        if not isinstance(train_data, WithViews):
            raise TypeError(
                f"{type(self.model).__name__} is trained with the views of an EC4SRecTrainDataLoader, not with a "
                f"{type(train_data).__name__}; make the loaders with recbole.data.data_preparation"
            )
        if self.update_epochs and train_data.needs_importance:
            self.explainer.check(train_data._dataset)
        self._epoch, self.last_epoch = epoch_idx + 1, {}
        due = sum(epoch <= self._epoch for epoch in self.update_epochs)
        if due > self._updates_done:
            self.update_importance(train_data, show_progress)
            self._updates_done = due
            self.renew_patience()
        self.stopping_step = math.inf if self.update_epochs and due == 0 else self._patience
        calculate_loss, self._batch = loss_func or self.model.calculate_loss, 0

        def keep_losses(batch: SequenceBatch) -> tuple[Tensor, ...] | Tensor:
            self._batch += 1
            self._losses = calculate_loss(batch)
            self._names = _names(self._losses)
            return self._losses

        total = super()._train_epoch(train_data, epoch_idx, keep_losses, show_progress)
        self.last_epoch["losses"] = dict(zip(self._names, _parts(total)))
        self._losses = ()  # frees what their gradients were computed from
        broken = [name for name, weight in self.model.named_parameters() if not weight.isfinite().all()]
        if broken:
            self._stop(f", after batch {self._batch}", f"the weights {', '.join(broken)} are not finite")
        return total

    def _check_nan(self, loss: Tensor) -> None:
        """RecBole's check of each batch's loss, for infinity as well; it waits for the device once, as RecBole's."""
        if not torch.isfinite(loss):
            parts = ", ".join(f"{name} {part.item():g}" for name, part in zip(self._names, _parts(self._losses)))
            self._stop(f", batch {self._batch}", f"the loss is not finite ({parts})")

    def _stop(self, where: str, what: str) -> None:
        kept = f"; the best model so far is {self.saved_model_file}" if Path(self.saved_model_file).is_file() else ""
        raise NonFiniteError(
            f"epoch {self._epoch - 1} (counted from 0){where}: {what}; a smaller learning_rate, or sim: cos, may keep "
            f"it in bounds{kept}"
        )

    def update_importance(self, train_data: WithViews, show_progress: bool = False) -> None:
        """Explain all training instances with the model as it is, and guide the loader's views by the result.

        The log gets the seconds, and the shares of instances whose last item is the most important one and whose most
        important item changed since the last update.
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
        on_top = importance.last_on_top_share()
        self.last_epoch["update"] = {"changed": changed, "last_on_top": on_top}
        if on_top is not None:
            message += f", last item on top: {on_top:.2%}"
            self.tensorboard.add_scalar("Importance/last_item_on_top", on_top, self._epoch - 1)
        if changed is not None:
            message += f", most important item changed: {changed:.2%}"
            self.tensorboard.add_scalar("Importance/changed_most_important_item", changed, self._epoch - 1)
        self.logger.info(set_color(f"epoch {self._epoch - 1} importance update", "green") + f" [{message}]")

    def fit(self, *args: Any, **options: Any) -> tuple[float, dict]:
        """RecBole's ``fit``; the log ends with the best epoch of all, counted from 0."""
        result = super().fit(*args, **options)
        if self.history:
            best = self.best["epoch"] - 1
            self.logger.info(f"Best epoch of all: {best}, {self.valid_metric}: {self.best_valid_score}")
        return result

    def _generate_train_loss_output(
        self, epoch_idx: int, s_time: float, e_time: float, losses: float | tuple[float, ...]
    ) -> str:
        output = super()._generate_train_loss_output(epoch_idx, s_time, e_time, losses)
        for number, name in reversed(list(enumerate(self._names, 1))):
            output = output.replace(f"train_loss{number}", name)
        return output

    def _add_train_loss_to_tensorboard(
        self, epoch_idx: int, losses: float | tuple[float, ...], tag: str = "Loss/Train"
    ) -> None:
        for name, loss in zip(self._names, _parts(losses)):
            self.tensorboard.add_scalar(f"{tag}/{name}", loss, epoch_idx)
        self.tensorboard.add_scalar(tag, sum(_parts(losses)), epoch_idx)


def _parts(losses: T | tuple[T, ...]) -> tuple[T, ...]:
    return losses if isinstance(losses, tuple) else (losses,)


def _names(losses: tuple[Tensor, ...] | Tensor) -> tuple[str, ...]:
    """The names of the parts of what a ``calculate_loss`` returned; RecBole's where a user's own model names none."""
    return getattr(losses, "names", tuple(f"train_loss{number}" for number in range(1, len(_parts(losses)) + 1)))
