"""Views of sequences: random (section 3.2) and explanation guided (section 4.3)."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from recbole_ec4srec.data.augmentation import (
    Importance,
    crop,
    ecrop_negative,
    ecrop_positive,
    emask_negative,
    emask_positive,
    ereorder_positive,
    item_count,
    mask,
    reorder,
)
from recbole_ec4srec.data.views import DrawnViews

MASK = 99
WIDTH = 9
ALL = ["crop", "mask", "reorder"]
PROPERTY = settings(max_examples=80, deadline=None, derandomize=True, database=None)


def noise(size, seed=1, width=WIDTH):
    """Uniform numbers ``[size, width + 1]``."""
    return torch.rand(size, width + 1, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def random_ratios(mu_c, mu_m, mu_r):
    return {"mu_c": mu_c, "mu_m": mu_m, "mu_r": mu_r}


def pad(sequences, width=WIDTH, value=0):
    return torch.tensor([list(seq) + [value] * (width - len(seq)) for seq in sequences])


def batch(sequences, importance=None, width=WIDTH):
    """``(item_seq, item_seq_len)``, and the importance as a third where it is given."""
    made = pad(sequences, width), torch.tensor([len(seq) for seq in sequences])
    return made if importance is None else (*made, Importance.of(pad(importance, width, value=0.0), made[1]))


def drawn(sequences, words, ratios, importance=None, negative=(), seed=1, width=WIDTH):
    """The views of a batch by their names, random or, with ``importance``, guided."""
    item_seq, lengths = batch(sequences, width=width)
    scores = None if importance is None else pad(importance, width, value=0.0).numpy()
    words, rng = {"positive": words, "negative": negative}, np.random.default_rng(seed)
    views = DrawnViews(words, importance is not None, scores, lengths.numpy(), width, rng, ratios, MASK)
    made = views.make(item_seq, lengths)
    assert all(made[name][1].tolist() == of.tolist() for name, of in views.lengths.items())
    assert views.lengths.keys() == made.keys()
    return list(made.values())


def unpad(view):
    """A view as lists; fails where anything stands beyond a length."""
    item_seq, item_seq_len = view
    for row, n in zip(item_seq.tolist(), item_seq_len.tolist()):
        assert row[n:] == [0] * (len(row) - n)
    return [row[:n] for row, n in zip(item_seq.tolist(), item_seq_len.tolist())]


def outcomes(operator, sequence, times=3000):
    """How often each view of one sequence comes out."""
    item_seq, item_seq_len = batch([sequence] * times)
    return Counter(tuple(row) for row in unpad(operator(item_seq, item_seq_len, noise(times))))


def is_uniform(counts, possible):
    assert set(counts) == set(possible)
    return chisquare([counts[outcome] for outcome in possible]).pvalue > 0.001


# Three sequences whose views below are worked out by hand; mu_e = 0.5 gives k = 2, 1 and 0.
ITEMS = [[1, 2, 3, 4, 5], [7, 8, 9], [6]]
SCORES = [[0.1, 0.4, 0.05, 0.3, 0.15], [3.0, -1.0, 2.0], [1.0]]


def test_ecrop_positive_removes_the_k_least_important_items():
    assert unpad(ecrop_positive(*batch(ITEMS, SCORES), 0.5)) == [[2, 4, 5], [7, 9], [6]]


def test_ecrop_negative_keeps_only_the_k_least_important_items():
    assert unpad(ecrop_negative(*batch(ITEMS, SCORES), 0.5)) == [[1, 3], [8], [6]]


def test_emask_positive_masks_the_k_least_important_items():
    views = unpad(emask_positive(*batch(ITEMS, SCORES), 0.5, MASK))
    assert views == [[MASK, 2, MASK, 4, 5], [7, MASK, 9], [6]]


def test_emask_negative_masks_the_k_most_important_items():
    views = unpad(emask_negative(*batch(ITEMS, SCORES), 0.5, MASK))
    assert views == [[1, MASK, 3, MASK, 5], [MASK, 8, 9], [6]]


def test_ereorder_shuffles_the_k_least_important_items_among_their_own_positions():
    seen = Counter()
    for seed in range(40):
        views = unpad(ereorder_positive(*batch(ITEMS, SCORES), 0.5, noise(3, seed)))
        assert views[1:] == [[7, 8, 9], [6]]
        seen[tuple(views[0])] += 1
    assert set(seen) == {(1, 2, 3, 4, 5), (3, 2, 1, 4, 5)}


def test_of_equally_important_items_the_older_one_counts_as_less_important():
    tied = batch([[1, 2, 3, 4]], [[0.0, 0.0, 0.0, 0.0]])
    assert tied[2].ranks[:, :4].tolist() == [[0, 1, 2, 3]]
    assert unpad(ecrop_positive(*tied, 0.5)) == [[3, 4]]
    assert unpad(emask_negative(*tied, 0.5, MASK)) == [[1, 2, MASK, MASK]]


def test_padding_is_never_among_the_least_important():
    # Padding has importance 0, all items have less.
    below = batch([[1, 2, 3]], [[-3.0, -1.0, -2.0]])
    assert unpad(ecrop_positive(*below, 0.67)) == [[2]]
    assert unpad(ecrop_negative(*below, 0.67)) == [[1, 3]]


def test_with_mu_e_of_1_positive_views_keep_the_most_important_item():
    whole = batch([[1, 2, 3]], [[0.2, 0.5, 0.3]])
    assert unpad(ecrop_positive(*whole, 1.0)) == [[2]]
    assert unpad(emask_positive(*whole, 1.0, MASK)) == [[MASK, 2, MASK]]
    assert unpad(emask_negative(*whole, 1.0, MASK)) == [[1, MASK, MASK]]
    assert unpad(ecrop_negative(*whole, 1.0)) == [[1, 2, 3]]


def test_which_of_equally_important_items_counts_as_less_important_is_drawn_anew():
    scores = [0.0, 0.0, 1.0, 0.0]

    def masked(seq, n, noise):
        importance = torch.tensor(scores + [0.0] * (seq.shape[1] - 4)).expand(seq.shape)
        return emask_positive(seq, n, Importance.of(importance, n, noise[:, :WIDTH]), 0.5, MASK)

    counts = outcomes(masked, [1, 2, 3, 4])
    assert is_uniform(counts, [(MASK, MASK, 3, 4), (MASK, 2, 3, MASK), (1, MASK, 3, MASK)])


def test_guided_views_by_the_same_operator_differ_where_items_are_equally_important():
    tied = [[1, 2, 3, 4, 5, 6, 7, 8]] * 50, [[1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]] * 50
    (first, _), (second, _) = drawn(tied[0], ["mask"], {"mu_e": 0.4}, tied[1])
    assert (first != second).any(1).float().mean() > 0.8
    assert torch.equal(first[:, [0, 3, 7]], pad(tied[0])[:, [0, 3, 7]])


def test_crop_starts_anywhere_with_equal_probability():
    counts = outcomes(lambda seq, n, noise: crop(seq, n, 0.6, noise), [1, 2, 3, 4, 5])
    assert is_uniform(counts, [(1, 2, 3), (2, 3, 4), (3, 4, 5)])


def test_mask_chooses_every_set_of_items_with_equal_probability():
    counts = outcomes(lambda seq, n, noise: mask(seq, n, 0.5, MASK, noise), [1, 2, 3, 4])
    assert is_uniform(
        counts,
        [
            (MASK, MASK, 3, 4),
            (MASK, 2, MASK, 4),
            (MASK, 2, 3, MASK),
            (1, MASK, MASK, 4),
            (1, MASK, 3, MASK),
            (1, 2, MASK, MASK),
        ],
    )


def test_reorder_shuffles_one_contiguous_part():
    counts = outcomes(lambda seq, n, noise: reorder(seq, n, 0.5, noise), [1, 2, 3, 4, 5])
    swapped = [(2, 1, 3, 4, 5), (1, 3, 2, 4, 5), (1, 2, 4, 3, 5), (1, 2, 3, 5, 4)]
    # Each of four places of two items is shuffled into either order.
    assert set(counts) == {(1, 2, 3, 4, 5), *swapped}
    expected = [1500, 375, 375, 375, 375]
    assert chisquare([counts[outcome] for outcome in [(1, 2, 3, 4, 5), *swapped]], expected).pvalue > 0.001


def test_reorder_gives_every_order_with_equal_probability():
    counts = outcomes(lambda seq, n, noise: reorder(seq, n, 1.0, noise), [1, 2, 3, 4])
    assert is_uniform(counts, list(permutations([1, 2, 3, 4])))


def test_ereorder_gives_every_order_of_the_least_important_items_with_equal_probability():
    importance = batch([[1, 2, 3, 4, 5]] * 3000, [[0.1, 0.9, 0.2, 0.8, 0.3]] * 3000)[2]
    counts = outcomes(lambda seq, n, noise: ereorder_positive(seq, n, importance, 0.6, noise), [1, 2, 3, 4, 5])
    assert is_uniform(counts, [(a, 2, b, 4, c) for a, b, c in permutations([1, 3, 5])])


def test_crop_of_a_short_sequence_keeps_one_item():
    assert unpad(crop(*batch([[4], [4, 4]]), 0.3, noise(2))) == [[4], [4]]


def test_mask_never_masks_the_whole_sequence():
    (view,) = unpad(mask(*batch([[1, 2, 3]]), 1.0, MASK, noise(1)))
    assert sorted(view)[1:] == [MASK, MASK]
    assert unpad(mask(*batch([[4]]), 1.0, MASK, noise(1))) == [[4]]


def test_ratio_0_changes_nothing():
    assert unpad(mask(*batch(ITEMS), 0.0, MASK, noise(3))) == ITEMS
    assert unpad(reorder(*batch(ITEMS), 0.0, noise(3))) == ITEMS


def test_counts_are_floors_in_the_decimal_sense():
    # In binary 0.57 * 100 is 56.99999999999999.
    lengths = torch.arange(1, 201)
    for percent in range(101):
        counts = item_count(percent / 100, lengths)
        assert counts.tolist() == [percent * n // 100 for n in range(1, 201)]


# Properties on any batch


@st.composite
def batches(draw):
    """``(sequences, importance)``: any lengths, repeated items, importance with ties, zeros and negative values."""
    lengths = draw(st.lists(st.integers(1, WIDTH), min_size=1, max_size=5))
    sequences = [draw(st.lists(st.integers(1, 12), min_size=n, max_size=n)) for n in lengths]
    score = draw(st.sampled_from([st.just(0.0), st.integers(-2, 2).map(float), st.floats(-9, 9, width=32)]))
    return sequences, [draw(st.lists(score, min_size=n, max_size=n)) for n in lengths]


percents = st.integers(1, 100)
seeds = st.integers(0, 2**32)


def looped_lowest(importance, k):
    return sorted(range(len(importance)), key=lambda i: (importance[i], i))[:k]


def looped_ecrop_positive(sequence, importance, k):
    dropped = looped_lowest(importance, min(k, len(sequence) - 1))
    return [item for i, item in enumerate(sequence) if i not in dropped]


def looped_ecrop_negative(sequence, importance, k):
    kept = looped_lowest(importance, k or len(sequence))
    return [item for i, item in enumerate(sequence) if i in kept]


def looped_emask_positive(sequence, importance, k):
    masked = looped_lowest(importance, min(k, len(sequence) - 1))
    return [MASK if i in masked else item for i, item in enumerate(sequence)]


def looped_emask_negative(sequence, importance, k):
    unmasked = looped_lowest(importance, len(sequence) - min(k, len(sequence) - 1))
    return [item if i in unmasked else MASK for i, item in enumerate(sequence)]


@pytest.mark.parametrize(
    ("operator", "looped"),
    [
        (ecrop_positive, looped_ecrop_positive),
        (ecrop_negative, looped_ecrop_negative),
        (lambda *args: emask_positive(*args, MASK), looped_emask_positive),
        (lambda *args: emask_negative(*args, MASK), looped_emask_negative),
    ],
    ids=["ecrop+", "ecrop-", "emask+", "emask-"],
)
@PROPERTY
@given(batches(), percents)
def test_guided_operators_equal_their_looped_transcription(operator, looped, example, percent):
    sequences, importance = example
    expected = [looped(seq, scores, percent * len(seq) // 100) for seq, scores in zip(sequences, importance)]
    assert unpad(operator(*batch(sequences, importance), percent / 100)) == expected


@PROPERTY
@given(batches(), percents, seeds)
def test_ereorder_moves_only_the_least_important_items(example, percent, seed):
    sequences, importance = example
    views = unpad(ereorder_positive(*batch(sequences, importance), percent / 100, noise(len(sequences), seed)))
    for view, sequence, scores in zip(views, sequences, importance):
        k = percent * len(sequence) // 100
        # Which of those that equal the k-th moves is drawn.
        may_move = [i for i, score in enumerate(scores) if k and score <= sorted(scores)[k - 1]]
        moved = [i for i in range(len(sequence)) if view[i] != sequence[i]]
        assert set(moved) <= set(may_move) and len(moved) <= k
        assert sorted(view) == sorted(sequence)


@PROPERTY
@given(batches(), percents)
def test_ecrop_positive_and_negative_share_a_sequence_out(example, percent):
    sequences, importance = example
    made = batch(sequences, importance)
    positive, negative = unpad(ecrop_positive(*made, percent / 100)), unpad(ecrop_negative(*made, percent / 100))
    for sequence, kept, left in zip(sequences, positive, negative):
        if 0 < percent * len(sequence) // 100 < len(sequence):
            assert sorted(kept + left) == sorted(sequence)


@PROPERTY
@given(batches(), percents, seeds)
def test_crop_is_a_contiguous_part_of_floor_mu_n_items(example, percent, seed):
    sequences, _ = example
    for view, sequence in zip(unpad(crop(*batch(sequences), percent / 100, noise(len(sequences), seed))), sequences):
        size = max(1, percent * len(sequence) // 100)
        assert view in [sequence[start : start + size] for start in range(len(sequence) - size + 1)]


@PROPERTY
@given(batches(), percents, seeds)
def test_mask_hides_floor_mu_n_items_and_leaves_the_others_where_they_are(example, percent, seed):
    sequences, _ = example
    for view, sequence in zip(
        unpad(mask(*batch(sequences), percent / 100, MASK, noise(len(sequences), seed))), sequences
    ):
        assert view.count(MASK) == min(percent * len(sequence) // 100, len(sequence) - 1)
        assert all(new in (MASK, old) for new, old in zip(view, sequence))
        assert len(view) == len(sequence)


@PROPERTY
@given(st.lists(st.integers(1, WIDTH), min_size=1, max_size=5), percents, seeds)
def test_reorder_leaves_all_but_floor_mu_n_items_in_a_row_where_they_are(lengths, percent, seed):
    sequences = [list(range(1, n + 1)) for n in lengths]
    for view, sequence in zip(unpad(reorder(*batch(sequences), percent / 100, noise(len(sequences), seed))), sequences):
        moved = [i for i, (new, old) in enumerate(zip(view, sequence)) if new != old]
        assert not moved or moved[-1] - moved[0] < percent * len(sequence) // 100
        assert sorted(view) == sequence


def all_views(sequences, importance, ratio, seed, padding=None):
    """Every operator's view of one batch, and the batch; ``padding`` is that of its longest sequence."""
    width = WIDTH if padding is None else max(map(len, sequences)) + padding
    item_seq, n, scores = batch(sequences, importance, width)
    numbers, (mu, ratios) = noise(len(sequences), seed, width), (ratio, random_ratios(ratio, ratio, ratio))
    views = [
        crop(item_seq, n, mu, numbers),
        mask(item_seq, n, mu, MASK, numbers),
        reorder(item_seq, n, mu, numbers),
        ecrop_positive(item_seq, n, scores, mu),
        ecrop_negative(item_seq, n, scores, mu),
        emask_positive(item_seq, n, scores, mu, MASK),
        emask_negative(item_seq, n, scores, mu, MASK),
        ereorder_positive(item_seq, n, scores, mu, numbers),
        *drawn(sequences, ALL, ratios, seed=seed, width=width),
        *drawn(sequences, ALL, {"mu_e": mu}, importance, ["crop", "mask"], seed, width),
    ]
    return views, (item_seq, n, scores)


