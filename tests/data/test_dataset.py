"""Our data set gives what RecBole's SequentialDataset gives, without storing a prefix twice."""

import hashlib

import numpy as np
import pytest
import torch
from recbole.data.dataset import SequentialDataset
from recbole.utils import FeatureType

from recbole_ec4srec.data import EC4SRecDataset
from recbole_ec4srec.errors import ConfigError

SPLITS = pytest.mark.parametrize(
    "split",
    [{"LS": "valid_and_test"}, {"LS": "valid_only"}, {"LS": "test_only"}, {"RS": [0.8, 0.1, 0.1]}],
    ids=str,
)
RICH = {
    "dataset": "rich",
    "load_col": {
        "inter": ["user_id", "item_id", "timestamp", "rating", "tags", "weights"],
        "item": ["item_id", "genre", "price", "words"],
    },
}


def write(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(header), *("\t".join(str(value) for value in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def rich(tmp_path):
    """Users of 1 to 20 interactions with a rating, tags and weights; items with a genre, a price and words."""
    rng = np.random.default_rng(3)
    rows = []
    for user in range(12):
        for time in range([1, 2, 3, 20][user] if user < 4 else rng.integers(4, 11)):
            tags = " ".join(f"t{tag}" for tag in rng.integers(0, 6, rng.integers(1, 4)))
            weights = " ".join(f"{weight:.3f}" for weight in rng.random(rng.integers(1, 3)))
            # Equal time stamps: RecBole keeps the order of the file.
            rows.append((f"u{user}", f"i{rng.integers(0, 15)}", time // 2, rng.integers(1, 6) / 2, tags, weights))
    order = rng.permutation(len(rows))
    header = [
        "user_id:token",
        "item_id:token",
        "timestamp:float",
        "rating:float",
        "tags:token_seq",
        "weights:float_seq",
    ]
    write(tmp_path / "rich" / "rich.inter", header, [rows[i] for i in order])
    header = ["item_id:token", "genre:token", "price:float", "words:token_seq"]
    items = [(f"i{i}", f"g{i % 3}", i / 4, f"w{i % 2} w{i}") for i in range(15)]
    write(tmp_path / "rich" / "rich.item", header, items)
    return {"data_path": str(tmp_path), **RICH}


@pytest.fixture
def both(make_config):
    """``both(**settings)``: RecBole's data set and ours of one configuration."""

    def make(**settings):
        return SequentialDataset(make_config(**settings)), EC4SRecDataset(make_config(**settings))

    return make


def same(theirs, ours):
    """Equal fields in equal order, types and values."""
    assert ours.columns == theirs.columns
    assert len(ours) == len(theirs)
    for field in theirs:
        assert ours[field].dtype == theirs[field].dtype, field
        assert torch.equal(ours[field], theirs[field]), field


def evaluation(split):
    return {"split": split, "order": "TO", "group_by": "user", "mode": "full"}


def everything(dataset):
    return dataset[slice(None)]


@SPLITS
def test_every_split_has_recboles_rows(both, split):
    theirs, ours = (dataset.build() for dataset in both(eval_args=evaluation(split)))
    assert [len(part) for part in ours] == [len(part) for part in theirs]
    for their_part, our_part in zip(theirs, ours):
        same(everything(their_part), everything(our_part))


@SPLITS
def test_every_split_has_recboles_further_fields(both, rich, split):
    theirs, ours = (dataset.build() for dataset in both(**rich, eval_args=evaluation(split)))
    for their_part, our_part in zip(theirs, ours):
        same(everything(their_part), everything(our_part))
    fields = everything(ours[0]).columns
    assert {"rating_list", "tags_list", "weights_list", "genre", "price", "words"} <= set(fields)


@pytest.mark.parametrize("numerical", [["rating"], ["weights"]])
def test_numerical_features_have_recboles_values(both, rich, numerical):
    theirs, ours = (dataset.build() for dataset in both(**rich, numerical_features=numerical))
    for their_part, our_part in zip(theirs, ours):
        same(everything(their_part), everything(our_part))


@pytest.mark.parametrize("unused", ["timestamp", "rating"])
def test_unused_columns_are_left_out_as_by_recbole(both, rich, unused):
    theirs, ours = (dataset.build() for dataset in both(**rich, unused_col={"inter": [unused]}))
    assert unused not in everything(ours[0])
    for their_part, our_part in zip(theirs, ours):
        same(everything(their_part), everything(our_part))


def test_unused_columns_leave_the_interaction_matrix_as_it_is(both, rich):
    theirs, ours = (dataset.build()[0] for dataset in both(**rich, unused_col={"inter": ["rating"]}))
    assert np.array_equal(theirs.inter_matrix().toarray(), ours.inter_matrix().toarray())


def test_sequences_longer_than_the_limit_keep_their_last_items(both):
    theirs, ours = (dataset.build()[0] for dataset in both(MAX_ITEM_LIST_LENGTH=3))
    same(everything(theirs), everything(ours))
    batch = everything(ours)
    assert batch["item_length"].max() == 3
    # i1 … i40 in order: the last training instance of that user.
    last = batch["user_id"] == ours.token2id("user_id", "all")
    items = [ours.token2id("item_id", f"i{i}") for i in (35, 36, 37)]
    assert items in batch["item_id_list"][last].tolist()


def test_a_user_of_one_interaction_has_no_instance(both):
    _, ours = both()
    user = ours.token2id("user_id", "one")
    assert all((part.inter_feat["user_id"] != user).all() for part in ours.build())


def test_the_fields_are_known_by_recboles_names_types_and_lengths(both, rich):
    theirs, ours = both(**rich)
    theirs.build()
    ours.build()
    assert ours.field2type == theirs.field2type
    assert ours.field2source == theirs.field2source
    assert dict(ours.field2seqlen) == dict(theirs.field2seqlen)
    assert ours.field2type["tags_list"] == FeatureType.TOKEN_SEQ
    for field in ("item_id", "timestamp", "rating", "tags"):
        assert getattr(ours, f"{field}_list_field") == getattr(theirs, f"{field}_list_field")
    assert ours.item_list_length_field == theirs.item_list_length_field


@pytest.mark.parametrize(
    "index",
    [
        np.array([5, 0, 17, 5]),
        slice(3, 11),
        slice(None, None, 7),
        slice(-4, None),
        torch.tensor([9, 2, 2]),
        [4, 1],
        np.array([-1, 3]),
    ],
    ids=str,
)
def test_rows_are_chosen_as_from_recboles(both, rich, index):
    theirs, ours = (dataset.build()[0] for dataset in both(**rich))
    same(theirs[index], ours[index])
    same(theirs.__getitem__(index, join=False), ours.__getitem__(index, join=False))


def test_a_mask_chooses_rows(both):
    _, ours = both()
    train = ours.build()[0]
    mask = train.inter_feat["item_id"] == 3
    same(train[mask.nonzero(as_tuple=True)[0]], train[mask])
    same(train[mask], train[mask.numpy()])


@pytest.mark.parametrize("value_field", [None, "rating"])
@pytest.mark.parametrize("form", ["coo", "csr"])
def test_the_interaction_matrix_is_recboles(both, rich, form, value_field):
    theirs, ours = (dataset.build() for dataset in both(**rich))
    for their_part, our_part in zip(theirs, ours):
        expected, found = their_part.inter_matrix(form, value_field), our_part.inter_matrix(form, value_field)
        assert found.format == form
        assert np.array_equal(found.toarray(), expected.toarray())
    assert ours[0].inter_matrix().sum() > 0


def test_the_statistics_are_recboles(both):
    theirs, ours = both()
    theirs.build()
    ours.build()
    assert (ours.user_num, ours.item_num, ours.inter_num) == (theirs.user_num, theirs.item_num, theirs.inter_num)
    assert ours.item_counter == theirs.item_counter
    assert str(ours) == str(theirs)


def test_no_window_is_stored(both, rich):
    _, ours = both(**rich)
    for part in ours.build():
        assert not [field for field in part.inter_feat if field.endswith("_list")]


def test_all_splits_share_one_history(both):
    _, ours = both()
    train, valid, test = ours.build()
    for field in train.history:
        assert train.history[field].data_ptr() == valid.history[field].data_ptr() == test.history[field].data_ptr()


def test_item_sequences_are_the_windows_alone(both, rich):
    _, ours = both(**rich)
    train = ours.build()[0]
    rows = torch.tensor([8, 3, 3, 20])
    item_seq, item_seq_len = train.item_sequences(rows)
    assert torch.equal(item_seq, train[rows]["item_id_list"])
    assert torch.equal(item_seq_len, train[rows]["item_length"])
    assert torch.equal(train.item_seq_len, everything(train)["item_length"])


def test_a_batch_can_be_changed_without_changing_the_data(both):
    _, ours = both()
    train = ours.build()[0]
    before = everything(train)
    for values in everything(train).interaction.values():
        values.fill_(-1)
    for values in train.item_sequences(torch.arange(len(train))):
        values.fill_(-1)
    same(before, everything(train))


def fingerprint(dataset):
    """A hash of all that is stored, byte for byte."""
    stored = [*dataset.history.interaction.items(), *dataset.inter_feat.interaction.items()]
    return {field: hashlib.sha256(values.numpy().tobytes()).hexdigest() for field, values in stored}


@pytest.mark.parametrize("model", ["EC4SRec", "CL4SRec"])
def test_training_does_not_change_the_stored_sequences(experiment, model):
    e = experiment(model)
    before = fingerprint(e.train_data._dataset)
    e.fit(saved=False)
    assert fingerprint(e.train_data._dataset) == before


def test_the_interaction_matrix_of_training_on_sequences_is_the_same(experiment):
    matrices = [
        experiment("EC4SRec", train_on=train_on, MAX_ITEM_LIST_LENGTH=3).train_data._dataset.inter_matrix().toarray()
        for train_on in ("prefixes", "sequences")
    ]
    assert matrices[0].sum() > 0 and np.array_equal(*matrices)


# Files that are split already (benchmark_filename) come with their windows.


@pytest.fixture
def split_files(tmp_path):
    rng = np.random.default_rng(4)
    for part, n in (("train", 20), ("valid", 5), ("test", 6)):
        rows = [
            (f"u{rng.integers(0, 6)}", " ".join(f"i{i}" for i in rng.integers(0, 10, rng.integers(1, 6))), f"i{target}")
            for target in rng.integers(0, 10, n)
        ]
        header = ["user_id:token", "item_id_list:token_seq", "item_id:token"]
        write(tmp_path / "cut" / f"cut.{part}.inter", header, rows)
    return {
        "data_path": str(tmp_path),
        "dataset": "cut",
        "benchmark_filename": ["train", "valid", "test"],
        "alias_of_item_id": ["item_id_list"],
        "load_col": {"inter": ["user_id", "item_id_list", "item_id"]},
        "topk": [5],
        "valid_metric": "NDCG@5",
    }


def test_files_that_are_split_already_are_read_as_by_recbole(both, split_files):
    theirs, ours = (dataset.build() for dataset in both(**split_files))
    assert [len(part) for part in ours] == [20, 5, 6]
    for their_part, our_part in zip(theirs, ours):
        same(everything(their_part), everything(our_part))
        rows = torch.tensor([4, 0])
        same(their_part[rows], our_part[rows])
        item_seq, item_seq_len = our_part.item_sequences(rows)
        assert torch.equal(item_seq, their_part[rows]["item_id_list"])
        assert torch.equal(item_seq_len, their_part[rows]["item_length"])


def test_lists_of_split_files_keep_their_last_items(both, tmp_path):
    header = ["buyer:token", "thing_seq:token_seq", "at_seq:float_seq", "thing:token", "at:float"]
    rows = [("u", "a b c d", "1 2 3 4", "e", 5), ("u", "b", "2", "a", 3), ("v", "c a b", "7 8 9", "d", 9)]
    for part in ("train", "valid", "test"):
        write(tmp_path / "cut" / f"cut.{part}.inter", header, rows)
    settings = {
        "data_path": str(tmp_path),
        "dataset": "cut",
        "benchmark_filename": ["train", "valid", "test"],
        "alias_of_item_id": ["thing_seq"],
        "load_col": None,
        "USER_ID_FIELD": "buyer",
        "ITEM_ID_FIELD": "thing",
        "TIME_FIELD": "at",
        "LIST_SUFFIX": "_seq",
        "MAX_ITEM_LIST_LENGTH": 3,
    }
    for dataset in both(**settings):
        for part in dataset.build():
            batch = everything(part)
            items = [[dataset.id2token("thing", item) for item in row] for row in batch["thing_seq"].tolist()]
            assert items == [["b", "c", "d"], ["b", "[PAD]", "[PAD]"], ["c", "a", "b"]]
            assert batch["at_seq"].tolist() == [[2, 3, 4], [2, 0, 0], [7, 8, 9]]
            assert batch["item_length"].tolist() == [3, 1, 3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_on": "sequences"}, "train_on: got 'sequences', allowed is prefixes with benchmark_filename"),
        ({"repeatable": False, "MAX_ITEM_LIST_LENGTH": 2}, "repeatable: got False, allowed is True where .*cut"),
    ],
)
def test_what_needs_whole_histories_is_refused_with_files_that_are_split_already(
    experiment, split_files, settings, message
):
    with pytest.raises(ConfigError, match=message):
        experiment("EC4SRec", **split_files, **settings)


def test_files_that_are_split_already_can_be_trained_on(experiment, split_files):
    e = experiment("EC4SRec", **split_files)
    e.fit(saved=False)
    assert e.train_data.guided
    assert all(parameter.isfinite().all() for parameter in e.model.parameters())
