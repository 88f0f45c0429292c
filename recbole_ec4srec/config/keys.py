"""Our configuration keys: what they may hold, and which combinations make sense.

They are checked once, when RecBole's ``Config`` is built, before any data is loaded. The defaults and the meaning of
each key are in ``properties/model/*.yaml``; a term of the loss or an operator with a new key brings its default along.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole.utils import ModelType

from recbole_ec4srec.config.objective import (
    ADDED_DEFAULTS,
    ALL,
    ATTRACT,
    CONTEXT,
    GUIDED_NEGATIVES,
    HARD,
    IGNORED,
    IMPORTANCE_SCOPE,
    NEGATIVE,
    POSITIVE,
    RETIRED,
    SAME_TARGET,
    operator_words,
    same_target,
    warmup_losses,
)
from recbole_ec4srec.config.recbole_keys import GENERAL, WHOLE, listed
from recbole_ec4srec.config.rules import FLAG, Number, Rule, Value, Words, check, one_of, refuse
from recbole_ec4srec.config.variants import VARIANTS
from recbole_ec4srec.errors import ConfigError

#: The classes behind the values of the key ``explainer``, by name; :mod:`recbole_ec4srec.explain` fills it.
EXPLAINERS: dict[str, type] = {}
#: Functions that find the class of an explainer by the part of its name after a prefix; filled there, too.
EXPLAINERS_BY_PREFIX: dict[str, Callable[[str], type]] = {}
CAPTUM = "captum:"
#: A value of ``resume``: resume from the state of this configuration, if there is one.
AUTO = "auto"
#: Of ``train_on``: every prefix is encoded for itself, or one pass over a sequence represents all its prefixes.
PREFIXES, SEQUENCES = "prefixes", "sequences"


class Epochs(Rule):
    """A list of epochs, counted from 1; kept in ascending order."""

    def _parse(self, value):
        given = [] if value is None else value if isinstance(value, (list, tuple)) else [value]
        epochs = {Number(1, integer=True).parse(epoch) for epoch in given}
        if len(epochs) != len(given):
            raise ValueError
        return sorted(epochs)

    def __str__(self):
        return "a list of distinct epochs, counted from 1"


class ExplainerName(Rule):
    """A name of :data:`EXPLAINERS`, or one of captum's methods by its class."""

    def _parse(self, value):
        if isinstance(value, str) and value.startswith(CAPTUM):
            EXPLAINERS_BY_PREFIX[CAPTUM](value[len(CAPTUM) :])
        elif value not in EXPLAINERS:
            raise ValueError
        return value

    def __str__(self):
        names = ", ".join(EXPLAINERS)
        return f"one of {names}, or {CAPTUM}<Class> for an attribution of captum's that takes a forward function"


KEYS: dict[str, Rule] = {
    "backbone": Value(str, "the name of a sequential recommender, such as SASRec", str.isidentifier),
    # views
    "augmentations": Words(partial(operator_words, POSITIVE)),
    "negative_augmentations": Words(partial(operator_words, NEGATIVE)),
    "mu_c": Number(0, 1, above=True),
    "mu_m": Number(0, 1),
    "mu_r": Number(0, 1),
    "mu_e": Number(0, 1, above=True),
    IMPORTANCE_SCOPE: one_of(ALL, CONTEXT),
    "ertrl_score": one_of("anchor", "candidate"),
    "ertrl_max_candidates": Number(1, integer=True),
    # losses
    "sim": one_of("dot", "cos"),
    "tau": Number(0, above=True),
    "tau_cl": Number(0, above=True),
    "lambda": Number(0),
    "lambda_cl_pos": Number(0),
    "lambda_cl_neg": Number(0),
    "lambda_sl_pos": Number(0),
    "view_loss": one_of("contrastive", "recommendation"),
    GUIDED_NEGATIVES: one_of(ATTRACT, HARD),
    "tau_neg": Number(0, above=True),
    "second_pass": FLAG,
    SAME_TARGET: one_of(NEGATIVE, IGNORED, POSITIVE),
    # schedule
    "train_on": one_of(PREFIXES, SEQUENCES),
    "warmup": Words(warmup_losses, empty=True),
    "num_updates": Number(0, integer=True),
    "update_epochs": Epochs(),
    # explanation
    "explainer": ExplainerName(),
    "oracle_scores": Value(str, "a text"),
    "explain_target": one_of("predicted", "next", "max"),
    "explain_output": one_of("logit", "probability"),
    "explain_batch_size": Number(1, integer=True),
    # several processes
    "ddp_backend": one_of("auto", "nccl", "gloo"),
    # what is told while it runs
    "log_mlflow": FLAG,
    # a run that dies
    "resume": Value(
        str,
        f"{AUTO} or a file that a training with resume has left",
        lambda value: value in ("", AUTO) or Path(value).is_file(),
    ),
}


