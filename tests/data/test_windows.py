"""``train_on: sequences``: the training instances as prefixes of windows, and batches of users."""

import numpy as np
import pytest
import torch
from conftest import write_inter

from recbole_ec4srec.data.windows import UserWindows
from recbole_ec4srec.errors import ConfigError

SEQUENCES = {"train_on": "sequences"}


@pytest.fixture
def two_users(experiment, tmp_path):
    """u1 has 10 items and u2 has 5; the last two of each are for evaluation."""
    write_inter(tmp_path, "own", {"u1": [f"i{i}" for i in range(1, 11)], "u2": ["i3", "i1", "i4", "i2", "i5"]})

    def make(model="EC4SRec", **settings):
        own = {"dataset": "own", "data_path": str(tmp_path), "topk": [5], "valid_metric": "NDCG@5"}
        return experiment(model, **own, **SEQUENCES, **settings)

    return make


def instances(dataset):
    """The instances as ``(items, next item)``, by users in external ids."""
    item_seq, lengths = dataset.item_sequences(torch.arange(len(dataset)))
    token = dataset.field2id_token["item_id"]
    found = {"u1": [], "u2": []}
    for row, n in enumerate(lengths.tolist()):
        user = dataset.id2token("user_id", int(dataset.inter_feat["user_id"][row]))
        items = [token[item] for item in item_seq[row, :n].tolist()]
        found[user].append((items, token[int(dataset.inter_feat["item_id"][row])]))
    return found


def test_a_long_sequence_is_cut_from_its_end(two_users):
    # u1 trains on i1 … i8: its windows of three places are i1, i2 i3 i4, i5 i6 i7.
    dataset = two_users(MAX_ITEM_LIST_LENGTH=3).train_data._dataset
    assert instances(dataset) == {
        "u1": [
            (["i1"], "i2"),
            (["i2"], "i3"),
            (["i2", "i3"], "i4"),
            (["i2", "i3", "i4"], "i5"),
            (["i5"], "i6"),
            (["i5", "i6"], "i7"),
            (["i5", "i6", "i7"], "i8"),
        ],
        "u2": [(["i3"], "i1"), (["i3", "i1"], "i4")],
    }


def test_validation_and_test_keep_their_last_items(two_users):
    e = two_users(MAX_ITEM_LIST_LENGTH=3)
    item_seq, lengths = e.test_data._dataset.item_sequences(torch.tensor([0]))
    assert lengths.tolist() == [3]
    assert e.dataset.id2token("item_id", item_seq[0].tolist()).tolist() == ["i7", "i8", "i9"]


def test_where_everything_fits_the_instances_are_those_of_prefixes(experiment):
    settings = {"MAX_ITEM_LIST_LENGTH": 50}
    ours = experiment("EC4SRec", **SEQUENCES, **settings).train_data._dataset
    theirs = experiment("EC4SRec", **settings).train_data._dataset
    for field in ("item_id", "user_id", "item_length", "item_id_list"):
        assert torch.equal(ours[slice(None)][field], theirs[slice(None)][field])


def test_every_next_item_is_a_target_once_an_epoch(experiment):
    e = experiment("EC4SRec", MAX_ITEM_LIST_LENGTH=4, train_batch_size=7, **SEQUENCES)
    plain = experiment("EC4SRec").train_data._dataset
    targets = torch.cat([batch["window_item_id"] for batch in e.train_data])
    assert torch.equal(targets.sort().values, plain.inter_feat["item_id"].sort().values)
    assert len(e.train_data) == -(-len(plain.inter_feat["user_id"].unique()) // 7)


def test_windows_hold_the_items_before_their_targets(two_users):
    e = two_users(MAX_ITEM_LIST_LENGTH=3, shuffle=False)
    (batch,) = e.train_data
    token = e.dataset.field2id_token["item_id"]
    windows = [
        token[row[:n]].tolist()
        for row, n in zip(batch["window_item_id_list"].numpy(), batch["window_item_length"].tolist())
    ]
    assert windows == [["i1"], ["i2", "i3", "i4"], ["i5", "i6", "i7"], ["i3", "i1"]]
    assert token[batch["window_item_id"].numpy()].tolist() == ["i2", "i3", "i4", "i5", "i6", "i7", "i8", "i1", "i4"]
    assert batch["window_user_id"].tolist() == [1, 1, 1, 2]


def test_the_instance_of_a_user_is_one_of_its_own_and_its_place_is_where_its_prefix_ends(experiment):
    e = experiment("EC4SRec", MAX_ITEM_LIST_LENGTH=4, train_batch_size=16, **SEQUENCES)
    for batch in e.train_data:
        windows, lengths = batch["window_item_id_list"], batch["window_item_length"]
        prefixes = [windows[row, : n + 1].tolist() for row in range(len(windows)) for n in range(lengths[row])]
        owners = [user for user, n in zip(batch["window_user_id"].tolist(), lengths.tolist()) for _ in range(n)]
        for row, place in enumerate(batch["place"].tolist()):
            assert batch["item_id_list"][row, : batch["item_length"][row]].tolist() == prefixes[place]
            assert batch["item_id"][row] == batch["window_item_id"][place]
            assert batch["user_id"][row] == owners[place]


def test_the_instance_of_a_user_is_drawn_uniformly_and_anew_each_epoch(two_users):
    windows = two_users().train_data.windows
    rng = np.random.default_rng(3)
    drawn = np.array([windows.draw(rng) for _ in range(3000)])  # u1 has 7 instances, u2 has 2
    for user, first, count in ((0, 0, 7), (1, 7, 2)):
        counts = np.bincount(drawn[:, user] - first, minlength=count)
        assert len(counts) == count and np.abs(counts / 3000 - 1 / count).max() < 0.03


def test_worker_processes_draw_the_same(experiment):
    alone, workers = (experiment("EC4SRec", worker=worker, **SEQUENCES) for worker in (0, 2))
    for a, b in zip(list(alone.train_data), list(workers.train_data)):
        a, b = a.with_views(), b.with_views()
        assert all(torch.equal(a[field], b[field]) for field in a)


def test_a_split_that_leaves_out_early_interactions_is_refused(experiment):
    dataset = experiment("EC4SRec").train_data._dataset
    dataset.config["train_on"] = "sequences"
    late = dataset.copy(dataset.inter_feat[torch.arange(1, len(dataset))])
    from recbole_ec4srec.data.windows import cut_into_windows

    with pytest.raises(ConfigError, match="train_on: got 'sequences', allowed is prefixes where training leaves out"):
        cut_into_windows(late)


def test_windows_of_users_are_looked_up_in_any_order(two_users):
    dataset = two_users(MAX_ITEM_LIST_LENGTH=3).train_data._dataset
    windows = UserWindows(dataset)
    rows, lengths = windows.of(np.array([1, 0]))
    assert lengths.tolist() == [2, 1, 3, 3]
    assert dataset.item_seq_len[torch.from_numpy(rows)].tolist() == [1, 2, 1, 1, 2, 3, 1, 2, 3]
