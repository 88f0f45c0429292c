"""Runs that differ only in their guidance share the warm-up, the epochs before their first importance update.

With the same seed, EC4SRec, EC4SRec(SSL) and EC4SRec(SL) are the same training in these epochs, bit for bit, whatever
the explainer, mu_e or the weights of the guided losses. The first run keeps its state at the end of the warm-up; the
others start from it, also those without updates. Their records are the same as without sharing.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from recbole.data.dataset import Dataset
from recbole.trainer import Trainer
from recbole.utils import early_stopping

from recbole_ec4srec.config.keys import KEYS
from recbole_ec4srec.config.objective import GUIDED
from recbole_ec4srec.config.rules import check
from recbole_ec4srec.config.schedule import update_schedule
from recbole_ec4srec.config.variants import VARIANTS
from recbole_ec4srec.data.identity import kept_in
from recbole_ec4srec.experiments import records
from recbole_ec4srec.experiments.records import Run, properties
from recbole_ec4srec.model.objective import BUILT_IN
from recbole_ec4srec.storage.atomic import replacing
from recbole_ec4srec.storage.checkpoint import load_checkpoint, save_checkpoint
from recbole_ec4srec.storage.settings import differences
from recbole_ec4srec.training.protocols import Judged, model_file
from recbole_ec4srec.training.resume import read_state

#: Keys that change nothing before the first importance update.
KEYS_OF_GUIDANCE = (
    *(term.weight_key for term in BUILT_IN if term.phase == GUIDED),
    "mu_e",
    "importance_scope",
    "guided_negatives",
    "tau_neg",
    "negative_augmentations",
    "ertrl_score",
    "ertrl_max_candidates",
    "explainer",
    "explain_target",
    "explain_output",
    "explain_batch_size",
    "oracle_scores",
    "num_updates",
    "update_epochs",
    "stopping_step",
)


def keep(run: Run, trainer: Trainer, state: Path) -> None:
    """Keep the ``state`` of a run for other runs, if its last epoch was the last one of the warm-up."""
    updates, epoch = getattr(trainer, "update_epochs", []), trainer.history[-1]["epoch"]
    if not updates or epoch != updates[0] - 1:
        return
    kept = _file(run, state.parent, epoch)
    models = zip(_best_models(trainer, trainer.saved_model_file), _best_models(trainer, kept.with_suffix(".pth")))
    for source, target in (*models, (state, kept)):
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)


def take(run: Run, trainer: Trainer, state: Path, dataset: Dataset) -> None:
    """Write the ``state`` that a new run starts from, if another run of the same code has kept a warm-up on the same
    data; of several the longest."""
    updates = getattr(trainer, "update_epochs", [])
    for epoch in range(updates[0] - 1 if updates else trainer.epochs, 0, -1):
        kept = _file(run, state.parent, epoch)
        if kept.is_file():
            warm = read_state(kept)
            of_both = isinstance(trainer, Judged) == ("protocols" in warm["schedule"])  # earlier versions judged by one
            of_same_data = not differences((kept_in(warm) or {}).get("fingerprint", {}), dataset.fingerprint)
            if of_both and of_same_data and (updates or not has_ended(warm["history"], trainer)):
                break
    else:
        return
    models = zip(_best_models(trainer, kept.with_suffix(".pth")), _best_models(trainer, trainer.saved_model_file))
    for source, target in models:
        with replacing(Path(target)) as temporary:  # another model with other settings from here on
            save_checkpoint({**load_checkpoint(source, "cpu"), "config": trainer.config}, temporary)
    warm["settings"] = trainer.settings
    warm["best_model"] = os.path.relpath(trainer.saved_model_file, state.parent)
    warm["schedule"]["explainer"] = trainer.explainer.state_dict()  # a new one: no run uses it in the warm-up
    with replacing(state) as temporary:
        torch.save(warm, temporary)


def waits(run: Run, training: Iterable[Run], work: Path) -> bool:
    """Whether a run had better wait for the warm-up of one of those that are ``training``, to take it over."""
    own, own_end = _name_and_end(run)
    if not own_end or _file(run, work, own_end).is_file() or (work / f"{run.name}.state").is_file():
        return False
    for other in training:
        name, end = _name_and_end(other)
        if name == own and 0 < end <= own_end and not _file(other, work, end).is_file():
            return True
    return False


@cache
def _name_and_end(run):
    """What the warm-ups of a run and of others are told apart by, and its last epoch; 0 where there is none."""
    if run.model not in VARIANTS:
        return "", 0
    settings = {**properties("model/EC4SRec.yaml"), **VARIANTS[run.model], **run.settings}
    settings["update_epochs"] = check("update_epochs", settings["update_epochs"], KEYS["update_epochs"])
    updates = update_schedule(*(settings[key] for key in ("epochs", "num_updates", "update_epochs")))
    return _file(run, Path(), 0).name, updates[0] - 1 if updates else 0


def has_ended(history: list[dict], trainer: Trainer) -> bool:
    """Whether early stopping would have ended a run without updates in these epochs, under one of the protocols that it
    is judged under; it does not end a warm-up."""
    others = [[epoch[trainer.other] for epoch in history]] if isinstance(trainer, Judged) else []
    return any(_ends(epochs, trainer) for epochs in (history, *others))


def _ends(epochs, trainer):
    best, since = -math.inf if trainer.valid_metric_bigger else math.inf, 0
    for epoch in epochs:
        score = epoch["valid"][trainer.valid_metric]
        best, since, ended, _ = early_stopping(
            score, best, since, trainer.stopping_step, bigger=trainer.valid_metric_bigger
        )
        if ended:
            return True
    return False


def _best_models(trainer, file):
    """The files of the best models beside each other, that of the run's own protocol first, which is ``file``."""
    return [file, model_file(file, trainer.other)] if isinstance(trainer, Judged) else [file]


def _file(run: Run, work: Path, epoch: int) -> Path:
    model = "EC4SRec" if run.model in ("EC4SRecSSL", "EC4SRecSL") else run.model
    settings = {key: value for key, value in run.settings.items() if key not in KEYS_OF_GUIDANCE}
    return work / f"{replace(run, model=model, settings=settings).name}-{_code()}-{epoch}.warm"


@cache
def _code():
    """The code that a warm-up is of; the same in all of a process, which has read its files."""
    return (records.commit() or "")[-9:]
