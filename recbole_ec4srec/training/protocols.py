"""One training that is judged under two protocols of full ranking.

- :data:`ALL`: all items are ranked, as RecBole does for sequential models (``repeatable: True``).
- :data:`UNSEEN`: those that the user has already had are not (``repeatable: False``).

Each protocol chooses its own best epoch on its own validation, and has ended where a training that is judged under it
alone would have ended; the training ends with the last of them. So under each protocol its results are those of such a
training. ``repeatable`` says which protocol is the training's *own*; what belongs to the other one stands in states and
records under the other one's name.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction
from recbole.evaluator import Collector
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.trainer import Trainer
from recbole.utils import calculate_valid_score, early_stopping
from torch import Tensor

from recbole_ec4srec.data.seen import leaves_out_seen
from recbole_ec4srec.errors import ConfigError, DataError
from recbole_ec4srec.storage.settings import plain
from recbole_ec4srec.training.resume import Resumable, best_epoch

ALL, UNSEEN = "all", "unseen"
#: Every protocol, by its name in records, and what tables and pages call it.
PROTOCOLS = {ALL: "all items ranked", UNSEEN: "without seen items"}


def own_protocol(repeatable: bool | None) -> str:
    """The protocol of RecBole's own evaluation with a value of ``repeatable``."""
    return UNSEEN if leaves_out_seen(repeatable) else ALL


def protocols_of(run: dict) -> list[str]:
    """The protocols that a training was judged under.

    Args:
        run: a record or the state of a training, with ``config`` and ``epochs``.
            One from before there were two has one.
    """
    own = own_protocol(run["config"].get("repeatable"))
    return [protocol for protocol in PROTOCOLS if protocol == own or protocol in run["epochs"][0]]


def under(run: dict, protocol: str) -> dict:
    """A record or a state as that of a training that was judged under one of its protocols alone.

    The epochs are those until it ended under this protocol.
    """
    own = own_protocol(run["config"].get("repeatable"))
    part = {} if protocol == own else run.get(protocol) or {}
    return {**run, **part, "config": run["config"], "epochs": _epochs_under(protocol, own, run["epochs"])}


def _epochs_under(protocol, own, history):
    if protocol == own:
        return [epoch for epoch in history if "valid" in epoch]
    return [{**epoch, **epoch[protocol]} for epoch in history if epoch.get(protocol) is not None]


def model_file(best_model: str | Path, protocol: str) -> Path:
    """Where the best model under the other ``protocol`` is, beside the training's ``best_model``."""
    best_model = Path(best_model)
    return best_model.with_name(f"{best_model.stem}-{protocol}{best_model.suffix}")


class TopkCollector(Collector):
    """RecBole's collector of what metrics are computed from; where each row has one item to be found and only the best
    items are asked for, without a matrix of all items that says which it is, which takes longer than to find them."""

    def eval_batch_collect(
        self, scores_tensor: Tensor, interaction: Interaction, positive_u: Tensor, positive_i: Tensor
    ) -> None:
        """RecBole's, with the same result, of scores ``[B, items]``."""
        asked = {name for name in _COLLECTED if self.register.need(name)}
        if asked != {_TOPK} or not torch.equal(positive_u, torch.arange(len(scores_tensor))):
            super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)
            return
        best = scores_tensor.topk(max(self.topk), dim=-1).indices
        found = best == positive_i.to(best.device).unsqueeze(1)
        self.data_struct.update_tensor(_TOPK, torch.cat((found, torch.ones_like(found[:, :1])), dim=1).long())


_TOPK = "rec.topk"
_COLLECTED = (_TOPK, "rec.items", "rec.meanrank", "rec.score", "data.label")


