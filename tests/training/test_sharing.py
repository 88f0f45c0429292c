"""The processes of a machine have one copy of the data, which the first of them reads."""

import logging
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from small import free_port, write_inter

from recbole_ec4srec.errors import DataError
from recbole_ec4srec.training import sharing
from recbole_ec4srec.training.build import build

SETTINGS = {"ddp_backend": "gloo", "epochs": 1, "num_updates": 0, "show_progress": False}


@pytest.fixture
def data(tmp_path):
    """The folder of 1,200 interactions, whose columns are no small arrays."""
    write_inter(tmp_path / "data", "shop", {user: [(7 * user + step) % 30 for step in range(20)] for user in range(60)})
    return tmp_path / "data"


@pytest.fixture
def folder(tmp_path, data, monkeypatch):
    """Has the data; temporary files are in a folder of this test."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return tmp_path


def joined(rank, port, model, settings, **group):
    """The configuration of a process of two, which has joined the other."""
    tempfile.tempdir = None
    group = {"local_rank": rank, "offset": 0, "nproc": 2, "world_size": 2, "ip": "localhost", "port": port, **group}
    return Config(model, "shop", config_dict={**settings, **group})


def arrays_of(dataset, loaders):
    """All numbers of a data set and its parts, by name."""
    found = {}
    for name, part in {"whole": dataset, **{f"part {i}": loader._dataset for i, loader in enumerate(loaders)}}.items():
        for table in ("inter_feat", "history", "user_feat", "item_feat"):
            columns = getattr(part, table, None)
            found |= {f"{name} {table} {field}": columns[field].clone() for field in (columns or ())}
    return found


def mapped_files():
    return {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "recbole_ec4srec-" in line}


def counted(calls, name):
    """RecBole's method of a data set, whose calls are counted."""
    original = getattr(Dataset, name)

    def method(self, *args):
        calls[name] += 1
        return original(self, *args)

    return method


def read_and_split(rank, port, model, settings):
    """A process: what it has, who has read the files, and what happens when the second writes to its copy."""
    reads = defaultdict(int)
    for name in ("_load_data", "build"):
        setattr(Dataset, name, counted(reads, name))
    config = joined(rank, port, model, settings)
    built = build(config)
    datasets = [built.dataset, *(loader._dataset for loader in built[1:4])]
    assert all(dataset.config is config for dataset in datasets) and "build" not in vars(built.dataset)
    arrays = arrays_of(built.dataset, built[1:4])
    if rank == 1:
        for table in (built.train_data._dataset.inter_feat, built.dataset.inter_feat):
            table[config["ITEM_ID_FIELD"]].zero_()
    torch.distributed.barrier()
    assert rank == 1 or built.dataset.inter_feat[config["ITEM_ID_FIELD"]].any()
    left = os.listdir(tempfile.gettempdir()) if rank == 0 else None  # after the barrier at which both have mapped it
    files = mapped_files() if os.path.exists("/proc/self/maps") else {"arrays"}
    torch.save({"reads": dict(reads), "arrays": arrays, "files": len(files), "left": left}, f"results{rank}.pt")


@pytest.mark.parametrize(
    ("model", "more"),
    [("EC4SRec", {}), ("EC4SRec", {"train_on": "sequences"}), ("SASRec", {"train_neg_sample_args": None}), ("BPR", {})],
    ids=lambda value: value if isinstance(value, str) else next(iter(value.values()), ""),
)
def test_the_first_process_reads_and_splits_and_all_have_the_same(model, more, folder):
    settings = {**SETTINGS, "data_path": str(folder / "data"), **more}
    torch.multiprocessing.spawn(read_and_split, (free_port(), model, settings), nprocs=2)
    first, second = (torch.load(f"results{rank}.pt") for rank in range(2))
    alone = build(Config(model, "shop", config_dict=settings))
    expected = arrays_of(alone.dataset, alone[1:4])
    for results in (first, second):
        assert list(results["arrays"]) == list(expected)
        assert all(torch.equal(results["arrays"][name], values) for name, values in expected.items())
        assert results["files"] >= 1
    assert first["reads"] == {"_load_data": 1, "build": 1} and second["reads"] == {}
    assert [name for name in first["left"] if name.startswith("recbole_ec4srec-")] == []


