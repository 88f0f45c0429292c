"""The variants of the model (section 4.4): what each is called, and the keys that make it that variant."""

from __future__ import annotations

ALIASES = {"EC4SRec(SSL)": "EC4SRecSSL", "EC4SRec(SL)": "EC4SRecSL"}

#: The keys that define each variant: with another value of one of them it would be another model.
VARIANTS: dict[str, dict[str, object]] = {
    "EC4SRec": {},
    "EC4SRecSSL": {"lambda_sl_pos": 0},
    "EC4SRecSL": {"lambda_cl_pos": 0, "lambda_cl_neg": 0},
    "CL4SRec": {"num_updates": 0, "update_epochs": [], "warmup": ["cl"]},
    "DuoRec": {"num_updates": 0, "update_epochs": [], "warmup": ["sl"]},
}


def canonical_name(model: str | type | None) -> str | type | None:
    """The class name behind a spelling of the paper; classes and other names are returned as they are."""
    return ALIASES.get(model, model) if isinstance(model, str) else model
