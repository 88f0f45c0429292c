"""What is learned beside recommendation, in two tables: the terms of the loss, and the operators that make views.

The configuration and the data read them; :mod:`recbole_ec4srec.model.objective` fills that of the terms and
:mod:`recbole_ec4srec.data.operators` that of the operators, for the functions stand higher up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

WARM_UP, GUIDED = "warm-up", "guided"
POSITIVE, NEGATIVE = "positive", "negative"

#: The name of the instances themselves among the views.
ANCHOR = ""
#: The views that a batch may have, by the phase in which it has them: the loader makes those that a term takes.
VIEWS = {WARM_UP: ("cl_1", "cl_2", "sl"), GUIDED: ("cl_pos_1", "cl_pos_2", "cl_neg", "sl_pos")}
NEGATIVE_VIEW = "cl_neg"


@dataclass(frozen=True)
class LossTerm:
    """A part of the loss beside L_rec.

    Attributes:
        name: in the log and in what ``calculate_loss`` returns.
        phase: ``warm-up``, before the first importance update, where the key ``warmup`` names it; or ``guided``.
        views: what it takes, of :data:`VIEWS` of its phase; :data:`ANCHOR` is the instances themselves.
        weight_key: the key of its weight; where that is 0 it takes no part, and its views are not made.
        function: ``function(views, given)`` gives the term, a scalar that is a mean over the batch. ``views`` has the
            representations ``[B, d]`` by name, in the order of :attr:`views`; ``given`` is a
            :class:`~recbole_ec4srec.model.objective.Given`.
        default: of the weight, where the key is new.
    """

    name: str
    phase: str
    views: tuple
    weight_key: str
    function: Callable
    default: float = 0.0

    def weight(self, config) -> float:
        """Its weight by a configuration, which may be older than the term."""
        return float(_setting(config, self.weight_key))


@dataclass(frozen=True)
class Operator:
    """A way to make a view of a sequence.

    A word of ``augmentations`` means a random operator and its guided counterpart (``crop``: crop and ecrop+), a word
    of ``negative_augmentations`` a negative one (``crop``: ecrop-). Where a word has no guided operator of that kind,
    the random one stands in.

    Attributes:
        name: in tables and pictures.
        kind: ``positive`` or ``negative``.
        guided: importance takes part.
        function: ``function(item_seq, item_seq_len, ratio, noise)`` gives a new ``(item_seq, item_seq_len)``, as told in
            :mod:`recbole_ec4srec.data.augmentation`. With ``guided``, an
            :class:`~recbole_ec4srec.data.augmentation.Importance` comes before ``ratio``; with ``masks``, ``mask_id``
            comes after it.
        ratio_key: the key of its ratio, from 0 to 1.
        word: in the keys ``augmentations`` and ``negative_augmentations``; the name where it is left out.
        masks: it puts the mask item ``[m]`` in.
        default: of the ratio, where the key is new.
        length: ``length(item_seq_len [B], ratio)``, numpy arrays, gives the lengths of the views without making them;
            without it a GPU encodes these views with all of their padding.
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

    def ratio(self, config) -> float:
        """Its ratio by a configuration, which may be older than the operator."""
        return _setting(config, self.ratio_key)


#: Every :class:`LossTerm` and every :class:`Operator`, by name.
LOSSES: dict[str, LossTerm] = {}
OPERATORS: dict[str, Operator] = {}
#: By the keys that came with a term or an operator: their defaults, which stand in no property file.
ADDED_DEFAULTS: dict = {}


def _setting(config, key):
    return config[key] if key in config else ADDED_DEFAULTS[key]


def loss_weights(config, guided: bool) -> dict:
    """Weights of the terms that take part in a phase, by name; those of weight 0 are left out.

    Before the first importance update (``guided=False``): those that ``warmup`` names, ``cl`` (Eq. 3) and ``sl``
    (Eq. 4); after it: ``cl_pos``, ``cl_neg`` (section 4.4.1) and ``sl_pos`` (Eq. 8), as in Eq. 6, 7 and 9.
    """
    phase = GUIDED if guided else WARM_UP
    terms = [term for term in LOSSES.values() if term.phase == phase and (guided or term.name in config["warmup"])]
    return {term.name: term.weight(config) for term in terms if term.weight(config) > 0}


def views_of(losses) -> tuple:
    """The views that terms take, by the terms' names, without the instances themselves."""
    return tuple(dict.fromkeys(view for name in losses for view in LOSSES[name].views if view != ANCHOR))


def warmup_losses() -> tuple:
    """The names that ``warmup`` may have."""
    return tuple(term.name for term in LOSSES.values() if term.phase == WARM_UP)


def operator_words(kind: str) -> tuple:
    """The words that ``augmentations`` (``positive``) or ``negative_augmentations`` may have."""
    return tuple(dict.fromkeys(operator.word for operator in OPERATORS.values() if operator.kind == kind))


def operator_of(word: str, kind: str, guided: bool) -> Operator:
    """What a word means; random where there is no guided operator."""
    found = {each.guided: each for each in OPERATORS.values() if (each.word, each.kind) == (word, kind)}
    return found.get(guided, found.get(False))
