"""Generated data like MovieLens-1M's: its numbers, and that the last item tells of the next one."""

import numpy as np
import pandas as pd
import pytest
from like_ml1m import FOLLOWS, clusters_of, lengths_of_users, sequences, write
from recbole.config import Config
from recbole.data import create_dataset

SMALL = {"users": 200, "items": 120, "interactions": 6_000, "shortest": 9, "longest": 100, "clusters": 12}


def history(seed=1, **sizes):
    return pd.DataFrame(dict(zip(["user", "item", "time"], sequences(seed, **{**SMALL, **sizes}))))


def test_the_lengths_are_as_many_as_long_and_as_uneven_as_movielens_1ms():
    lengths = lengths_of_users(6_040, 1_000_209, 18, 2_314)
    assert (len(lengths), lengths.sum(), lengths.max()) == (6_040, 1_000_209, 2_314)
    assert 18 <= lengths.min() <= 20
    quarter, half, three_quarters = np.quantile(lengths, [0.25, 0.5, 0.75])  # of MovieLens-1M: 44, 96, 208
    assert 35 < quarter < 60 and 85 < half < 110 and 170 < three_quarters < 220


def test_the_numbers_are_those_that_were_asked_for():
    made = history()
    lengths = made["user"].value_counts()
    assert (len(made), made["user"].nunique(), made["item"].nunique()) == (6_000, 200, 120)
    assert lengths.max() == 100 and lengths.min() >= 9 and lengths.median() < lengths.mean()


def test_users_stand_together_in_the_order_of_time_and_have_no_item_twice():
    made = history()
    assert made["user"].is_monotonic_increasing
    assert (made.groupby("user")["time"].diff().dropna() > 0).all()
    assert made["time"].max() < 2**24  # a float holds it exactly
    assert not made.duplicated(["user", "item"]).any()


def test_a_user_may_have_all_items_but_one():
    assert history(longest=119)["user"].value_counts().max() == 119


def test_a_few_items_are_popular():
    counts = history()["item"].value_counts()
    assert counts.iloc[:12].sum() > 2 * 12 * counts.mean()
    assert counts.min() >= 5


def test_the_next_item_mostly_is_of_a_successor_of_the_last_ones_cluster():
    made = history(longest=30, interactions=4_000)
    cluster, successors = clusters_of(np.random.default_rng(1), SMALL["items"], SMALL["clusters"])
    of = cluster[made["item"]]
    same_user = made["user"].to_numpy()[1:] == made["user"].to_numpy()[:-1]
    follows = (successors[of[:-1]] == of[1:, None]).any(1)[same_user]
    by_chance = (successors[of[:-1]] == np.random.default_rng(2).permutation(of)[1:, None]).any(1)[same_user]
    assert follows.mean() > 0.9 * FOLLOWS > 2 * by_chance.mean()


def test_the_seed_decides():
    assert history(1).equals(history(1))
    assert not history(1).equals(history(2))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"longest": 120}, "less than 120"), ({"interactions": 1_000}, "1000 interactions of 200 users")],
)
def test_numbers_that_do_not_go_together_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        history(**sizes)


def test_recbole_reads_the_file(tmp_path):
    assert write(tmp_path, 1, **SMALL) == tmp_path / "like-ml-1m" / "like-ml-1m.inter"
    dataset = create_dataset(Config("EC4SRec", "like-ml-1m", config_dict={"data_path": str(tmp_path)}))
    assert (dataset.user_num - 1, dataset.item_num - 1, dataset.inter_num) == (200, 120, 6_000)
