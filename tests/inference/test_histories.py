"""Histories in data frames of any kind and in Parquet, and recommendations that come back in the same kind."""

import sys
from datetime import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from recbole_ec4srec.commands import ec4srec
from recbole_ec4srec.data.identity import remember
from recbole_ec4srec.errors import ConfigError, DataError
from recbole_ec4srec.inference import TrainedModel, explain_sequences, read_histories, recommend
from recbole_ec4srec.inference.histories import histories_of

KINDS = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "arrow": pa.table}
LONG = {"user": ["b", "a", "b", "a"], "item": ["i3", "i1", "i4", "i2"], "timestamp": [9, 2, 5, 1]}
LISTS = {"user": ["b", "a"], "items": [["i4", "i3"], ["i2", "i1"]]}
OF_USERS = {"b": ["i4", "i3"], "a": ["i2", "i1"]}


@pytest.fixture(scope="module")
def saved():
    return {}


@pytest.fixture
def checkpoint(saved, experiment, tmp_path_factory):
    if not saved:
        small = experiment("EC4SRec", checkpoint_dir=str(tmp_path_factory.mktemp("saved")))
        remember(small.model, small.train_data._dataset)
        small.trainer._save_checkpoint(0, verbose=False)
        saved["file"] = small.trainer.saved_model_file
    return saved["file"]


@pytest.fixture
def trained(checkpoint):
    return TrainedModel(checkpoint)


def by_user(table):
    return {user: items.tolist() for user, items in table.groupby("user")["item"]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "columns",
    [
        LONG,
        {**LONG, "timestamp": [datetime(2024, 1, day) for day in LONG["timestamp"]]},
        {**LONG, "timestamp": ["9", "2.5", "5", "1e0"]},
        LISTS,
        {**LISTS, "items": ["i4 i3", "i2  i1"]},
        {"user_id": ["b", "a", "b", "a"], "item_id": ["i4", "i2", "i3", "i1"], "other": [None] * 4},
    ],
    ids=["times", "dates", "times as text", "lists", "text", "in their order"],
)
def test_data_frames_of_each_kind_are_read(kind, columns):
    assert by_user(histories_of(KINDS[kind](columns)).table()) == OF_USERS


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_may_name_users_and_items(kind):
    table = histories_of(KINDS[kind]({"user": [7, 7, 2**60 + 1], "item": [10, 2, 3]})).table()
    assert table["user"].tolist() == [7, 7, 2**60 + 1] and table["item"].tolist() == ["10", "2", "3"]
    lists = histories_of(KINDS[kind]({"user": [7], "items": [[10, 2]]})).table()
    assert lists["item"].tolist() == ["10", "2"]


def test_columns_may_have_the_names_of_the_training():
    config = {"USER_ID_FIELD": "who", "ITEM_ID_FIELD": "what", "TIME_FIELD": "at", "LIST_SUFFIX": "_seq"}
    frame = pl.DataFrame({"who": ["a", "a"], "what": ["x", "y"], "at": [2, 1], "user": ["c", "d"]})
    assert by_user(histories_of(frame, config).table()) == {"a": ["y", "x"]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "columns, message",
    [
        (
            {"name": ["a"], "thing": ["x"]},
            "histories: needs the columns user and item, or user and items; it has name,",
        ),
        ({"user": ["a", None], "item": ["x", "y"]}, "histories: row 1 (counted from 0) has no user"),
        ({"user": ["a", "b"], "item": ["x", None]}, "histories: row 1 (counted from 0) has no item"),
        ({"user": [1, 2, None], "items": [["x"]] * 3}, "histories: row 2 (counted from 0) has no user"),
        (
            {**LONG, "timestamp": ["1", "2", "noon", "3"]},
            "row 2 (counted from 0) has 'noon' as timestamp, allowed is a",
        ),
        ({**LONG, "timestamp": [1.0, 2.0, None, 3.0]}, "row 2 (counted from 0) has "),
        ({**LONG, "timestamp": [datetime(2024, 1, 1), None, None, None]}, "row 1 (counted from 0) has no timestamp"),
        (
            {"user": ["a", "a"], "items": [["x"], ["y"]]},
            "row 1 (counted from 0) is another history of user 'a', allowed",
        ),
    ],
)
def test_rows_that_do_not_fit_are_refused(kind, columns, message):
    with pytest.raises(DataError) as error:
        histories_of(KINDS[kind](columns))
    assert message in str(error.value)


@pytest.mark.parametrize("given", [[("a", "x")], {"user": ["a"]}, pl.LazyFrame(LONG), None])
def test_what_is_no_data_frame_is_refused_by_name(given):
    with pytest.raises(
        DataError, match=f"histories: got a .*{type(given).__name__}, allowed is a data frame of pandas"
    ):
        histories_of(given)


