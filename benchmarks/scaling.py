"""How time and memory grow, on generated data: every measurement in a process of its own, with its peak memory.

python benchmarks/scaling.py large        2 and 20 million interactions are built and train their first hundred batches
python benchmarks/scaling.py processes    the same in one process and in two, and their memory together
python benchmarks/scaling.py ertrl        the distributions of ertrl+ at the size of MovieLens-1M
python benchmarks/scaling.py instances    x1, x2, x4, x8, x16
python benchmarks/scaling.py lengths      maximum length 50, 100, 200
python benchmarks/scaling.py items        10 thousand, 100 thousand, 1 million
python benchmarks/scaling.py traffic      what two processes send each other, for as many items; and four
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Thread
from time import perf_counter, sleep

import numpy as np
import psutil

sys.path.append(str(Path(__file__).resolve().parent.parent / "tools"))
from small import free_port


def generate(folder: Path, users: int, items: int, interactions: int, seed: int = 1) -> None:
    """Write ``folder/generated/generated.inter``: item popularity falls as 1 / rank, lengths are geometric above 5."""
    rng = np.random.default_rng(seed)
    extra = rng.geometric(1 / max(interactions / users - 4, 1), users)
    lengths = 4 + np.maximum(1, (extra * (interactions - 4 * users) / extra.sum()).astype(int))
    user = np.repeat(np.arange(users), lengths)
    popularity = np.cumsum(1 / np.arange(1, items + 1))
    item = np.searchsorted(popularity, rng.random(len(user)) * popularity[-1])
    time = np.arange(len(user)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    (folder / "generated").mkdir(parents=True, exist_ok=True)
    with open(folder / "generated" / "generated.inter", "w") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for start in range(0, len(user), 1 << 20):
            part = slice(start, start + (1 << 20))
            rows = zip(user[part].tolist(), item[part].tolist(), time[part].tolist())
            file.writelines(f"{u}\t{i}\t{t}\n" for u, i, t in rows)


def measure(folder, steps, settings, threads):
    """Build, train, update and retrieve in this process: the seconds of each, and the peak memory.

    ``settings`` may have the place of this process in a group.
    """
    import torch
    from recbole.config import Config
    from recbole.quick_start import quick_start
    from recbole.trainer import Trainer
    from recbole.utils import get_trainer, init_seed

    from recbole_ec4srec.training.build import build_model

    torch.set_num_threads(threads)
    paths = {"data_path": str(folder), "checkpoint_dir": str(folder), "show_progress": False}
    config = Config("EC4SRec", "generated", config_dict={**paths, **settings})
    init_seed(1, True)
    seconds, start = {}, perf_counter()

    def lap(name):
        nonlocal start
        seconds[name] = perf_counter() - start
        start = perf_counter()

    dataset = quick_start.create_dataset(config)  # as looked up after the import of this package
    lap("read")
    train_data, _, _ = quick_start.data_preparation(config, dataset)
    lap("build")
    model = build_model(config, train_data._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "EC4SRec")(config, model)
    start = perf_counter()

    class First:
        shuffle, sampler = train_data.shuffle, train_data.sampler

        def __iter__(self):
            return (batch for batch, _ in zip(train_data, range(steps)))

    sent = psutil.net_io_counters().bytes_sent
    Trainer._train_epoch(trainer, First(), 0)
    lap("warm-up steps")
    if not config["single_spec"]:
        seconds["traffic a step (MiB)"] = (psutil.net_io_counters().bytes_sent - sent) / steps / 2**20
    seconds["memory so far (GiB)"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if config["num_updates"]:
        trainer.update_importance(train_data)
        lap("update")
        Trainer._train_epoch(trainer, First(), 1)
        lap("guided steps")
    seconds["instances"], seconds["items"] = len(train_data._dataset), dataset.item_num - 1
    seconds["memory (GiB)"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return seconds


def in_a_process(*args):
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *args).result()


class Memory(Thread):
    """The peak of the memory that the processes started by this one have together: what several share counts once
    (Linux's proportional set size)."""

    peak, running = 0, True

    def run(self):
        while self.running:
            total = 0
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    total += process.memory_full_info().pss
            self.peak = max(self.peak, total)
            sleep(0.1)


def together(folder, steps, settings, threads, processes):
    """The first of ``processes`` measures itself as one of a group; all of them measure their memory."""
    group = {"nproc": processes, "world_size": processes, "offset": 0, "ip": "localhost", "port": free_port()}
    group["ddp_backend"] = "gloo"
    places = [{**group, "local_rank": rank} for rank in range(processes)] if processes > 1 else [{}]
    memory = Memory()
    memory.start()
    try:
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            measured = [pool.submit(measure, folder, steps, {**settings, **place}, threads) for place in places]
            result, *_ = [each.result() for each in measured]
    finally:
        memory.running = False
        memory.join()
    return {**result, "memory together (GiB)": memory.peak / 2**30}


def report(title, result):
    print(f"{title}: " + json.dumps({name: round(value, 3) for name, value in result.items()}), flush=True)


def large(folder, threads):
    for users, interactions in ((20_000, 2_000_000), (200_000, 20_000_000)):
        generate(folder, users, 100_000, interactions)
        report(f"{interactions} interactions", in_a_process(folder, 100, {"num_updates": 0}, threads))


def processes(folder, threads):
    generate(folder, 200_000, 100_000, 20_000_000)
    found = [together(folder, 100, {"num_updates": 0}, threads, number) for number in (1, 2)]
    for number, result in enumerate(found, 1):
        report(f"20 million, {number} processes", result)
    one, two = (result["memory together (GiB)"] for result in found)
    print(f"two processes have {two / one:.2f} times the memory of one", flush=True)


def ertrl(folder, threads):
    """The importance is random: what is measured is the retrieval, and its memory beside what the data needs."""
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation

    import recbole_ec4srec  # noqa: F401
    from recbole_ec4srec.data import ImportanceTable

    generate(folder, 6_040, 3_416, 1_000_000)
    torch.set_num_threads(threads)
    config = Config("EC4SRec", "generated", config_dict={"data_path": str(folder), "checkpoint_dir": str(folder)})
    train_data, _, _ = data_preparation(config, create_dataset(config))
    table = ImportanceTable(train_data._dataset.item_seq_len, 50)
    table.values = torch.rand(len(table.values))
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, perf_counter()
    train_data.set_importance(table)
    seconds = perf_counter() - start
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    candidates = train_data.views.retrieval.index.n_candidates
    pairs = int(np.minimum(candidates, config["ertrl_max_candidates"]).sum())
    report("ertrl+", {"instances": len(table), "pairs": pairs, "seconds": seconds, "memory it adds (GiB)": added})


UPDATES = {"num_updates": 5}


def instances(folder, threads):
    for factor in (1, 2, 4, 8, 16):
        generate(folder, 2_500 * factor, 10_000, 22_500 * factor)
        report(f"instances x{factor}", in_a_process(folder, 20, UPDATES, threads))


def lengths(folder, threads):
    for length in (50, 100, 200):
        generate(folder, 100, 10_000, 100 * 250)
        report(f"length {length}", in_a_process(folder, 20, {**UPDATES, "MAX_ITEM_LIST_LENGTH": length}, threads))


def many_items(folder, count):
    """Most of a million items have no interaction; they are known from the file of items. The settings are returned."""
    generate(folder, 2_500, count, 22_500)
    (folder / "generated" / "generated.item").write_text("\n".join(["item_id:token", *map(str, range(count)), ""]))
    columns = {"load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]}}
    return {**columns, "user_inter_num_interval": None, "item_inter_num_interval": None}


def items(folder, threads):
    for count in (10_000, 100_000, 1_000_000):
        report(f"items {count}", in_a_process(folder, 20, {**UPDATES, **many_items(folder, count)}, threads))


def traffic(folder, threads):
    for count, number in ((10_000, 2), (100_000, 2), (1_000_000, 2), (100_000, 4)):
        settings = {"num_updates": 0, **many_items(folder, count)}
        report(f"items {count}, {number} processes", together(folder, 20, settings, threads, number))


SECTIONS = {section.__name__: section for section in (large, processes, ertrl, instances, lengths, items, traffic)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=SECTIONS)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    from recbole_ec4srec.console import command_line

    with command_line(), tempfile.TemporaryDirectory() as name:
        SECTIONS[args.what](Path(name), args.threads)
