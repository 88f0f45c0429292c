"""Runs that differ only from their first importance update on share the epochs before it.

Until then nothing that guides a training has a part in it: of the same seed, EC4SRec, EC4SRec(SSL) and EC4SRec(SL) are
the same training bit for bit, whatever the explainer, mu_e or the weights of the guided losses. What one run leaves
before its first update, the others, those without updates too, start from; their records are those that they would
have had.
"""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from recbole.utils import early_stopping

from recbole_ec4srec.config.objective import GUIDED as GUIDED_PHASE
from recbole_ec4srec.experiments.records import Run
from recbole_ec4srec.model.objective import BUILT_IN
from recbole_ec4srec.storage.atomic import replacing
from recbole_ec4srec.training.resume import read_state

#: Settings that have no part in a training before its first importance update.
GUIDED = (
    *(term.weight_key for term in BUILT_IN if term.phase == GUIDED_PHASE),
    "mu_e",
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


def leave(run: Run, trainer, state: Path) -> None:
    """Keep ``state``, that of a run's last whole epoch, for others, if it is the last one before the first update."""
    updates, epoch = getattr(trainer, "update_epochs", []), trainer.history[-1]["epoch"]
    if not updates or epoch != updates[0] - 1:
        return
    kept = _file(run, state, epoch)
    for source, target in ((trainer.saved_model_file, kept.with_suffix(".pth")), (state, kept)):
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)


def take(run: Run, trainer, state: Path) -> None:
    """Make ``state``, which a new run is to go on from, of the longest warm-up that another run has left for it."""
    updates = getattr(trainer, "update_epochs", [])
    for epoch in range(updates[0] - 1 if updates else trainer.epochs, 0, -1):
        kept = _file(run, state, epoch)
        if kept.is_file():
            found = read_state(kept)
            if updates or not _ended(found["history"], trainer):
                break
    else:
        return
    shutil.copyfile(kept.with_suffix(".pth"), trainer.saved_model_file)
    found["settings"] = trainer.settings
    found["best_model"] = os.path.relpath(trainer.saved_model_file, state.parent)
    found["schedule"]["explainer"] = trainer.explainer.state_dict()  # as it was made: nobody has asked it yet
    with replacing(state) as temporary:
        torch.save(found, temporary)


def _ended(history, trainer) -> bool:
    """Whether patience would have ended a run without updates in these epochs; a warm-up goes on without it."""
    best, since = -math.inf if trainer.valid_metric_bigger else math.inf, 0
    for epoch in history:
        score = epoch["valid"][trainer.valid_metric]
        best, since, ended, _ = early_stopping(
            score, best, since, trainer.stopping_step, bigger=trainer.valid_metric_bigger
        )
        if ended:
            return True
    return False


def _file(run: Run, state: Path, epoch: int) -> Path:
    model = "EC4SRec" if run.model in ("EC4SRecSSL", "EC4SRecSL") else run.model
    settings = {key: value for key, value in run.settings.items() if key not in GUIDED}
    return state.parent / f"{replace(run, model=model, settings=settings).name}-{epoch}.warm"