@PROPERTY
@given(batches(), percents, seeds, st.integers(0, 2))
def test_every_view_keeps_an_item_of_its_sequence_and_has_padding_only_at_its_end(example, percent, seed, padding):
    views, (item_seq, *_) = all_views(*example, percent / 100, seed, padding)
    for view in views:
        assert view[0].shape == item_seq.shape and view[0].dtype == torch.long and view[1].dtype == torch.long
        for row, sequence in zip(unpad(view), example[0]):
            assert 0 not in row
            assert set(row) - {MASK} and set(row) - {MASK} <= set(sequence)


def flat(given):
    item_seq, lengths, importance = given
    return item_seq, lengths, *importance


@PROPERTY
@given(batches(), percents, seeds)
def test_no_operator_changes_what_it_is_given(example, percent, seed):
    before = flat(batch(*example))
    views, after = all_views(*example, percent / 100, seed)
    assert all(torch.equal(old, new) for old, new in zip(before, flat(after)))
    # Nor does what later happens to a view's items.
    for item_seq, _ in views:
        item_seq.fill_(-1)
    assert all(torch.equal(old, new) for old, new in zip(before, flat(after)))


@PROPERTY
@given(batches(), percents, seeds)
def test_the_same_seed_gives_the_same_views(example, percent, seed):
    first, _ = all_views(*example, percent / 100, seed)
    second, _ = all_views(*example, percent / 100, seed)
    assert all(torch.equal(a, b) for one, other in zip(first, second) for a, b in zip(one, other))


