"""The table of operators, and the views that those of a configuration make (sections 3.2 and 4.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Generator, Tensor

from recbole_ec4srec.config.keys import add_key
from recbole_ec4srec.config.objective import NEGATIVE, OPERATORS, POSITIVE, Operator, operator_of
from recbole_ec4srec.config.rules import Number
from recbole_ec4srec.data.augmentation import (
    Sequences,
    crop,
    ecrop_negative,
    ecrop_positive,
    emask_negative,
    emask_positive,
    ereorder_positive,
    mask,
    reorder,
)

BUILT_IN = (
    Operator("crop", POSITIVE, False, crop, "mu_c"),
    Operator("mask", POSITIVE, False, mask, "mu_m", masks=True),
    Operator("reorder", POSITIVE, False, reorder, "mu_r"),
    Operator("ecrop+", POSITIVE, True, ecrop_positive, "mu_e", "crop"),
    Operator("emask+", POSITIVE, True, emask_positive, "mu_e", "mask", masks=True),
    Operator("erord+", POSITIVE, True, ereorder_positive, "mu_e", "reorder"),
    Operator("ecrop-", NEGATIVE, True, ecrop_negative, "mu_e", "crop"),
    Operator("emask-", NEGATIVE, True, emask_negative, "mu_e", "mask", masks=True),
)
_RATIOS = ("mu_c", "mu_m", "mu_r", "mu_e")  # whose defaults the property files have


def register_operator(operator: Operator) -> None:
    """Let ``augmentations`` or ``negative_augmentations`` mean ``operator`` by its word.

    Its ratio key becomes a key, from 0 to 1, where it is not yet one.

    Raises:
        ValueError: one of this package's has that name, or that word for the same kind of view; the kind is none; the
            key is another's; or a guided positive one has no random one of the same word, which the warm-up needs.
    """
    if operator.kind not in (POSITIVE, NEGATIVE):
        raise ValueError(f"kind of {operator.name}: got {operator.kind!r}, allowed is {POSITIVE} or {NEGATIVE}")
    own = operator.name in (built_in.name for built_in in BUILT_IN)
    for other in OPERATORS.values():
        alike = (other.word, other.kind, other.guided) == (operator.word, operator.kind, operator.guided)
        if own if other.name == operator.name else alike:
            raise ValueError(f"there is an operator {other.name} of the word {other.word} already; choose another one")
    if not operator.word.isidentifier():
        raise ValueError(f"word of {operator.name}: got {operator.word!r}, allowed is a name without signs")
    random = {other.word for other in OPERATORS.values() if other.kind == POSITIVE and not other.guided}
    if operator.guided and operator.kind == POSITIVE and operator.word not in random:
        raise ValueError(f"{operator.name}: register the random operator of the word {operator.word} first")
    _add(operator)


def _add(operator):
    add_key(operator.ratio_key, Number(0, 1), operator.default, _RATIOS)
    OPERATORS[operator.name] = operator


for _operator in BUILT_IN:
    _add(_operator)


def view_by(
    operator: Operator,
    sequences: Sequences,
    importance: Tensor | None,
    ratios: Mapping,
    mask_id: int,
    generator: Generator | None = None,
) -> Sequences:
    """What an operator makes of ``sequences``, an ``(item_seq, item_seq_len)``.

    Args:
        importance: ``[B, L]``, of guided operators.
        ratios: by their keys.
    """
    before = [importance] if operator.guided else []
    after = [mask_id] if operator.masks else []
    return operator.function(*sequences, *before, operator.ratio(ratios), *after, generator)


def _pick(views, chosen):
    """Row b of ``views[chosen[b]]``."""
    row = torch.arange(len(chosen), device=chosen.device)
    return torch.stack([seq for seq, _ in views])[chosen, row], torch.stack([n for _, n in views])[chosen, row]


def _two_views(apply, operators, item_seq, generator):
    """Two views of each sequence by two different operators, drawn in random order; by the same one if it is alone."""
    if len(operators) == 1:
        return apply(operators[0]), apply(operators[0])
    keys = torch.rand(len(item_seq), len(operators), generator=generator, device=item_seq.device)
    drawn = keys.argsort(dim=1)
    views = [apply(operator) for operator in operators]
    return _pick(views, drawn[:, 0]), _pick(views, drawn[:, 1])


class RandomAugmentation:
    """The augmentations of CL4SRec (section 3.2).

    Args:
        words: which operators take part, as in ``augmentations``.
        ratios: theirs, by their keys.
        mask_id: the id of the mask item ``[m]``.
    """

    def __init__(self, words: Iterable[str], ratios: Mapping, mask_id: int):
        self.operators = [operator_of(word, POSITIVE, guided=False) for word in words]
        self.ratios, self.mask_id = ratios, mask_id

    def positive(
        self, item_seq: Tensor, item_seq_len: Tensor, generator: Generator | None = None
    ) -> tuple[Sequences, Sequences]:
        """Two views of each sequence by two different operators: ``((item_seq, item_seq_len), (…, …))``."""

        def apply(operator):
            return view_by(operator, (item_seq, item_seq_len), None, self.ratios, self.mask_id, generator)

        return _two_views(apply, self.operators, item_seq, generator)


class GuidedAugmentation:
    """The explanation-guided augmentations (section 4.3). Which of equally important items count as the least important
    is drawn anew for every view.

    Args:
        words: which operators make positive views, as in ``augmentations``.
        negative_words: which make negative views, as in ``negative_augmentations``.
        ratios: theirs, by their keys.
        mask_id: the id of the mask item ``[m]``.
    """

    def __init__(self, words: Iterable[str], negative_words: Iterable[str], ratios: Mapping, mask_id: int):
        self.operators = [operator_of(word, POSITIVE, guided=True) for word in words]
        self.negative_operators = [operator_of(word, NEGATIVE, guided=True) for word in negative_words]
        self.ratios, self.mask_id = ratios, mask_id

    def positive(
        self, item_seq: Tensor, item_seq_len: Tensor, importance: Tensor, generator: Generator | None = None
    ) -> tuple[Sequences, Sequences]:
        """Two positive views of each sequence by two different operators: ``((item_seq, item_seq_len), (…, …))``."""

        def apply(operator):
            return view_by(operator, (item_seq, item_seq_len), importance, self.ratios, self.mask_id, generator)

        return _two_views(apply, self.operators, item_seq, generator)

    def negative(
        self, item_seq: Tensor, item_seq_len: Tensor, importance: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A negative view of each sequence, and where it differs from the sequence.

        Returns:
            ``(item_seq, item_seq_len, valid)``; ``valid [B]`` is false where k = 0 (or nothing can be taken away), and
            such an instance takes no part in L_cl-.
        """
        views = [
            view_by(operator, (item_seq, item_seq_len), importance, self.ratios, self.mask_id, generator)
            for operator in self.negative_operators
        ]
        drawn = torch.randint(len(views), (len(item_seq),), generator=generator, device=item_seq.device)
        view, lengths = _pick(views, drawn)
        return view, lengths, (view != item_seq).any(1)