@pytest.mark.parametrize("columns", [LONG, LISTS], ids=["long", "lists"])
@pytest.mark.parametrize("filter_seen", [False, True])
def test_recommendations_come_back_in_the_kind_that_was_given(columns, filter_seen, trained):
    options = {"topk": 5, "filter_seen": filter_seen}
    expected, counts = recommend(trained, pd.DataFrame(columns), **options)
    first, second = ("a", "b") if "timestamp" in columns else ("b", "a")  # whose first interaction is the first
    assert expected["user"].tolist() == [first] * 5 + [second] * 5
    for make in KINDS.values():
        frame, counted = recommend(trained, make(columns), **options)
        assert type(frame) is type(make(columns)) and counted == counts
        table = frame if make is pd.DataFrame else frame.to_pandas()
        pd.testing.assert_frame_equal(table, expected)


def test_the_types_of_columns(trained):
    frame, _ = recommend(trained, pl.DataFrame(LISTS), topk=2)
    assert frame.schema == {"user": pl.String, "rank": pl.Int64, "item": pl.String, "score": pl.Float32}
    frame, _ = recommend(trained, pa.table(LISTS), topk=2)
    assert [str(kind) for kind in frame.schema.types] == ["string", "int64", "string", "float"]
    frame, _ = recommend(trained, pd.DataFrame(LISTS, index=[5, 5]), topk=2)
    assert frame.index.tolist() == [0, 1, 2, 3] and frame.dtypes.tolist() == [object, np.int64, object, np.float32]


@pytest.mark.parametrize("kind", KINDS)
def test_users_keep_their_type(kind, trained):
    given = KINDS[kind]({"user": [2**60 + 1, 7], "items": [["i4"], ["i3"]]})
    frame, _ = recommend(trained, given, topk=1)
    assert list(frame["user"].to_numpy()) == [2**60 + 1, 7]
    days = KINDS[kind]({"user": [datetime(2024, 1, 2), datetime(2024, 1, 1)], "items": [["i4"], ["i3"]]})
    frame, _ = recommend(trained, days, topk=1)
    assert str(frame["user"].to_numpy()[0]).startswith("2024-01-02")


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_history_or_a_known_item_there_is_an_empty_data_frame(kind, trained):
    for frame in ({"user": ["a"], "item": ["nothing"]}, {"user": ["a"], "items": [[]]}):
        given = KINDS[kind](frame)
        table, counts = recommend(trained, given)
        assert type(table) is type(given) and len(table) == 0
        assert list(getattr(table, "column_names", table.columns)) == ["user", "rank", "item", "score"]
    assert counts == {"users": 0, "unknown": 0, "unknown_items": 0, "left_out": 0}


@pytest.mark.parametrize("kind", KINDS)
def test_histories_in_any_data_frame_are_explained(kind, trained):
    found = explain_sequences(trained, KINDS[kind](LONG), topk=1)
    assert {each.user: each.history for each in found} == OF_USERS


# --- Parquet ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [LONG, LISTS, {**LONG, "timestamp": [datetime(2024, 1, d) for d in (9, 2, 5, 1)]}])
def test_parquet_is_read(columns, tmp_path):
    parquet.write_table(pa.table(columns), tmp_path / "h.parquet")
    assert by_user(read_histories(tmp_path / "h.parquet")) == OF_USERS


def test_a_parquet_file_that_does_not_fit_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "h.parquet"
    parquet.write_table(pa.table({"user": [1, None], "item": ["x", "y"]}), file)
    with pytest.raises(DataError, match=r"h.parquet: row 1 \(counted from 0\) has no user"):
        read_histories(file)
    for content in (b"user,item\na,x\n", b"", file.read_bytes()[:-9]):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"h.parquet: cannot be read as parquet \("):
            read_histories(file)
    with pytest.raises(FileNotFoundError):
        read_histories(tmp_path / "none.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"h.parquet: needs pyarrow, which is not installed: pip install pyarrow"):
        read_histories(file)


def test_the_command_recommends_from_parquet_to_parquet(checkpoint, tmp_path, capsys, monkeypatch):
    parquet.write_table(pa.table({"user": [11, 5], "items": [["i4"], ["i3", "i9"]]}), tmp_path / "h.parquet")
    asked = ["recommend", f"--checkpoint={checkpoint}", f"--input={tmp_path / 'h.parquet'}", "--topk=3", "-q"]
    ec4srec.main([*asked, f"--output={tmp_path / 'best.parquet'}"])
    ec4srec.main([*asked, f"--output={tmp_path / 'best.csv'}"])
    best = parquet.read_table(tmp_path / "best.parquet")
    assert [str(kind) for kind in best.schema.types] == ["int64", "int64", "string", "float"]
    assert best["user"].to_pylist() == [11, 11, 11, 5, 5, 5]
    pd.testing.assert_frame_equal(best.to_pandas(), pd.read_csv(tmp_path / "best.csv"), check_dtype=False)
    ec4srec.main(["explain", f"--checkpoint={checkpoint}", f"--input={tmp_path / 'h.parquet'}", "--topk=1"])
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("user")] == ["user 11", "user 5"]
    (tmp_path / "h.csv").write_text("user,item\n11,i4\n")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SystemExit) as end:
        ec4srec.main(["recommend", "--checkpoint=none", "--input=h.csv", "--output=best.parquet"])
    assert end.value.code == 1
    assert capsys.readouterr().err == (
        "error: --output=best.parquet needs pyarrow, which is not installed: pip install pyarrow\n"
    )