def test_another_seed_gives_other_views():
    sequences = [[1, 2, 3, 4, 5, 6, 7, 8]] * 20
    first, second = (drawn(sequences, ALL, random_ratios(0.5, 0.5, 0.5), seed=seed) for seed in (1, 2))
    assert not torch.equal(first[0][0], second[0][0])


# importance_scope: context


def context_ecrop_positive(sequence, importance, percent):
    """The last item stays."""
    k = percent * (len(sequence) - 1) // 100
    dropped = looped_lowest(importance[:-1], k)
    return [item for i, item in enumerate(sequence) if i not in dropped]


def context_ecrop_negative(sequence, importance, percent):
    """The last item goes; None where nothing would remain."""
    k = percent * (len(sequence) - 1) // 100
    kept = looped_lowest(importance[:-1], k)
    return [item for i, item in enumerate(sequence) if i in kept] or None


def context_emask_positive(sequence, importance, percent):
    """The last item stays."""
    k = percent * (len(sequence) - 1) // 100
    masked = looped_lowest(importance[:-1], k)
    return [MASK if i in masked else item for i, item in enumerate(sequence)]


def context_emask_negative(sequence, importance, percent):
    """The last item is masked beside the k most important of the others, of which one stays; None where it is alone."""
    others = len(sequence) - 1
    if others == 0:
        return None
    kept = looped_lowest(importance[:-1], max(others - percent * others // 100, 1))
    return [item if i in kept else MASK for i, item in enumerate(sequence)]


CONTEXT = {
    "ecrop+": (ecrop_positive, context_ecrop_positive),
    "ecrop-": (ecrop_negative, context_ecrop_negative),
    "emask+": (lambda *args: emask_positive(*args, MASK), context_emask_positive),
    "emask-": (lambda *args: emask_negative(*args, MASK), context_emask_negative),
}
TO_5 = [[11, 12, 13, 14, 15][:n] for n in range(1, 6)]


def context_batch(sequences, importance, width=WIDTH):
    item_seq, lengths = batch(sequences, width=width)
    return item_seq, lengths, Importance.of(pad(importance, width, value=0.0), lengths, scope="context")


def check_context(name, sequences, importance, percent):
    operator, transcription = CONTEXT[name]
    views = unpad(operator(*context_batch(sequences, importance), percent / 100))
    expected = [transcription(seq, scores, percent) for seq, scores in zip(sequences, importance)]
    # One that takes no part equals its sequence, which is how it is told.
    assert views == [sequence if view is None else view for view, sequence in zip(expected, sequences)]
    return expected


@pytest.mark.parametrize("percent", [10, 25, 34, 50, 75, 99, 100])
@pytest.mark.parametrize("name", CONTEXT)
def test_without_the_last_item_lengths_1_to_5_equal_the_looped_transcription(name, percent):
    for top in range(5):  # the last item is the most important one, or another is
        importance = [[1.0 + (i == top) * 9 - 0.1 * i for i in range(n)] for n in range(1, 6)]
        check_context(name, TO_5, importance, percent)


@pytest.mark.parametrize("name", CONTEXT)
@PROPERTY
@given(batches(), percents)
def test_without_the_last_item_guided_operators_equal_their_looped_transcription(name, example, percent):
    check_context(name, *example, percent)


def test_without_the_last_item_views_by_hand():
    # k = floor(0.5 * (n - 1)) is 2, 1 and 0.
    assert check_context("ecrop+", ITEMS, SCORES, 50) == [[2, 4, 5], [7, 9], [6]]
    assert check_context("ecrop-", ITEMS, SCORES, 50) == [[1, 3], [8], None]
    assert check_context("emask+", ITEMS, SCORES, 50) == [[MASK, 2, MASK, 4, 5], [7, MASK, 9], [6]]
    assert check_context("emask-", ITEMS, SCORES, 50) == [[1, MASK, 3, MASK, MASK], [MASK, 8, MASK], None]
    assert check_context("ecrop-", [[1, 2]], [[5.0, 1.0]], 50) == [None]
    assert check_context("emask-", [[1, 2]], [[5.0, 1.0]], 50) == [[1, MASK]]


@PROPERTY
@given(batches(), percents, seeds)
def test_without_the_last_item_ereorder_moves_only_the_least_important_of_the_others(example, percent, seed):
    sequences, importance = example
    made = context_batch(sequences, importance)
    views = unpad(ereorder_positive(*made, percent / 100, noise(len(sequences), seed)))
    for view, sequence, scores in zip(views, sequences, importance):
        lowest = looped_lowest(scores[:-1], percent * (len(sequence) - 1) // 100)
        assert {i for i in range(len(sequence)) if view[i] != sequence[i]} <= set(lowest)
        assert sorted(view) == sorted(sequence)


def test_without_the_last_item_ereorder_gives_every_order_of_the_least_important_of_the_others():
    made = context_batch([[1, 2, 3, 4, 5]] * 3000, [[1.0, 3.0, 2.0, 9.0, 0.0]] * 3000)
    counts = Counter(tuple(view) for view in unpad(ereorder_positive(*made, 0.75, noise(3000))))
    assert is_uniform(counts, [(a, b, c, 4, 5) for a, b, c in permutations([1, 2, 3])])


@PROPERTY
@given(batches(), percents, seeds)
def test_without_the_last_item_drawn_views_keep_or_lose_it_and_their_lengths_are_known(example, percent, seed):
    sequences, importance = [[*seq[:-1], 50] for seq in example[0]], example[1]
    settings = {"mu_e": percent / 100, "importance_scope": "context"}
    first, second, negative = drawn(sequences, ALL, settings, importance, ["crop", "mask"], seed)
    assert all(view[-1] == 50 for views in (first, second) for view in unpad(views))
    for view, sequence in zip(unpad(negative), sequences):
        assert view == sequence or (50 not in view and set(view) - {MASK})
        assert view != sequence or len(sequence) == 1 or percent * (len(sequence) - 1) // 100 == 0


# Drawing the operators

LONG = [3, 1, 4, 1, 5, 9, 2, 6, 8]
RISING = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]


def operator_of(view):
    """The operator that made a view of LONG: crops are shorter and masks show."""
    return "crop" if len(view) < len(LONG) else "mask" if MASK in view else "reorder"


def drawn_pairs(kind, operators, times=3000):
    if kind == "random":
        views = drawn([LONG] * times, operators, random_ratios(0.6, 0.3, 0.6))
    else:
        views = drawn([LONG] * times, operators, {"mu_e": 0.5}, [RISING] * times)
    return Counter((operator_of(a), operator_of(b)) for a, b in zip(unpad(views[0]), unpad(views[1])))


@pytest.mark.parametrize("kind", ["random", "guided"])
def test_two_different_operators_make_the_positive_views_every_ordered_pair_equally_often(kind):
    assert is_uniform(drawn_pairs(kind, ALL), list(permutations(ALL, 2)))


@pytest.mark.parametrize("kind", ["random", "guided"])
@pytest.mark.parametrize("left_out", ALL)
def test_an_operator_can_be_left_out(kind, left_out):
    rest = [operator for operator in ALL if operator != left_out]
    assert is_uniform(drawn_pairs(kind, rest), list(permutations(rest, 2)))


@pytest.mark.parametrize("kind", ["random", "guided"])
@pytest.mark.parametrize("alone", ALL)
def test_one_operator_alone_makes_both_views(kind, alone):
    assert set(drawn_pairs(kind, [alone], 50)) == {(alone, alone)}


def test_one_random_operator_alone_makes_two_independent_views():
    first, second = drawn([LONG] * 50, ["mask"], random_ratios(0.6, 0.5, 0.6))
    assert not torch.equal(first[0], second[0])


def test_operators_are_drawn_for_each_instance_and_act_with_their_own_ratio():
    views = drawn([LONG] * 60, ALL, random_ratios(0.34, 0.12, 1.0))
    for view in unpad(views[0]) + unpad(views[1]):
        if operator_of(view) == "crop":
            assert len(view) == 3
        elif operator_of(view) == "mask":
            assert view.count(MASK) == 1
        else:
            assert sorted(view) == sorted(LONG)


def test_negative_operators_are_drawn_equally_often():
    *_, view = drawn([LONG] * 3000, ALL, {"mu_e": 0.5}, [RISING] * 3000, ["crop", "mask"])
    counts = Counter(tuple(items) for items in unpad(view))
    assert is_uniform(counts, [tuple(LONG[:4]), (*LONG[:5], MASK, MASK, MASK, MASK)])


@pytest.mark.parametrize(
    ("operator", "expected"), [("crop", [[1, 3], [8]]), ("mask", [[1, MASK, 3, MASK, 5], [MASK, 8, 9]])]
)
def test_one_negative_operator_alone_makes_all_negative_views(operator, expected):
    (view,) = drawn(ITEMS[:2], [], {"mu_e": 0.5}, SCORES[:2], [operator])
    assert unpad(view) == expected


@pytest.mark.parametrize("operator", ["crop", "mask"])
def test_where_k_is_0_the_negative_view_is_the_sequence(operator):
    # floor(0.4 * n) is 0, 0 and 1.
    sequences = [[5], [5, 6], [5, 6, 7]]
    (view,) = drawn(sequences, [], {"mu_e": 0.4}, [[1.0], [1.0, 2.0], [1.0, 2.0, 3.0]], [operator])
    assert [made == given for made, given in zip(unpad(view), sequences)] == [True, True, False]


def test_with_mu_e_of_1_ecrop_negative_is_the_sequence():
    (view,) = drawn([[5, 6]], [], {"mu_e": 1.0}, [[1.0, 2.0]], ["crop"])
    assert unpad(view) == [[5, 6]]


# The host and the device


@PROPERTY
@given(batches(), st.integers(0, 2**32))
def test_ranks_are_those_of_a_sort_by_score_and_then_by_noise(example, seed):
    sequences, importance = example
    lengths, numbers = torch.tensor([len(seq) for seq in sequences]), noise(len(sequences), seed)[:, :WIDTH]
    ranks = Importance.of(pad(importance, value=0.0), lengths, numbers).ranks.tolist()
    for row, (scores, n) in enumerate(zip(importance, lengths.tolist())):
        order = sorted(range(n), key=lambda i: (scores[i], numbers[row, i]))
        assert [ranks[row][i] for i in order] == list(range(n))
        assert min(ranks[row][n:], default=WIDTH) >= n


@pytest.mark.parametrize("length", [1, 2, 17, 30, 50])
def test_without_the_last_item_padding_of_any_width_ranks_after_it_in_order(length):
    lengths, scores = torch.tensor([length]), torch.rand(1, 50, generator=torch.Generator().manual_seed(length))
    ranks = Importance.of(scores, lengths, scope="context").ranks[0]
    assert ranks[length - 1 :].tolist() == list(range(length - 1, 50))