class Judged(Resumable):
    """A trainer of full ranking that validates under both protocols, from the same scores; mixed into others.

    Its loaders must tell the histories (:func:`recbole_ec4srec.data.seen.tell_histories`). What RecBole's trainer
    knows is of the training's own protocol: :attr:`best_valid_score`, :attr:`saved_model_file`, ``valid`` of the epochs
    of :attr:`history`. The other one has its own best model (:func:`model_file`), and in the epochs a part of its name.
    After a protocol has ended, epochs lack its part.

    Attributes:
        own, other: the two protocols.
    """

    best_valid_score: float
    stopping_step: float

    def __init__(self, config: Config, model: AbstractRecommender):
        super().__init__(config, model)
        self.own = own_protocol(config["repeatable"])
        self.other = UNSEEN if self.own == ALL else ALL
        self._ended: list[str] = []
        self._before = float(self.best_valid_score), 0, self.stopping_step
        self.eval_collector = TopkCollector(config)
        # Of the other protocol: what RecBole's trainer has of its own.
        self._collector = TopkCollector(config)
        self._result: dict[str, Any] = {}
        self._best_score, self._steps, self._is_best = float(self.best_valid_score), 0, False

    def epochs_under(self, protocol: str) -> list[dict]:
        """The epochs of :attr:`history` until a protocol ended, with its ``valid``."""
        return _epochs_under(protocol, self.own, self.history)

    @property
    def best(self) -> dict:
        """The epoch whose model is kept for the training's own protocol."""
        return self.best_under(self.own)

    def best_under(self, protocol: str) -> dict:
        """The epoch whose model is kept for a protocol."""
        return best_epoch(self.epochs_under(protocol), self.valid_metric, self.valid_metric_bigger)

    def state_dict(self) -> dict:
        """That of the trainer, and how far the other protocol is."""
        inherited = super().state_dict() if hasattr(super(), "state_dict") else {}
        return {**inherited, "protocols": {"ended": self._ended, "best": self._best_score, "steps": self._steps}}

    def load_state_dict(self, state: dict) -> None:
        """Continue from :meth:`state_dict`."""
        if hasattr(super(), "load_state_dict"):
            super().load_state_dict(state)
        kept = state["protocols"]
        self._ended, self._best_score, self._steps = list(kept["ended"]), kept["best"], kept["steps"]

    # --- evaluation ---------------------------------------------------------------------------------------------------

    def fit(self, train_data: AbstractDataLoader, *args: Any, **options: Any) -> tuple[float, dict]:
        """The trainer's ``fit``; ends when both protocols have."""
        self._collector.data_collect(train_data)
        return super().fit(train_data, *args, **options)

    def evaluate(self, eval_data: AbstractDataLoader | None, *args: Any, **options: Any) -> dict:
        """The trainer's ``evaluate``: the metrics under its own protocol."""
        result = super().evaluate(eval_data, *args, **options)
        self._result = self.evaluator.evaluate(self._collector.get_data_struct()) if eval_data else {}
        return result

    def evaluate_best(self, eval_data: AbstractDataLoader, protocol: str) -> dict[str, float] | None:
        """The metrics under a protocol of its best model, which is loaded."""
        file = self.saved_model_file if protocol == self.own else str(model_file(self.saved_model_file, protocol))
        result = self.evaluate(eval_data, load_best_model=True, model_file=file)
        return plain(result if protocol == self.own else self._result)

    def scores(self, batch: tuple, protocol: str) -> tuple:
        """What RecBole's ``_full_sort_batch_eval`` gives for a batch, under a protocol."""
        interaction, seen, row, item = batch
        return super()._full_sort_batch_eval((interaction, seen if protocol == UNSEEN else None, row, item))

    def _full_sort_batch_eval(self, batched_data: tuple) -> tuple:
        _, seen, _, _ = batched_data
        if seen is None:
            raise DataError(
                f"dataloaders_save_path: {self.config['dataset']} has loaders that save_dataloaders left, without what "
                "the users had before; remove the file, or set another checkpoint_dir"
            )
        interaction, scores, row, item = self.scores(batched_data, ALL)
        if self.own == ALL:  # in place: scores are the largest tensor there is
            of_seen = scores[seen]
            scores[seen] = -torch.inf
            self._collector.eval_batch_collect(scores, interaction, row, item)
            scores[seen] = of_seen
        else:
            self._collector.eval_batch_collect(scores, interaction, row, item)
            scores[seen] = -torch.inf
        return interaction, scores, row, item

    # --- early stopping -----------------------------------------------------------------------------------------------
    # Within an epoch RecBole's fit calls, in this order, _valid_epoch, its own early_stopping (with best_valid_score,
    # cur_step and stopping_step) and the callback, which leads to _complete_epoch. It must not stop while the other
    # protocol has patience; and once the training's own has ended, nothing may be better than its best.

    def renew_patience(self) -> None:
        """Both protocols' patience starts anew, if they have not ended."""
        if self.own not in self._ended:
            super().renew_patience()
        self._steps = 0

    def _valid_epoch(self, valid_data: AbstractDataLoader, show_progress: bool = False) -> tuple[float, dict]:
        score, result = super()._valid_epoch(valid_data, show_progress)
        epoch = self.history[-1]
        self._before = self.best_valid_score, self.cur_step, self.stopping_step
        if self.own in self._ended:
            del epoch["valid"]
            self.best_valid_score = math.inf if self.valid_metric_bigger else -math.inf  # not to be reached
        self._is_best = False
        if self.other not in self._ended:
            epoch[self.other] = {"valid": plain(self._result)}
            self._best_score, self._steps, ended, self._is_best = early_stopping(
                float(calculate_valid_score(self._result, self.valid_metric)),
                self._best_score,
                self._steps,
                max_step=self.stopping_step,
                bigger=self.valid_metric_bigger,
            )
            if ended:
                self._ended.append(self.other)
        if self.other not in self._ended:
            self.stopping_step = math.inf
        elif self.own in self._ended:
            self.stopping_step = -1
        return score, result

    def _complete_epoch(self, epoch: int, seconds: float, train_data: AbstractDataLoader, verbose: bool) -> None:
        best_valid_score, cur_step, self.stopping_step = self._before
        if self.own in self._ended:
            self.best_valid_score, self.cur_step = best_valid_score, cur_step
        elif self.cur_step > self.stopping_step:
            self._ended.append(self.own)
        super()._complete_epoch(epoch, seconds, train_data, verbose)
        if self._is_best and self._saved:
            self._save_other(epoch, verbose)

    def _track(self) -> None:
        super()._track()
        if other := self.history[-1].get(self.other):
            step = self.history[-1]["epoch"] - 1
            told = {f"{self.other}/{name}": value for name, value in other["valid"].items()}
            self.wandblogger.log_metrics({**told, "valid_step": step}, head="valid")
            for name, value in told.items():
                self.tensorboard.add_scalar(f"Valid/{name}", value, step)

    @property
    def _has_ended(self) -> bool:
        return len(self._ended) == len(PROTOCOLS)

    # --- the best model under the other protocol ----------------------------------------------------------------------

    def _save_other(self, epoch: int, verbose: bool) -> None:
        own = self.best_valid_score, self.cur_step
        self.best_valid_score, self.cur_step = self._best_score, self._steps
        self._save_checkpoint(epoch, verbose, saved_model_file=model_file(self.saved_model_file, self.other))
        self.best_valid_score, self.cur_step = own

    def _newest_state(self) -> tuple[Path, dict] | None:
        newest = super()._newest_state()
        if newest and "protocols" not in (newest[1]["schedule"] or {}):
            raise ConfigError(
                f"resume: {newest[0]} was left by an earlier version, which judged a training under one protocol; "
                "remove it, and its .previous, to train anew"
            )
        return newest

    def _recover_best_model(self, state_file: Path) -> None:
        super()._recover_best_model(state_file)
        file, best = model_file(self.saved_model_file, self.other), self.best_under(self.other)["epoch"] - 1
        self._recover(state_file, file, best, self._save_other)


def judged(trainer_class: type[Trainer]) -> type[Trainer]:
    """``trainer_class``, which can resume, with :class:`Judged` mixed in."""
    return type(trainer_class.__name__, (Judged, trainer_class), {"__module__": trainer_class.__module__})
