"""Tests of significance, against scipy on the plain numbers and by hand."""

import numpy as np
import pytest
from scipy import stats

from recbole_ec4srec.errors import DataError
from recbole_ec4srec.experiments.records import pack
from recbole_ec4srec.experiments.significance import compare, holm


def record(seed, ranks):
    return {"seed": seed, "ranks": pack(np.array(ranks))}


def test_users_are_paired():
    ours, theirs = [1, 1, 9, 2, 9, 1], [1, 9, 9, 9, 9, 9]
    found = compare([record(1, ours)], [record(1, theirs)], "hit@5")
    a, b = (np.array(ranks) <= 5 for ranks in (ours, theirs))
    paired = stats.ttest_rel(a.astype(float), b.astype(float))
    assert found.difference == pytest.approx(3 / 6)
    assert found.p == pytest.approx(paired.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(paired.confidence_interval()))
    assert found.effect == pytest.approx(0.5 / np.array([0, 1, 0, 1, 0, 1]).std(ddof=1))
    assert found.seeds == 1 and found.p_seeds is None


def test_seeds_are_averaged_for_each_user_and_paired_among_themselves():
    ours = [record(1, [1, 1, 1]), record(2, [1, 9, 9]), record(5, [1, 1, 1])]
    theirs = [record(2, [9, 9, 9]), record(1, [9, 1, 9]), record(4, [1, 1, 1])]
    found = compare(ours, theirs, "hit@5")
    assert found.seeds == 2
    assert found.difference == pytest.approx(1 / 2)
    assert found.p == pytest.approx(stats.ttest_1samp([1, 0, 0.5], 0).pvalue)
    ours_by_seed, theirs_by_seed = [1.0, 1 / 3], [1 / 3, 0.0]
    assert found.p_seeds == pytest.approx(stats.ttest_rel(ours_by_seed, theirs_by_seed).pvalue, abs=1e-6)


def test_a_model_does_not_differ_from_itself():
    found = compare([record(1, [1, 7, 3])], [record(1, [1, 7, 3])], "ndcg@5")
    assert (found.difference, found.effect, found.p) == (0, 0, 1)
    both = [record(1, [1, 7, 3]), record(2, [2, 9, 1])]
    assert compare(both, both, "ndcg@5").p_seeds == 1
    worse = [record(1, [1, 7, 9]), record(2, [2, 9, 9])]
    assert compare(both, worse, "hit@5").p_seeds is None  # both seeds by a third: no deviation to test with


def test_no_common_seed_and_other_users():
    assert compare([record(1, [1, 2])], [record(2, [1, 2])], "hit@5") is None
    with pytest.raises(DataError, match="different users"):
        compare([record(1, [1, 2])], [record(1, [1, 2, 3])], "hit@5")


def test_records_of_other_data_are_not_compared():
    one, other, old = (
        {**record(1, [1, 2, 3]), "data": data} for data in ({"users": "3 (a)"}, {"users": "3 (b)"}, None)
    )
    with pytest.raises(DataError, match="different users or interactions"):
        compare([one], [other], "hit@5")
    assert compare([one], [old], "hit@5").difference == 0  # the first versions kept no fingerprint


def test_holm_by_hand():
    # Ordered .01 .02 .03 .4: times 4, 3, 2, 1, and never less than the one before.
    assert holm([0.03, 0.01, 0.4, 0.02]) == pytest.approx([0.06, 0.04, 0.4, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
