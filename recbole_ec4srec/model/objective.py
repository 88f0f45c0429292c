"""The table of loss terms, what their functions are given, and what ``calculate_loss`` returns."""

from __future__ import annotations

from functools import cached_property

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor

from recbole_ec4srec.config.keys import add_key
from recbole_ec4srec.config.objective import (
    ANCHOR,
    ATTRACT,
    GUIDED,
    GUIDED_NEGATIVES,
    HARD,
    LOSSES,
    NEGATIVE,
    NEGATIVE_VIEW,
    VIEWS,
    WARM_UP,
    LossTerm,
    setting,
)
from recbole_ec4srec.config.rules import Number
from recbole_ec4srec.data.views import VALID
from recbole_ec4srec.model.collectives import gather
from recbole_ec4srec.model.losses import hard_pair_loss, negative_loss, pair_loss, supervised_loss

REC = "rec"


class Losses(tuple):
    """The parts of a loss, weighted, whose sum is the loss; RecBole's trainer takes it as the tuple that it is.

    Attributes:
        names: of the parts, in their order.
    """

    names: tuple[str, ...]

    def __new__(cls, parts: dict[str, Tensor]) -> Losses:
        """Of parts by name."""
        self = super().__new__(cls, parts.values())
        self.names = tuple(parts)
        return self

    def also(self, **parts: Tensor) -> Losses:
        """These parts and more, by name."""
        return Losses({**dict(zip(self.names, self)), **parts})


class Given:
    """What the function of a :class:`~recbole_ec4srec.config.objective.LossTerm` is given beside representations.

    Of several processes each is given the representations and instances of all.

    Attributes:
        sim, tau, tau_cl, same_target: the keys of these names.
        config: all settings.
    """

    def __init__(self, model: SequentialRecommender, interaction: Interaction, size: int):
        self.sim, self.tau, self.tau_cl, self.config = model.sim, model.tau, model.tau_cl, model.config
        self.same_target = model.same_target
        self._of_all = lambda field: gather(interaction[field].narrow(0, 0, size))
        self._target_field = model.POS_ITEM_ID

    @cached_property
    def next_item(self) -> Tensor:
        """The instances' next items, ``[B]``."""
        return self._of_all(self._target_field)

    @property
    def target(self) -> Tensor | None:
        """The next items where instances with the same one are not each other's negatives (``same_target``)."""
        return None if self.same_target == NEGATIVE else self.next_item

    @cached_property
    def valid(self) -> Tensor:
        """Which instances have a negative view, ``[B]`` bool; for terms that take ``cl_neg``."""
        return self._of_all(VALID)


def _pair(views, given):
    first, second = views.values()
    return pair_loss(first, second, given.sim, given.tau_cl, given.target, given.same_target)


def _hard_pair(views, given):
    first, second, negative = views.values()
    temperatures = given.tau_cl, setting(given.config, "tau_neg")
    alike = given.target, given.same_target
    return hard_pair_loss(first, second, negative, given.valid, given.sim, *temperatures, *alike)


def _supervised(views, given):
    anchor, retrieved = views.values()
    return supervised_loss(anchor, retrieved, given.sim, given.tau, given.target, given.same_target)


def _negative(views, given):
    first, second, negative = views.values()
    return negative_loss(negative, torch.cat([first, second]), given.valid, given.sim, given.tau_cl)


_PAIR = ("cl_pos_1", "cl_pos_2")
_ATTRACT, _HARD = {GUIDED_NEGATIVES: ATTRACT}, {GUIDED_NEGATIVES: HARD}
BUILT_IN = (
    LossTerm("cl", WARM_UP, ("cl_1", "cl_2"), "lambda", _pair),
    LossTerm("sl", WARM_UP, (ANCHOR, "sl"), "lambda", _supervised),
    LossTerm("cl_pos", GUIDED, _PAIR, "lambda_cl_pos", _pair, only_with=_ATTRACT),
    LossTerm("cl_pos_hard", GUIDED, (*_PAIR, NEGATIVE_VIEW), "lambda_cl_pos", _hard_pair, only_with=_HARD),
    LossTerm("cl_neg", GUIDED, (*_PAIR, NEGATIVE_VIEW), "lambda_cl_neg", _negative, only_with=_ATTRACT),
    LossTerm("sl_pos", GUIDED, (ANCHOR, "sl_pos"), "lambda_sl_pos", _supervised),
)
_WEIGHTS = ("lambda", "lambda_cl_pos", "lambda_cl_neg", "lambda_sl_pos")  # whose defaults the property files have


def register_loss(term: LossTerm) -> None:
    """Let ``term`` take part in the loss with the weight that its key has, which becomes a key where it is not yet one.

    Raises:
        ValueError: a term of this package has that name, there is no such phase, the phase has no such view, or the key
            is used by something else.
    """
    if term.name in (REC, *(own.name for own in BUILT_IN)):
        raise ValueError(f"there is a loss named {term.name} already; give this one another name")
    if not term.name.isidentifier():
        raise ValueError(f"name: got {term.name!r}, allowed is a name without signs")
    if term.phase not in VIEWS:
        raise ValueError(f"phase of {term.name}: got {term.phase!r}, allowed is {' or '.join(VIEWS)}")
    views = (ANCHOR, *VIEWS[term.phase])
    if not term.views or not isinstance(term.views, (tuple, list)) or any(view not in views for view in term.views):
        raise ValueError(f"views of {term.name}: got {term.views!r}, allowed are some of {views} in the {term.phase}")
    _add(term)


def _add(term):
    add_key(term.weight_key, Number(0), term.default, _WEIGHTS)
    LOSSES[term.name] = term


for _term in BUILT_IN:
    _add(_term)
