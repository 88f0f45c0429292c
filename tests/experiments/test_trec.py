"""Runs in the format of TREC: read again by hand, and by ranx."""

import numpy as np
import pytest
from conftest import ROOT

from recbole_ec4srec.experiments import __main__ as command
from recbole_ec4srec.experiments import records
from recbole_ec4srec.experiments.records import metric_of, ranks
from recbole_ec4srec.experiments.trec import run_lines


def test_the_target_stands_at_its_rank_after_others():
    assert list(run_lines(np.array([2, 1, 101]), "a")) == [
        "1 Q0 other1 1 100 a",
        "1 Q0 target 2 99 a",
        "2 Q0 target 1 100 a",
        "3 Q0 other1 1 100 a",
    ]


@pytest.fixture
def written(tmp_path):
    """The folder of the files for ml-100k, made from the repository's records."""
    (tmp_path / "records").symlink_to(ROOT / "results" / "records")
    arguments = ["--datasets", "ml-100k", "--rows", "control", "DuoRec", f"--output={tmp_path}", "-q"]
    assert command.main(["trec", *arguments]) == 0
    return tmp_path / "trec"


def of_ml_100k():
    every_record = records.read_all(ROOT / "results")
    return {records.name_of(record): record for record in every_record if record["dataset"] == "ml-100k"}


def test_every_user_has_the_rank_of_the_record(written):
    assert (written / "ml-100k.qrels").read_text().splitlines()[942] == "943 0 target 1"
    for file in written.glob("*seed1.trec"):
        lines = file.read_text().splitlines()
        place = {int(words[0]): int(words[3]) for words in map(str.split, lines) if words[2] == "target"}
        expected = ranks(of_ml_100k()[file.stem])
        assert place == {user: rank for user, rank in enumerate(expected.tolist(), 1) if rank <= 100}


@pytest.mark.slow
def test_ranx_computes_the_same_metrics(written):
    ranx = pytest.importorskip("ranx")
    qrels = ranx.Qrels.from_file(str(written / "ml-100k.qrels"), kind="trec")
    files = list(written.glob("*seed1.trec"))
    assert len(files) == 2
    for file in files:
        found = ranx.evaluate(qrels, ranx.Run.from_file(str(file), kind="trec"), ["hit_rate@10", "ndcg@10", "mrr@20"])
        expected = [
            metric_of(ranks(of_ml_100k()[file.stem]), metric).mean() for metric in ("hit@10", "ndcg@10", "mrr@20")
        ]
        assert list(found.values()) == pytest.approx(expected, abs=1e-9)
