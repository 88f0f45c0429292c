"""The table of operators (sections 3.2 and 4.3)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from recbole_ec4srec.config.keys import add_key
from recbole_ec4srec.config.objective import NEGATIVE, OPERATORS, POSITIVE, Operator
from recbole_ec4srec.config.rules import Number
from recbole_ec4srec.data.augmentation import (
    Importance,
    Sequences,
    crop,
    crop_length,
    ecrop_negative,
    ecrop_negative_length,
    ecrop_positive,
    ecrop_positive_length,
    emask_negative,
    emask_positive,
    ereorder_positive,
    mask,
    ranked_count,
    reorder,
    same_length,
)

BUILT_IN = (
    Operator("crop", POSITIVE, False, crop, "mu_c", length=crop_length),
    Operator("mask", POSITIVE, False, mask, "mu_m", masks=True, length=same_length),
    Operator("reorder", POSITIVE, False, reorder, "mu_r", length=same_length),
    Operator("ecrop+", POSITIVE, True, ecrop_positive, "mu_e", "crop", length=ecrop_positive_length),
    Operator("emask+", POSITIVE, True, emask_positive, "mu_e", "mask", masks=True, length=same_length),
    Operator("erord+", POSITIVE, True, ereorder_positive, "mu_e", "reorder", length=same_length),
    Operator("ecrop-", NEGATIVE, True, ecrop_negative, "mu_e", "crop", length=ecrop_negative_length),
    Operator("emask-", NEGATIVE, True, emask_negative, "mu_e", "mask", masks=True, length=same_length),
)
_RATIOS = ("mu_c", "mu_m", "mu_r", "mu_e")  # whose defaults the property files have


def register_operator(operator: Operator) -> None:
    """Let ``augmentations`` or ``negative_augmentations`` mean ``operator`` by its word.

    Its ratio key becomes a key, from 0 to 1, where it is not yet one.

    Raises:
        ValueError: one of this package's has that name, or that word for the same kind of view; the kind is neither
            positive nor negative; the key is used by something else; or a guided positive one has no random one of the
            same word, which the warm-up needs.
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
    importance: Importance | None,
    ratios: Mapping,
    mask_id: int,
    noise: Tensor,
) -> Sequences:
    """What an operator makes of ``sequences``, an ``(item_seq, item_seq_len)``.

    Args:
        importance: for guided operators.
        ratios: by their keys.
        noise: ``[B, L + 1]``, uniform in [0, 1).
    """
    before = [importance] if operator.guided else []
    after = [mask_id] if operator.masks else []
    return operator.function(*sequences, *before, operator.ratio(ratios), *after, noise)


def length_by(operator: Operator, item_seq_len: np.ndarray, ratios: Mapping, scope: str) -> np.ndarray:
    """The lengths ``[B]`` of an operator's views of sequences of lengths ``[B]``, for one that can tell them.

    Args:
        ratios: by their keys.
        scope: ``importance_scope``.
    """
    assert operator.length is not None
    ranked = [ranked_count(item_seq_len, scope)] if operator.guided else []
    return operator.length(item_seq_len, operator.ratio(ratios), *ranked)
