"""Sequences follow the numbers that the file has as times, exactly; of equal times the order of the file."""

import random

import pandas as pd
import pytest
from recbole.config import Config
from recbole.data import create_dataset, data_preparation

from recbole_ec4srec.errors import DataError

COLUMNS = {"inter": ["user_id", "item_id", "timestamp"]}
LEAVE_ONE_OUT = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
TIMES = {
    "seconds": lambda user, step: 1_700_000_000 + user + 20 * step,
    "milliseconds": lambda user, step: 1000 * (1_700_000_000 + user + 20 * step),
    "nanoseconds": lambda user, step: 1_700_000_000_000_000_000 + user + 20 * step,
    "integers that no machine number holds": lambda user, step: 10**30 + user + step,
    "fractions": lambda user, step: f"{1_700_000_000.25 + step / 1000:.3f}",
    "ties": lambda user, step: 1_700_000_000 + step // 3,
    "newest first": lambda user, step: 1_700_000_000 - 10 * step,
}


def write(folder, time, shuffled=True):
    """60 users of 8 items; returns their sequences in the order of time, of equal times in that of the file."""
    rows = [(f"u{user}", f"i{(3 * user + step) % 40}", time(user, step)) for user in range(60) for step in range(8)]
    if shuffled:
        random.Random(1).shuffle(rows)
    file = folder / "shop" / "shop.inter"
    file.parent.mkdir()
    file.write_text("user_id:token\titem_id:token\ttimestamp:float\n" + "".join(f"{u}\t{i}\t{t}\n" for u, i, t in rows))
    expected = {}
    for user, item, _ in sorted(rows, key=lambda row: float(row[2]) if "." in str(row[2]) else row[2]):
        expected.setdefault(user, []).append(item)
    return expected


def sequences(model, folder, **settings):
    """``{user: items}`` as the test data have them: the window and the item to be predicted."""
    given = {"data_path": str(folder), "load_col": COLUMNS, "eval_args": LEAVE_ONE_OUT, **settings}
    config = Config(model, "shop", config_dict=given)
    dataset = create_dataset(config)
    parts = data_preparation(config, dataset)
    found = {}
    if model == "BPR":  # it has no windows: training, validation and test follow each other
        for part in parts:
            table = part._dataset.inter_feat
            for user, item in zip(table["user_id"], table["item_id"]):
                found.setdefault(dataset.id2token("user_id", user), []).append(dataset.id2token("item_id", item))
        return found
    part = parts[2]._dataset
    table = part[slice(None)] if model == "EC4SRec" else part.inter_feat
    for user, window, length, item in zip(*(table[f] for f in ("user_id", "item_id_list", "item_length", "item_id"))):
        items = [*dataset.id2token("item_id", window[:length]), dataset.id2token("item_id", item)]
        found[dataset.id2token("user_id", user)] = items
    return found


@pytest.mark.parametrize("model", ["EC4SRec", "SASRec", "GRU4Rec", "BPR"])
@pytest.mark.parametrize("times", TIMES)
def test_sequences_are_in_the_order_of_the_files_times(model, times, tmp_path):
    expected = write(tmp_path, TIMES[times], shuffled=times != "newest first")
    assert sequences(model, tmp_path) == expected


@pytest.mark.parametrize(
    ("missing", "message"),
    [("", "timestamp is missing .* the first on line 482"), ("soon", "line 482 has 'soon' as timestamp")],
)
def test_a_time_that_is_missing_among_large_ones_is_refused_with_its_line(tmp_path, missing, message):
    write(tmp_path, TIMES["nanoseconds"])
    file = tmp_path / "shop" / "shop.inter"
    file.write_text(file.read_text() + f"u0\ti1\t{missing}\n")
    with pytest.raises(DataError, match=f"shop.inter: {message}"):
        sequences("EC4SRec", tmp_path)


@pytest.mark.parametrize("model", ["EC4SRec", "SASRec"])
def test_filters_and_the_removal_of_repeated_items_keep_the_order(model, tmp_path):
    first = write(tmp_path, TIMES["seconds"])
    file = tmp_path / "shop" / "shop.inter"
    late, rare = ("u0\t{}\t1900000000\n".format(first["u0"][0]), "u0\tonce\t1500000000\n")
    file.write_text(file.read_text() + late + rare + "alone\ti1\t1\n")
    settings = {"rm_dup_inter": "first", "item_inter_num_interval": "[2,inf)", "user_inter_num_interval": "[2,inf)"}
    assert sequences(model, tmp_path, **settings) == first
    assert sequences(model, tmp_path, **{**settings, "rm_dup_inter": "last"})["u0"] == [
        *first["u0"][1:],
        first["u0"][0],
    ]


def test_ids_are_numbered_by_their_place_in_the_file_and_values_are_recboles(tmp_path):
    write(tmp_path, TIMES["seconds"])
    dataset = create_dataset(Config("SASRec", "shop", config_dict={"data_path": str(tmp_path), "load_col": COLUMNS}))
    lines = (tmp_path / "shop" / "shop.inter").read_text().splitlines()[1:]
    users = list(dict.fromkeys(line.split("\t")[0] for line in lines))
    assert dataset.field2id_token["user_id"].tolist() == ["[PAD]", *users]
    assert dataset.inter_feat["timestamp"].tolist() == [float(line.split("\t")[2]) for line in lines]


@pytest.mark.parametrize("normalize_all, swapped", [(True, (83, 4)), (False, (907, 150))])
def test_ml_100k_is_in_order_where_rounding_to_32_bits_swaps(normalize_all, swapped):
    """``swapped``: users whose sequence 32-bit times change, and those of them whose test item is another one."""
    config = Config("EC4SRec", "ml-100k", config_dict={"normalize_all": normalize_all})
    dataset = create_dataset(config)
    file = pd.read_csv(f"{config['data_path']}/ml-100k.inter", sep="\t", dtype={0: str, 1: str}, usecols=[0, 1, 3])
    file.columns = ["user", "item", "time"]
    file = file[file["item"].isin(dataset.field2token_id["item_id"])]
    rounded = file["time"]
    if normalize_all:
        rounded = (rounded - rounded.min()) / (rounded.max() - rounded.min())
    exact, swaps = (
        file.assign(time=time).sort_values("time", kind="stable").groupby("user")["item"].apply(list)
        for time in (file["time"], rounded.astype("float32"))
    )
    assert ((exact != swaps).sum(), (exact.str[-1] != swaps.str[-1]).sum()) == swapped
    history = dataset.build()[0].history
    users, items = (dataset.id2token(field, history[field]) for field in ("user_id", "item_id"))
    assert pd.Series(items).groupby(users).apply(list).equals(exact)
