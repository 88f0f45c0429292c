"""Whether two models differ significantly: paired tests over users, and over seeds if there are several."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from recbole_ec4srec.errors import DataError
from recbole_ec4srec.experiments.records import metric_of, ranks


@dataclass(frozen=True)
class Comparison:
    """How much better a model is than another one in one metric.

    Attributes:
        difference: the mean over users, and over seeds where there are several.
        low, high: its 95 % confidence interval over users.
        effect: the difference in standard deviations of the users' differences (Cohen's d for paired samples).
        p: of the paired t-test over users.
        seeds: the number of seeds that both have.
        p_seeds: of the paired t-test over seeds; None with fewer than two, or where all differ by the same.
    """

    difference: float
    low: float
    high: float
    effect: float
    p: float
    seeds: int
    p_seeds: float | None


def compare(records: Sequence[dict], others: Sequence[dict], metric: str) -> Comparison | None:
    """Compare the records of a model with those of another one on the same data set, by the seeds that both have.

    The users are the same under every seed, so the metric of a user is averaged over seeds before users are compared.

    Args:
        records, others: one record for each seed.
        metric: ``hit@k``, ``ndcg@k`` or ``mrr@k``.

    Returns:
        None if they have no seed in common.

    Raises:
        DataError: they are of different data.
    """
    by_seed = [{record["seed"]: ranks(record) for record in side} for side in (records, others)]
    seeds = sorted(set(by_seed[0]) & set(by_seed[1]))
    if not seeds:
        return None
    data = {json.dumps(record["data"]) for side in (records, others) for record in side if record.get("data")}
    if len(data) > 1 or len({len(side[seed]) for side in by_seed for seed in seeds}) > 1:
        raise DataError("the records are of different users or interactions and cannot be paired")
    ours, theirs = (np.stack([metric_of(side[seed], metric) for seed in seeds]) for side in by_seed)
    of_users, of_seeds = (ours - theirs).mean(0), (ours - theirs).mean(1)
    low, high = stats.ttest_1samp(of_users, 0).confidence_interval()
    deviation = of_users.std(ddof=1)
    return Comparison(
        difference=float(of_users.mean()),
        low=float(low),
        high=float(high),
        effect=float(of_users.mean() / deviation) if deviation > 0 else 0.0,
        p=_p_value(of_users),
        seeds=len(seeds),
        p_seeds=_p_value(of_seeds) if len(seeds) > 1 and (np.ptp(of_seeds) > 0 or not of_seeds.any()) else None,
    )


def _p_value(differences: np.ndarray) -> float:
    return float(stats.ttest_1samp(differences, 0).pvalue) if differences.any() else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for multiple comparisons by Holm's method (1979)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(raised, 1)
    return adjusted.tolist()
