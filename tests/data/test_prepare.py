"""RecBole's files from the publishers' formats, on files of a few lines."""

import gzip
import json

import numpy as np
import pytest

from recbole_ec4srec.data import prepare

# Five users and five items with all 25 pairs: a 5-core as it stands.
PAIRS = [(f"U{u}", f"B00{i}", 1_400_000_000 + 100 * i + u) for u in range(5) for i in range(5)]


def amazon_json(pairs):
    lines = [
        {"reviewerID": u, "asin": i, "reviewText": "good, \tI say", "overall": 5.0, "unixReviewTime": t}
        for u, i, t in pairs
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


def amazon_literals(pairs):
    return "".join(
        f"{{'reviewerID': '{u}', 'asin': '{i}', 'helpful': [0, 0], 'unixReviewTime': {t}}}\n" for u, i, t in pairs
    )


def amazon_csv(pairs):
    return "".join(f"{u},{i},5.0,{t}\n" for u, i, t in pairs)


def movielens(pairs):
    return "".join(f"{u}::{i}::5::{t}\n" for u, i, t in pairs)


FORMATS = [amazon_json, amazon_literals, amazon_csv, movielens]


def end_of(arguments):
    try:
        return prepare.main(arguments)
    except SystemExit as end:
        return end.code


def run(tmp_path, text, capsys, name="amazon-beauty", zipped=False):
    file = tmp_path / "published"
    file.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    status = end_of([name, str(file), f"--output={tmp_path}"])
    written = tmp_path / name / f"{name}.inter"
    rows = [line.split("\t") for line in written.read_text().splitlines()] if written.exists() else None
    return status, rows, capsys.readouterr()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("published", FORMATS)
def test_every_format_gives_recboles_file_in_the_order_of_time(published, zipped, tmp_path, capsys):
    status, (header, *rows), shown = run(tmp_path, published(PAIRS[::-1]), capsys, zipped=zipped)
    assert status is None
    assert header == ["user_id:token", "item_id:token", "timestamp:float"]
    assert {tuple(row) for row in rows} == {(u, i, str(t)) for u, i, t in PAIRS}
    for user in {row[0] for row in rows}:
        assert [row[1] for row in rows if row[0] == user] == [f"B00{i}" for i in range(5)]
    assert "25 interactions read" in shown.err and "broken" not in shown.err
    assert "users: 5, DIFFERS from Table 2's 22363 by -22358" in shown.err


def test_counts_that_agree_say_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(prepare.COUNTS, "ml-1m", (5, 5, 25))
    _, _, shown = run(tmp_path, movielens(PAIRS), capsys, "ml-1m")
    assert shown.err.count("as in Table 2") == 3


def test_the_first_of_repeated_items_stays():
    user, item, time = np.array([0, 0, 0, 1]), np.array([3, 3, 4, 3]), np.array([9.0, 2.0, 5.0, 1.0])
    assert prepare.select(user, item, time, core=1).tolist() == [1, 2, 3]


def test_equal_times_keep_the_order_of_the_file():
    rows = prepare.select(np.zeros(4, dtype=int), np.array([7, 5, 6, 4]), np.array([1.0, 1.0, 0.0, 1.0]), core=1)
    assert rows.tolist() == [2, 0, 1, 3]


def test_filtering_goes_on_to_its_fixed_point():
    # Item 9 has one user only; without it user 2 has one item, and without that user item 1 has one user.
    user, item = np.array([0, 0, 1, 1, 2, 2]), np.array([3, 4, 3, 4, 1, 9])
    user, item = np.append(user, 0), np.append(item, 1)
    assert prepare.select(user, item, np.arange(7.0), core=2).tolist() == [0, 1, 2, 3]


def test_broken_lines_are_counted_and_named(tmp_path, capsys):
    lines = amazon_json(PAIRS).splitlines()
    broken = [
        "{not json",
        '{"asin": "B1", "unixReviewTime": 3}',
        '{"reviewerID": "A", "asin": "B1", "unixReviewTime": "x"}',
        "[]",
    ]
    status, rows, shown = run(tmp_path, "\n".join([*lines[:2], *broken, "", *lines[2:]]), capsys)
    assert status is None and len(rows) == 26
    assert "4 broken lines of 29 are left out:" in shown.err
    for named in (
        "line 3: no JSON object",
        "line 4: no reviewerID",
        "line 5: no usable timestamp: 'x'",
        "line 6: no JSON object",
    ):
        assert named in shown.err


def test_many_broken_lines_are_all_numbered(tmp_path, capsys):
    _, _, shown = run(tmp_path, amazon_csv(PAIRS) + "a,b\n" * 13, capsys)
    assert "line 26: 2 fields where user, item, rating, timestamp were expected" in shown.err
    assert "and lines 36, 37, 38" in shown.err


def test_of_very_many_broken_lines_only_the_first_are_numbered(tmp_path, capsys):
    _, _, shown = run(tmp_path, amazon_csv(PAIRS) + "a,b\n" * 5000, capsys)
    assert "5000 broken lines of 5025 are left out:" in shown.err
    assert "134, 135 and 4890 more" in shown.err and max(map(len, shown.err.splitlines())) < 1000


def test_a_file_of_another_format_is_refused_in_one_line(tmp_path, capsys):
    status, rows, shown = run(tmp_path, "user\titem\n" + "a\tb\n" * 5000, capsys)
    assert status == 1 and rows is None
    (line,) = shown.err.splitlines()
    assert "none of 5001 lines is an interaction, as line 1: 1 fields where user, item, rating, timestamp" in line


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("published", FORMATS)
def test_a_byte_order_mark_is_read_over(published, zipped, tmp_path, capsys):
    status, rows, shown = run(tmp_path, "\ufeff" + published(PAIRS), capsys, zipped=zipped)
    assert status is None and len(rows) == 26 and "broken" not in shown.err
    assert not any("\ufeff" in token for row in rows for token in row)


@pytest.mark.parametrize("time", ["nan", "inf", "", "yesterday"])
def test_a_time_that_is_none_is_broken(time, tmp_path, capsys):
    _, _, shown = run(tmp_path, amazon_csv([*PAIRS, ("U9", "B9", time)]), capsys)
    assert "line 26: no usable timestamp" in shown.err


def test_nothing_left_or_nothing_there_is_an_error(tmp_path, capsys):
    status, rows, shown = run(tmp_path, amazon_csv(PAIRS[:7]), capsys)
    assert status == 1 and rows is None and "of 7 interactions none is left in the 5-core" in shown.err
    assert end_of(["ml-1m", str(tmp_path / "absent"), f"--output={tmp_path}"]) == 1
    assert "absent" in capsys.readouterr().err
    torn = tmp_path / "torn.gz"
    torn.write_bytes(gzip.compress(amazon_csv(PAIRS).encode())[:40])
    assert end_of(["ml-1m", str(torn), f"--output={tmp_path}"]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_what_is_read_does_not_hold_the_texts(tmp_path):
    """More text is hardly more memory: ids and times are all that stays."""
    import tracemalloc

    def peak(letters):
        text = "".join(
            json.dumps(
                {"reviewerID": f"U{n % 50}", "asin": f"B{n % 60}", "unixReviewTime": n, "reviewText": "x" * letters}
            )
            + "\n"
            for n in range(2000)
        )
        (tmp_path / "reviews").write_text(text)
        tracemalloc.start()
        prepare.read(tmp_path / "reviews")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(4000) - peak(400) < 2000 * 3600 / 20
