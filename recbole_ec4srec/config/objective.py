"""Two tables: the terms of the loss beside L_rec, and the operators that make views.

The configuration and the data read them. The functions are in higher layers, so
:mod:`recbole_ec4srec.model.objective` fills the table of terms and :mod:`recbole_ec4srec.data.operators` that of
operators.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

WARM_UP, GUIDED = "warm-up", "guided"
POSITIVE, NEGATIVE = "positive", "negative"

#: Keys beyond the paper, with what a configuration that is older than they are means; their words.
IMPORTANCE_SCOPE, ALL, CONTEXT = "importance_scope", "all", "context"
GUIDED_NEGATIVES, ATTRACT, HARD = "guided_negatives", "attract", "hard"
SAME_TARGET, IGNORED = "same_target", "ignored"  # and NEGATIVE, POSITIVE
#: Still read: the flag that was there before ``same_target``; True means ``ignored``.
RETIRED = "mask_same_target"
_BEFORE: dict[str, Any] = {IMPORTANCE_SCOPE: ALL, GUIDED_NEGATIVES: ATTRACT, "tau_neg": 1.0, SAME_TARGET: NEGATIVE}

#: The name of the instances themselves among the views.
ANCHOR = ""
#: The views that a batch may have, by phase; the loader makes those that a term takes.
VIEWS = {WARM_UP: ("cl_1", "cl_2", "sl"), GUIDED: ("cl_pos_1", "cl_pos_2", "cl_neg", "sl_pos")}
NEGATIVE_VIEW = "cl_neg"


@dataclass(frozen=True)
class LossTerm:
    """A part of the loss beside L_rec.

    Attributes:
        name: in the log and in what ``calculate_loss`` returns.
        phase: ``warm-up``, before the first importance update, if the key ``warmup`` names the term; or ``guided``.
        views: what it takes, of :data:`VIEWS` of its phase; :data:`ANCHOR` is the instances themselves.
        weight_key: the key of its weight; if that is 0, the term takes no part, and its views are not made.
        function: ``function(views, given)`` gives the term, a scalar that is a mean over the batch. ``views`` has the
            representations ``[B, d]`` by name, in the order of :attr:`views`; ``given`` is a
            :class:`~recbole_ec4srec.model.objective.Given`.
        default: of the weight, if the key is new.
        only_with: other keys and the value that each must have for the term to take part.
    """

    name: str
    phase: str
    views: tuple[str, ...]
    weight_key: str
    function: Callable
    default: float = 0.0
    only_with: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def weight(self, config: Mapping[str, Any]) -> float:
        """Its weight in a configuration, 0 where it takes no part; its default if the configuration is older than the
        term."""
        takes_part = all(setting(config, key) == value for key, value in self.only_with.items())
        return float(setting(config, self.weight_key)) if takes_part else 0.0


@dataclass(frozen=True)
class Operator:
    """A way to make a view of a sequence.

    A word of ``augmentations`` means a random operator and its guided counterpart (``crop``: crop and ecrop+), a word
    of ``negative_augmentations`` a negative one (``crop``: ecrop-). If a word has no guided operator of that kind, the
    random one is used.

    Attributes:
        name: in tables and pictures.
        kind: ``positive`` or ``negative``.
        guided: it reads the importance.
        function: ``function(item_seq, item_seq_len, ratio, noise)`` gives a new ``(item_seq, item_seq_len)``, see
            :mod:`recbole_ec4srec.data.augmentation`. With ``guided``, an
            :class:`~recbole_ec4srec.data.augmentation.Importance` comes before ``ratio``; with ``masks``, ``mask_id``
            comes after it.
        ratio_key: the key of its ratio, from 0 to 1.
        word: in the keys ``augmentations`` and ``negative_augmentations``; by default the name.
        masks: it puts the mask item ``[m]`` in.
        default: of the ratio, if the key is new.
        length: ``length(item_seq_len [B], ratio)``, numpy arrays, gives the lengths of the views without making them;
            with ``guided``, ``ranked [B]`` (:attr:`~recbole_ec4srec.data.augmentation.Importance.ranked`) comes after
            them. Without it a GPU encodes these views with all of their padding.
    """

    name: str
    kind: str
    guided: bool
    function: Callable
    ratio_key: str
    word: str = ""
    masks: bool = False
    default: float = 0.5
    length: Callable | None = None

    def __post_init__(self):
        object.__setattr__(self, "word", self.word or self.name)

    def ratio(self, config: Mapping[str, Any]) -> float:
        """Its ratio in a configuration; its default if the configuration is older than the operator."""
        return setting(config, self.ratio_key)


#: Every :class:`LossTerm` and every :class:`Operator`, by name.
LOSSES: dict[str, LossTerm] = {}
OPERATORS: dict[str, Operator] = {}
#: The defaults of the keys that came with a user's term or operator; they are in no property file.
ADDED_DEFAULTS: dict[str, Any] = {}


def setting(config: Mapping[str, Any], key: str) -> Any:
    """The value of a key; what a configuration means that is older than the key, as those in checkpoints may be."""
    return config[key] if key in config else {**_BEFORE, **ADDED_DEFAULTS}[key]


def same_target(config: Mapping[str, Any]) -> str:
    """The value of the key of this name, in whose place older configurations have ``mask_same_target``."""
    value = setting(config, SAME_TARGET)
    masked = RETIRED in config and config[RETIRED]
    return IGNORED if masked and value == NEGATIVE else value


def loss_weights(config: Mapping[str, Any], guided: bool) -> dict[str, float]:
    """Weights of the terms that take part in a phase, by name; terms of weight 0 are left out.

    Before the first importance update (``guided=False``): those that ``warmup`` names, ``cl`` (Eq. 3) and ``sl``
    (Eq. 4); after it: ``cl_pos``, ``cl_neg`` (section 4.4.1) and ``sl_pos`` (Eq. 8), as in Eq. 6, 7 and 9. With
    ``view_loss: recommendation`` negative views take no part.
    """
    phase = GUIDED if guided else WARM_UP
    terms = [term for term in LOSSES.values() if term.phase == phase and (guided or term.name in config["warmup"])]
    if "view_loss" in config and config["view_loss"] == "recommendation":
        terms = [term for term in terms if NEGATIVE_VIEW not in term.views and {*term.views} - {ANCHOR}]
    return {term.name: term.weight(config) for term in terms if term.weight(config) > 0}


def views_of(losses: Iterable[str]) -> tuple[str, ...]:
    """The views that terms take, given the terms' names, without the instances themselves."""
    return tuple(dict.fromkeys(view for name in losses for view in LOSSES[name].views if view != ANCHOR))


def warmup_losses() -> tuple[str, ...]:
    """The names that ``warmup`` may have."""
    return tuple(term.name for term in LOSSES.values() if term.phase == WARM_UP)


def operator_words(kind: str) -> tuple[str, ...]:
    """The words that ``augmentations`` (``positive``) or ``negative_augmentations`` may have."""
    return tuple(dict.fromkeys(operator.word for operator in OPERATORS.values() if operator.kind == kind))


def operator_of(word: str, kind: str, guided: bool) -> Operator:
    """The operator that a word means; the random one if there is no guided operator."""
    meanings = {each.guided: each for each in OPERATORS.values() if (each.word, each.kind) == (word, kind)}
    return meanings[guided] if guided in meanings else meanings[False]