def two_machines(rank, port, model, settings):
    """Each process is the first of a machine of its own."""
    reads = defaultdict(int)
    Dataset._load_data = counted(reads, "_load_data")
    build(joined(0, port, model, settings, nproc=1, offset=rank))
    torch.save(reads["_load_data"], f"reads{rank}.pt")


def test_each_machine_reads_for_itself(folder):
    settings = {**SETTINGS, "data_path": str(folder / "data")}
    torch.multiprocessing.spawn(two_machines, (free_port(), "EC4SRec", settings), nprocs=2)
    assert [torch.load(f"reads{rank}.pt") for rank in range(2)] == [1, 1]


def unreadable(rank, port, model, settings):
    config = joined(rank, port, model, settings)
    try:
        build(config)
    except DataError as error:
        Path(f"error{rank}.txt").write_text(str(error))
        time.sleep(1)  # as processes of RecBole's do here: the one that ends first must not be missed by the other


def test_data_that_cannot_be_read_is_told_by_every_process(folder):
    settings = {**SETTINGS, "data_path": str(folder / "data"), "user_inter_num_interval": "[100,inf)"}
    torch.multiprocessing.spawn(unreadable, (free_port(), "EC4SRec", settings), nprocs=2)
    first, second = (Path(f"error{rank}.txt").read_text() for rank in range(2))
    assert first == second and "user_inter_num_interval" in first


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def config(make_config):
    return make_config("CL4SRec")


def through_file(made, config):
    folder = Path(sharing._write(made, config))
    return sharing._map(folder, config), (folder / "arrays").stat().st_size


def test_what_is_written_is_what_is_mapped(config):
    big, small = torch.arange(10_000), torch.ones(3)
    made = {
        "tensors": (big, small, big, torch.tensor(2.5), torch.zeros(0), torch.ones(2, dtype=torch.bfloat16)),
        "array": np.arange(5_000.0).reshape(50, 100),
        "texts": np.array(["a", "bc"], dtype=object),
        "table": pd.DataFrame({"n": np.arange(3_000), "t": np.arange(3_000.0)}),
        "sequences": [np.arange(n) for n in range(4)],
        "config": config,
    }
    again, size = through_file(made, config)
    assert again["config"] is config
    assert again["tensors"][0] is again["tensors"][2]  # one copy
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(again["tensors"], made["tensors"]))
    assert np.array_equal(again["array"], made["array"]) and again["texts"].tolist() == ["a", "bc"]
    pd.testing.assert_frame_equal(again["table"], made["table"])
    assert [each.tolist() for each in again["sequences"]] == [[], [0], [0, 1], [0, 1, 2]]
    assert 80_000 + 40_000 + 48_000 <= size < 169_000
    again["tensors"][0].zero_(), again["array"].fill(0)  # can be written to
    assert through_file({"nothing": 1}, config) == ({"nothing": 1}, 0)


def test_what_cannot_be_pickled_is_made_by_each_process(config, folder, caplog):
    with caplog.at_level(logging.WARNING):
        assert sharing._write({"function": lambda: 1}, config) is None
    assert "each process reads the data for itself" in caplog.text
    tempfile.tempdir = None
    assert os.listdir(tempfile.gettempdir()) == []
    tempfile.tempdir = None


def test_a_disk_that_is_full_leaves_no_file(config, folder, monkeypatch):
    tempfile.tempdir = None

    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        sharing._write({"array": np.arange(5_000)}, config)
    assert os.listdir(tempfile.gettempdir()) == []
    tempfile.tempdir = None


# --- what loaders keep ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("worker", [0, 2])
@pytest.mark.parametrize("model", ["EC4SRec", "SASRec", "BPR"])
def test_loaders_keep_no_list_of_the_numbers_of_instances(model, worker, data):
    """The order is as it is with RecBole's lists."""
    settings = {"data_path": str(data), "worker": worker, "seed": 1, "user_inter_num_interval": None}
    settings |= {"train_neg_sample_args": None} if model != "BPR" else {}
    users = []
    for with_lists in (False, True):
        loader = build(Config(model, "shop", config_dict=settings)).train_data
        for owner, name in ((loader, "dataset"), (loader.sampler, "data_source")):
            assert vars(owner)[name] == range(loader.sample_size)
            if with_lists:
                vars(owner)[name] = list(vars(owner)[name])
        users.append(torch.cat([batch["user_id"] for batch in loader]))
    assert torch.equal(*users)
    assert users[0].unique(return_counts=True)[1].tolist() == [16 if model == "BPR" else 17] * 60