def add_key(key: str, rule: Rule, default: Any, shared: Collection[str]) -> None:
    """Add the key of a user's term or operator, with its default; the ``shared`` keys exist already.

    Raises:
        ValueError: the name is that of another key, or the default is not allowed.
    """
    if key in shared:
        return
    taken = key in KEYS and (key not in ADDED_DEFAULTS or KEYS[key] != rule)
    if taken or key in GENERAL or key in listed():
        raise ValueError(f"there is a key named {key} already; give this one another name")
    try:
        ADDED_DEFAULTS.setdefault(key, rule.parse(default))
    except ValueError:
        raise ValueError(f"the default of {key} is {default!r}, allowed is {rule}") from None
    KEYS[key] = rule


def validate_common(config: dict) -> None:
    """Check ``ddp_backend``, ``log_mlflow``, ``resume`` and ``train_on``, which RecBole's own models may have, too.

    Raises:
        ConfigError: a value is not allowed, or ``train_on: sequences`` is used with a model that is not sequential or
            not trained with a cross-entropy.
    """
    if check("train_on", config.get("train_on") or PREFIXES, KEYS["train_on"]) == SEQUENCES:
        if config["MODEL_TYPE"] != ModelType.SEQUENTIAL or "loss_type" not in config:
            refuse("train_on", SEQUENCES, "prefixes: it is for sequential models with a loss_type")
        if config["loss_type"] != "CE":
            refuse("loss_type", config["loss_type"], "CE with train_on: sequences")
    if check("log_mlflow", config.get("log_mlflow") or False, FLAG) and importlib.util.find_spec("mlflow") is None:
        refuse("log_mlflow", True, "False without MLflow: pip install 'recbole_ec4srec[mlflow]'")
    check("ddp_backend", config.get("ddp_backend") or "auto", KEYS["ddp_backend"])
    check("resume", config.get("resume") or "", KEYS["resume"])


def validate(model: str, config: dict) -> None:
    """Check our keys in ``config`` (all settings, merged) and write them back in their normal form.

    Args:
        model: one of :data:`~recbole_ec4srec.config.variants.VARIANTS`, or a class derived from one of them.
        config: RecBole's merged configuration, changed in place.

    Raises:
        ConfigError: for a value that is not allowed, or a combination that cannot work.
    """
    for key, rule in KEYS.items():
        if key not in config and key not in ADDED_DEFAULTS:
            raise ConfigError(f"{key}: missing; {model} needs {rule}")
        config[key] = check(key, config.get(key, ADDED_DEFAULTS.get(key)), rule)
    _read_retired(config)
    if config[GUIDED_NEGATIVES] == HARD and config["view_loss"] != "contrastive":
        refuse(GUIDED_NEGATIVES, HARD, f"{ATTRACT} with view_loss: {config['view_loss']}, which contrasts nothing")
    for key, value in VARIANTS.get(model, {}).items():
        if config[key] != value:
            refuse(key, config[key], f"{value!r} for {model}: with another value it is another model, see EC4SRec")
    if config["explainer"] == "oracle" and not config["oracle_scores"]:
        refuse("oracle_scores", "", "a field of the interactions or a file, for explainer: oracle")
    check("loss_type", config.get("loss_type"), one_of("CE", "BPR"))
    _check_schedule(check("epochs", config["epochs"], WHOLE), config["num_updates"], config["update_epochs"])


def _read_retired(config: dict) -> None:
    """``mask_same_target`` as the value of ``same_target`` that it means."""
    if RETIRED in config and check(RETIRED, config[RETIRED], FLAG):
        if config[SAME_TARGET] == POSITIVE:
            refuse(RETIRED, True, f"False with {SAME_TARGET}: {POSITIVE}, the key that has taken its place")
        config[SAME_TARGET] = same_target(config)
        getLogger().warning(f"{RETIRED}: True is read as {SAME_TARGET}: {IGNORED}, the key that has taken its place")


def _check_schedule(epochs: int, num_updates: int, update_epochs: list[int]) -> None:
    """Every importance update has an epoch; without a warm-up before the first one there is a warning."""
    late = [epoch for epoch in update_epochs if epoch > epochs]
    if late:
        refuse("update_epochs", late, f"epochs from 1 to {epochs} (epochs: {epochs})")
    if not update_epochs and num_updates > max(epochs - 1, 0):
        allowed = f"at most {max(epochs - 1, 0)} with epochs: {epochs} (0 trains the warm-up only)"
        refuse("num_updates", num_updates, f"{allowed}, or more epochs")
    if not update_epochs and num_updates and epochs < 2 * (num_updates + 1):
        getLogger().warning(
            f"num_updates: with {num_updates} in {epochs} epochs the first update is at the first epoch, of a model "
            f"that has not been trained; with {2 * (num_updates + 1)} epochs or more there is a warm-up before it"
        )
