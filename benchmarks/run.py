"""Ratios to RecBole and captum, each measured against its peer in the same run on the same work.

    python benchmarks/run.py --data_path=DATA --dataset=amazon-beauty [--only=step,update] [--repeats=5]

Two sides of a comparison take turns; the table has the median of each, the ratio of the medians, and the smallest and
largest ratio of neighbouring turns. RecBole's side is its own SASRec, data set, loader and trainer, untouched.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import captum.attr
import like_ml1m
import numpy as np
import pandas as pd
import recbole
import torch
import torch.nn.functional as F
from recbole.config import Config
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.trainer import Trainer
from recbole.utils.case_study import full_sort_topk
from torch.utils._python_dispatch import TorchDispatchMode

import recbole_ec4srec
from recbole_ec4srec.console import command_line
from recbole_ec4srec.data.importance import ImportanceTable, normalise
from recbole_ec4srec.data.retrieval import GuidedRetrieval, SameTargetIndex
from recbole_ec4srec.data.views import DrawnViews
from recbole_ec4srec.encoder.kernels.cross_entropy import linear_cross_entropy
from recbole_ec4srec.encoder.kernels.linear import linear, product
from recbole_ec4srec.explain import build_explainer
from recbole_ec4srec.inference import TrainedModel, recommend
from recbole_ec4srec.inference.export import export
from recbole_ec4srec.training.build import build

PAPER = {"train_batch_size": 256, "MAX_ITEM_LIST_LENGTH": 50, "metrics": ["Hit", "NDCG"], "topk": [5, 10]}
NO_CONTRAST = {"lambda": 0, "lambda_cl_pos": 0, "lambda_cl_neg": 0, "lambda_sl_pos": 0}


class Setup:
    """A model with its loaders and trainer, as RecBole's quick start makes them."""

    def __init__(self, args, model, **settings):
        paths = {"data_path": args.data_path, "show_progress": False, "valid_metric": "NDCG@10"}
        self.config = Config(model, args.dataset, config_dict={**paths, **PAPER, **settings})
        _, self.train_data, self.valid_data, self.test_data, self.model, self.trainer = build(self.config)
        self.dataset = self.train_data._dataset
        self.steps_per_epoch = len(self.train_data)
        iter(self.train_data)  # begins an epoch

    def train(self, steps):
        """``steps`` batches through RecBole's own training loop, loading them included."""
        Trainer._train_epoch(self.trainer, _First(self.train_data, steps), 0)

    def update(self):
        self.trainer.update_importance(self.train_data)
        iter(self.train_data)  # builds what the first epoch after it draws from

    def guide_at_random(self):
        """Leave the warm-up with importance of no meaning, which costs nothing to compute."""
        table = ImportanceTable(self.dataset.item_seq_len, self.dataset.max_item_list_len)
        table.values = torch.rand(len(table.values))
        self.train_data.set_importance(table)
        iter(self.train_data)

    def evaluate(self):
        return self.trainer.evaluate(self.valid_data, load_best_model=False)


class _First:
    """Some batches of a loader's epoch, which has begun."""

    def __init__(self, loader, steps):
        self.loader, self.steps = loader, steps

    def __iter__(self):
        return (batch for batch, _ in zip(AbstractDataLoader.__iter__(self.loader), range(self.steps)))


def alternate(sides: dict, repeats: int) -> dict:
    """Seconds of every side, taking turns; one unmeasured turn first."""
    seconds = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, work in sides.items():
            start = perf_counter()
            work()
            if turn:
                seconds[name].append(perf_counter() - start)
    return seconds


def row(work, peer, ours, scale_peer=1.0, scale_ours=1.0, note=""):
    ratios = [p * scale_peer / (o * scale_ours) for p, o in zip(peer, ours)]
    p, o = statistics.median(peer) * scale_peer, statistics.median(ours) * scale_ours
    print(
        f"| {work} | {p:.3g} s | {o:.3g} s | {p / o:.1f} | {min(ratios):.1f} … {max(ratios):.1f} | {note} |", flush=True
    )


def header():
    print("\n| work | peer | ours | ratio | range | |\n| --- | --- | --- | --- | --- | --- |", flush=True)


def anomaly(on, work):
    def run():
        torch.autograd.set_detect_anomaly(on)
        try:
            work()
        finally:
            torch.autograd.set_detect_anomaly(False)

    return run


def benchmark_step(args):
    """Training: an epoch is so many steps, of which the measured ones are a part."""
    steps = args.steps
    stock = Setup(args, "SASRec")
    plain = Setup(args, "EC4SRec", **NO_CONTRAST)
    warm = Setup(args, "EC4SRec")
    guided = Setup(args, "EC4SRec")
    guided.update()
    sides = {
        "stock": anomaly(True, lambda: stock.train(steps)),
        "stock, anomaly detection off": lambda: stock.train(steps),
        "plain": lambda: plain.train(steps),
        "warm": lambda: warm.train(steps),
        "guided": lambda: guided.train(steps),
        "update": guided.update,
    }
    seconds = alternate(sides, args.repeats)
    epoch = stock.steps_per_epoch / steps
    header()
    for peer in ("stock", "stock, anomaly detection off"):
        for name, ours in (
            ("SASRec epoch (EC4SRec, contrastive weights 0)", "plain"),
            ("EC4SRec epoch, warm-up", "warm"),
            ("EC4SRec epoch, all three contrastive losses", "guided"),
        ):
            note = f"peer: RecBole SASRec ({peer}), {steps} of {stock.steps_per_epoch} steps"
            row(name, seconds[peer], seconds[ours], epoch, epoch, note)
    note = "peer: an EC4SRec epoch, all three contrastive losses"
    row("importance update, ertrl+ included", seconds["guided"], seconds["update"], epoch, 1, note)
    _distance(guided, statistics.median(seconds["guided"]) / steps)


def benchmark_sequences(args):
    """Training with ``train_on: sequences``: an epoch has another number of steps, of users."""
    stock = Setup(args, "SASRec")
    plain = Setup(args, "EC4SRec", train_on="sequences", **NO_CONTRAST)
    guided = Setup(args, "EC4SRec", train_on="sequences")
    guided.update()
    seconds = alternate(
        {
            "stock": anomaly(True, lambda: stock.train(args.steps)),
            "plain": lambda: plain.train(args.steps),
            "guided": lambda: guided.train(args.steps),
            "update": guided.update,
        },
        args.repeats,
    )
    header()
    _sequence_rows(args.steps, seconds, stock.steps_per_epoch, guided.steps_per_epoch)
    note = "peer: a guided epoch with train_on: sequences"
    row("importance update", seconds["guided"], seconds["update"], guided.steps_per_epoch / args.steps, 1, note)


def _sequence_rows(steps, seconds, stock_epoch, our_epoch):
    scales = stock_epoch / steps, our_epoch / steps
    note = f"peer: RecBole SASRec as it comes, {steps} of {stock_epoch} steps; ours: {steps} of {our_epoch} steps"
    row("SASRec epoch, train_on: sequences", seconds["stock"], seconds["plain"], *scales, note)
    row("EC4SRec epoch, guided, train_on: sequences", seconds["stock"], seconds["guided"], *scales, note)


class Elsewhere:
    """A :class:`Setup` in a process of its own, which tells its peak memory; what is called of it is done there."""

    def __init__(self, args, model, **settings):
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        self.steps_per_epoch = self._pool.submit(_set_up, args, model, settings).result()

    def call(self, method, *arguments):
        """Call a method of the setup there."""
        self._pool.submit(_call, method, *arguments).result()

    def memory(self):
        """Peak so far, in GiB."""
        return self._pool.submit(_memory).result()

    def close(self):
        self._pool.shutdown()


def _set_up(args, model, settings):
    global _setup
    torch.set_num_threads(args.threads)
    _setup = Setup(args, model, **settings)
    torch.autograd.set_detect_anomaly(model == "SASRec")
    return _setup.steps_per_epoch


def _call(method, *arguments):
    getattr(_setup, method)(*arguments)


def _memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


@contextmanager
def _movielens_size(args):
    """The arguments for data like MovieLens-1M's, and how long sequences are there."""
    with tempfile.TemporaryDirectory() as folder:
        like_ml1m.write(folder, 1)
        changed = {**vars(args), "data_path": folder, "dataset": like_ml1m.NAME}
        yield argparse.Namespace(**changed), {"MAX_ITEM_LIST_LENGTH": 200}


def benchmark_long(args):
    """Training with ``train_on: sequences`` at MovieLens-1M's size and length 200, every side in a process."""
    with _movielens_size(args) as (args, length):
        ours = {"train_on": "sequences", **length}
        stock = Elsewhere(args, "SASRec", **length)
        plain = Elsewhere(args, "EC4SRec", **ours, **NO_CONTRAST)
        guided = Elsewhere(args, "EC4SRec", **ours)
        guided.call("guide_at_random")
        steps = min(args.steps, 4)
        sides = {"stock": stock, "plain": plain, "guided": guided}
        seconds = alternate({name: lambda side=side: side.call("train", steps) for name, side in sides.items()}, 2)
        header()
        _sequence_rows(steps, seconds, stock.steps_per_epoch, guided.steps_per_epoch)
        print("\npeak memory: " + ", ".join(f"{name} {side.memory():.2f} GiB" for name, side in sides.items()))
        for side in sides.values():
            side.close()


def benchmark_long_update(args):
    """An importance update there: scores of a part of the users, scaled by instances; and what an epoch then adds, the
    distributions of ertrl+ for the instances that it draws."""
    with _movielens_size(args) as (args, length):
        setup = Setup(args, "EC4SRec", train_on="sequences", **length)
        dataset = setup.dataset
        user = dataset.inter_feat[dataset.uid_field].numpy()
        chosen = np.random.default_rng(1).choice(np.unique(user), args.users, replace=False)
        part = dataset.copy(dataset.inter_feat[np.flatnonzero(np.isin(user, chosen))])
        setup.guide_at_random()
        sides = {
            "scores": lambda: setup.trainer.explainer.table(part, torch.device("cpu")),
            "distributions": lambda: iter(setup.train_data),
        }
        seconds = {name: statistics.median(of) for name, of in alternate(sides, 1).items()}
        took = seconds["scores"] * len(dataset) / len(part)
        print(f"\nscores of an update: {took:.0f} s, scaled from {len(part)} of {len(dataset)} instances")
        print(f"distributions of ertrl+: {seconds['distributions']:.1f} s an epoch", flush=True)


def _same_target(dataset):
    return SameTargetIndex(dataset.inter_feat[dataset.iid_field], dataset.inter_feat[dataset.uid_field])


def benchmark_protocols(args):
    """Evaluation that leaves out what the user already has, beside one that ranks all items."""
    header()
    for model in ("EC4SRec", "SASRec"):
        everything, unseen = Setup(args, model), Setup(args, model, repeatable=False)
        unseen.model.load_state_dict(everything.model.state_dict())
        seconds = alternate({"peer": everything.evaluate, "ours": unseen.evaluate}, args.repeats)
        note = "peer: repeatable: True"
        row(f"evaluation of {model}, repeatable: False", seconds["peer"], seconds["ours"], note=note)


class Operations(TorchDispatchMode):
    """Counts the operations of PyTorch."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def benchmark_loader(args):
    """A batch of 256 as the loader gives it, with its views, guided: milliseconds and operations."""
    loaders = {"RecBole's TrainDataLoader": Setup(args, "SASRec").train_data}
    for train_on in ("prefixes", "sequences"):
        setup = Setup(args, "EC4SRec", train_on=train_on)
        setup.guide_at_random()
        iter(setup.train_data)
        loaders[f"guided, train_on: {train_on}"] = setup.train_data

    def load(loader, index):
        batch = loader.collate_fn(index)
        return batch.with_views() if hasattr(batch, "with_views") else batch

    rng = np.random.default_rng(1)
    index = {name: rng.integers(loader.sample_size, size=(20, 256)).tolist() for name, loader in loaders.items()}
    work = {name: lambda name=name: [load(loaders[name], rows) for rows in index[name]] for name in loaders}
    seconds = alternate(work, args.repeats)
    print("\n| loader | a batch of 256 | operations |\n| --- | --- | --- |")
    for name, loader in loaders.items():
        with Operations() as operations:
            load(loader, index[name][0])
        milliseconds = statistics.median(seconds[name]) / len(index[name]) * 1e3
        print(f"| {name} | {milliseconds:.2f} ms | {operations.count} |", flush=True)


def _distance(setup, step_seconds):
    """How far the step is from the machine: its real floating-point operations over its time, and a large product's."""
    batch = next(iter(setup.train_data))
    model, lengths = setup.model.backbone.model, np.concatenate(list(batch.host_lengths.values()))
    d, inner, layers = model.hidden_size, model.inner_size, model.n_layers
    tokens, sequences, n_items = int(lengths.sum()), len(lengths), setup.dataset.item_num
    whole = 4 * d * d + 2 * d * inner
    attention = float((lengths.astype(float) ** 2).sum()) * 2 * d
    encoder = tokens * whole * (layers - 1) + attention * (layers - 1)  # all layers but the last
    encoder += sequences * whole + tokens * 2 * d * model.n_heads  # the last layer, for the last positions only
    softmax = len(batch) * n_items * d
    operations = 2 * 3 * (encoder + softmax)  # a multiplication and an addition; forward and twice that backward
    a = torch.randn(2048, 2048)
    rates = alternate({"PyTorch": lambda: a @ a, "oneDNN": lambda: product(a, a)}, 20)
    print(
        f"\nguided step: {tokens} tokens, {operations / 1e9:.2f} GFLOP, {step_seconds * 1e3:.0f} ms, "
        f"{operations / step_seconds / 1e9:.0f} GFLOP/s"
    )
    for name, seconds in rates.items():
        rate = 2 * 2048**3 / statistics.median(seconds)
        times = step_seconds * rate / operations
        print(f"2048² product by {name}: {rate / 1e9:.0f} GFLOP/s; times the ideal: {times:.1f}", flush=True)


def with_stocks_weights(args):
    """RecBole's SASRec after a few steps, and our EC4SRec with the same weights."""
    stock, ours = Setup(args, "SASRec"), Setup(args, "EC4SRec")
    stock.train(args.steps)
    weights = stock.model.state_dict()
    items = weights["item_embedding.weight"]
    weights["item_embedding.weight"] = torch.cat([items, torch.zeros(1, items.shape[1])])
    ours.model.backbone.model.load_state_dict(weights)
    return stock, ours


def benchmark_evaluation(args):
    stock, ours = with_stocks_weights(args)
    results = {}
    seconds = alternate(
        {
            "stock": lambda: results.update(stock=stock.evaluate()),
            "ours": lambda: results.update(ours=ours.evaluate()),
        },
        args.repeats,
    )
    header()
    same = "metrics equal" if results["stock"] == results["ours"] else f"METRICS DIFFER: {results}"
    row("evaluation of the validation set", seconds["stock"], seconds["ours"], note=same)


CAPTUM = {"occlusion": "Occlusion", "saliency": "Saliency", "integrated_gradients": "IntegratedGradients"}


def benchmark_update(args):
    stock, ours = with_stocks_weights(args)
    header()
    _against_captum(args, stock, ours, "occlusion", max(1, args.repeats // 2))


def benchmark_explainers(args):
    """An update of all instances by every explainer, once after a turn that is not measured."""
    stock, setup = with_stocks_weights(args)
    header()
    for name in CAPTUM:
        _against_captum(args, stock, setup, name, 1)
    explainer = build_explainer(setup.config, setup.model, "attention")
    work = {"ours": lambda: explainer.table(setup.dataset, torch.device("cpu"))}
    seconds = alternate(work, 1)["ours"]
    print(f"| importance update, attention | | {statistics.median(seconds):.3g} s | | | captum has no such method |")


def _against_captum(args, stock, setup, name, repeats):
    """All instances by our explainer; some by captum's class, over RecBole's SASRec as it is."""
    setup.model.eval()
    sasrec = stock.model.eval()
    dataset = setup.dataset
    explainer = build_explainer(setup.config, setup.model, name)
    rows = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(1))[: args.captum_instances]
    item_seq, lengths = dataset.item_sequences(rows)
    found = {}

    def by_captum():
        with torch.no_grad():
            scores = sasrec(item_seq, lengths) @ sasrec.item_embedding.weight.T
            item = scores[:, 1:].argmax(1) + 1
            embedding = sasrec.item_embedding(item_seq)

        def forward(embedding, item_seq, lengths, item):
            table = sasrec.item_embedding
            handle = table.register_forward_hook(lambda *_: embedding)
            try:
                encoded = sasrec(item_seq, lengths)
            finally:
                handle.remove()
            return (encoded * table.weight[item]).sum(1)

        options = {"sliding_window_shapes": (1, embedding.shape[2])} if name == "occlusion" else {}
        method = getattr(captum.attr, CAPTUM[name])(forward)
        with torch.set_grad_enabled(name != "occlusion"):
            attributions = method.attribute(
                embedding.requires_grad_(name != "occlusion"),
                additional_forward_args=(item_seq, lengths, item),
                **options,
            ).detach()
        found["captum"] = attributions[..., 0] if name == "occlusion" else attributions.sum(2)

    def ours():
        found["ours"] = explainer.table(dataset, torch.device("cpu"))

    seconds = alternate({"captum": by_captum, "ours": ours}, repeats)
    inside = torch.arange(item_seq.shape[1]) < lengths.unsqueeze(1)
    difference = (found["captum"] - found["ours"].rows(rows))[inside].abs().max()
    note = (
        f"captum over RecBole's SASRec, timed on {len(rows)} random instances of {len(dataset)}; "
        f"largest difference {difference:.1e}"
    )
    row(f"importance update, {name}", seconds["captum"], seconds["ours"], len(dataset) / len(rows), 1, note)


def benchmark_augmentation(args):
    setup = Setup(args, "EC4SRec")
    rows = torch.arange(4096)
    item_seq, lengths = setup.dataset.item_sequences(rows)
    importance = torch.rand(item_seq.shape, generator=torch.Generator().manual_seed(1))
    words = {"positive": ("crop", "mask", "reorder"), "negative": ("crop", "mask")}
    rng = np.random.default_rng(1)

    def loop():
        for sequence, n, score in zip(item_seq.tolist(), lengths.tolist(), importance.tolist()):
            k = n // 2
            order = sorted(range(n), key=score.__getitem__)
            least = set(order[:k])
            crop = [v for i, v in enumerate(sequence[:n]) if i not in least]
            mask = [0 if i in least else v for i, v in enumerate(sequence[:n])]
            places = sorted(least)
            reorder = list(sequence[:n])
            for place, source in zip(places, rng.permutation(places)):
                reorder[place] = sequence[source]
            views = [crop, mask, reorder]
            first, second = rng.permutation(3)[:2]
            negative = [sequence[i] for i in places] if rng.random() < 0.5 else sequence[:n]
            [torch.tensor(view + [0] * (50 - len(view))) for view in (views[first], views[second], negative)]

    def batch():
        size, drawn_by, mask_id = item_seq.shape, np.random.default_rng(1), setup.dataset.item_num
        DrawnViews(words, True, importance, *size, drawn_by, {"mu_e": 0.5}, mask_id).make(item_seq, lengths)

    seconds = alternate({"loop": loop, "ours": batch}, args.repeats)
    header()
    row("guided views of 4096 instances", seconds["loop"], seconds["ours"], note="peer: a loop over sequences")


def benchmark_retrieval(args):
    setup = Setup(args, "EC4SRec")
    dataset = setup.dataset
    table = setup.trainer.explainer.table(dataset, torch.device("cpu"))
    index, most = _same_target(dataset), setup.config["ertrl_max_candidates"]
    sample = torch.arange(0, len(dataset), max(1, len(dataset) // 500))

    def loop():
        item_seq, lengths = dataset.item_sequences(sample)
        scores = normalise(table.rows(sample), lengths).tolist()
        for anchor, items, n, score in zip(sample.tolist(), item_seq.tolist(), lengths.tolist(), scores):
            count = min(int(index.n_candidates[anchor]), most)
            candidates = index.candidate(np.full(count, anchor), np.arange(count))
            a = set(items[:n])
            value = {}
            for v, s in zip(items[:n], score):
                value[v] = value.get(v, 0) + s
            for other, m in zip(*(part.tolist() for part in dataset.item_sequences(candidates))):
                b = set(other[:m])
                both = a & b
                len(both) / len(a | b) * sum(value[v] for v in both)

    def ours():
        rng = np.random.default_rng(1)
        GuidedRetrieval(index, dataset.item_sequences, table, dataset.item_num, "anchor", most, rng).prepare()

    seconds = alternate({"loop": loop, "ours": ours}, max(1, args.repeats // 2))
    header()
    note = f"peer: a loop over {len(sample)} of {len(dataset)} instances with Python sets"
    row("distributions of ertrl+", seconds["loop"], seconds["ours"], len(dataset) / len(sample), 1, note)


def benchmark_softmax(args):
    """The softmax over Beauty's items for a batch, forward and backward, on random numbers."""
    hidden, weight = torch.randn(256, 64, requires_grad=True), torch.randn(12_101, 64, requires_grad=True)
    target = torch.randint(12_101, (256,))
    forms = {
        "ours": lambda: linear_cross_entropy(hidden, weight, target),
        "F.cross_entropy": lambda: F.cross_entropy(hidden @ weight.T, target),
    }
    if hasattr(F, "linear_cross_entropy"):
        options = torch.nn.LinearCrossEntropyOptions()
        forms["F.linear_cross_entropy, chunked"] = lambda: F.linear_cross_entropy(
            hidden, weight, target, options=options
        )
    sides = {name: lambda form=form: [form().backward() for _ in range(args.steps)] for name, form in forms.items()}
    seconds = alternate(sides, args.repeats)
    header()
    for name in list(forms)[1:]:
        row(f"softmax over all items, {args.steps} times", seconds[name], seconds["ours"], note=f"peer: {name}")


@torch.no_grad()
def benchmark_products(args):
    """The matrix products of a layer, 4096 tokens, forward, by PyTorch's own way and by ours."""
    header()
    for inner, outer in ((64, 192), (64, 64), (64, 256), (256, 64)):
        hidden, layer = torch.randn(4096, inner), torch.nn.Linear(inner, outer)
        forms = {
            "ours": lambda h=hidden, f=layer: linear(h, f.weight, f.bias),
            "F.linear": lambda h=hidden, f=layer: f(h),
        }
        sides = {name: lambda form=form: [form() for _ in range(200)] for name, form in forms.items()}
        seconds = alternate(sides, args.repeats)
        row(f"{inner} to {outer}, 200 times", seconds["F.linear"], seconds["ours"], note="peer: F.linear")


def benchmark_compile(args):
    """A guided step as it is, and with the feed-forward networks compiled, which is where fusing could help most."""
    plain, compiled = Setup(args, "EC4SRec"), Setup(args, "EC4SRec")
    for layer in compiled.model.backbone.model.trm_encoder.layer:
        layer.feed_forward.compile(dynamic=True)
    for setup in (plain, compiled):
        setup.update()
    start = perf_counter()
    compiled.train(1)
    note = f"peer: the same, compiled by torch.compile, which takes {perf_counter() - start:.0f} s"
    sides = {"plain": lambda: plain.train(args.steps), "compiled": lambda: compiled.train(args.steps)}
    seconds = alternate(sides, args.repeats)
    header()
    row(f"{args.steps} guided steps", seconds["compiled"], seconds["plain"], note=note)


_BUILD = """
import json, re, sys, time
import recbole_ec4srec
from recbole.config import Config
from recbole.data import create_dataset

def mebibytes(entry):
    return int(re.search(entry + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024

model, dataset, data_path, settings = json.loads(sys.stdin.read())
data = create_dataset(Config(model, dataset, config_dict=dict(data_path=data_path, **settings)))
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
before, start = mebibytes("VmRSS"), time.perf_counter()
parts = data.build()
seconds = time.perf_counter() - start
print(json.dumps([seconds, mebibytes("VmHWM") - before, len(parts[0])]))
"""


def build_in_a_process(args, model):
    """Seconds and additional peak memory (MiB) of building the data set, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _BUILD],
        input=json.dumps([model, args.dataset, args.data_path, {"MAX_ITEM_LIST_LENGTH": 50}]),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def benchmark_dataset(args):
    found = {"SASRec": [], "EC4SRec": []}
    for _ in range(args.repeats):
        for model in found:
            found[model].append(build_in_a_process(args, model))
    header()
    memory = {model: statistics.median(m for _, m, _ in runs) for model, runs in found.items()}
    note = (
        f"memory it adds: {memory['SASRec']:.0f} MiB and {memory['EC4SRec']:.0f} MiB, "
        f"ratio {memory['SASRec'] / max(memory['EC4SRec'], 1e-9):.1f}; peer: SequentialDataset.build()"
    )
    row("building the data set", *([s for s, _, _ in found[model]] for model in found), note=note)


def benchmark_recommend(args):
    """The best 10 items of 100 thousand histories, those of the test users again and again."""
    peer, ours = Setup(args, "SASRec"), Setup(args, "EC4SRec")
    peer.model.eval()
    users = peer.test_data._dataset.inter_feat[peer.dataset.uid_field].numpy()
    batches = [users[start : start + 4096] for start in range(0, len(users), 4096)]
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/model.pth"
        ours.trainer._save_checkpoint(0, verbose=False, saved_model_file=file)
        trained = TrainedModel(file)
    known = trained.interactions
    known = known[known.duplicated("user", keep="last")]  # all but the last, which the peer's test sequences end before
    rounds = math.ceil(100_000 / len(users))
    histories = pd.concat([known.assign(user=known["user"] + f" {number}") for number in range(rounds)])
    histories = histories[histories["user"].isin(histories["user"].unique()[:100_000])]
    served = histories["user"].nunique()

    def full_sort():
        with torch.no_grad():
            for number in range(math.ceil(served / len(users)) * len(batches)):
                full_sort_topk(batches[number % len(batches)], peer.model, peer.test_data, 10)

    sides = {"peer": full_sort, "ours": lambda: recommend(trained, histories)}
    seconds = alternate(sides, max(1, args.repeats // 2))
    scale = served / (math.ceil(served / len(users)) * len(users))
    header()
    note = f"peer: full_sort_topk with RecBole's SASRec over {rounds} times the test users, scaled to as many"
    row(f"recommendations for {served} histories", seconds["peer"], seconds["ours"], scale, 1, note)


def benchmark_export(args):
    """The best 10 unseen items of 10 thousand histories, by the exported model, 256 at a time, with the code of
    docs/serving.md."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Setup(args, "EC4SRec").trainer._save_checkpoint(0, verbose=False, saved_model_file=str(folder / "model.pth"))
        trained = TrainedModel(folder / "model.pth")
        exported = export(trained, folder / "exported", topk=10, filter_seen=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        session = onnxruntime.InferenceSession(str(folder / "exported/model.onnx"), options)
        items = json.loads((folder / "exported/items.json").read_text(encoding="utf-8"))
    known = trained.interactions
    known = known[known["user"].isin(known["user"].unique()[:10_000])]
    numbers = known["item"].map({item: number for number, item in enumerate(items)})
    histories = numbers.groupby(known["user"], sort=False).agg(list).tolist()
    length = trained.config["MAX_ITEM_LIST_LENGTH"]

    def padded(rows, width):
        return np.array([row + [0] * (width - len(row)) for row in rows], dtype=np.int64)

    def served():
        found = []
        for start in range(0, len(histories), 256):
            seen = histories[start : start + 256]
            given = {
                "item_seq": padded([row[-length:] for row in seen], length),
                "seen": padded(seen, max(map(len, seen))),
            }
            found.append(session.run(["items", "scores"], given))
        return [np.concatenate(parts).ravel() for parts in zip(*found)]

    best, scores = served()
    table, *_ = recommend(trained, known, filter_seen=True)
    same = np.mean(np.array(items, dtype=object)[best] == table["item"].to_numpy())
    print(f"\nfiles: {', '.join(f'{name} {size / 1e6:.2f} MB' for name, size in exported.sizes.items())}")
    print(f"{same:.3%} of the items are the same; scores differ by at most {np.abs(scores - table['score']).max():.1e}")
    seconds = alternate({"peer": served, "ours": lambda: recommend(trained, known, filter_seen=True)}, args.repeats)
    header()
    row(f"recommendations for {len(histories)} histories", seconds["peer"], seconds["ours"], note="peer: onnxruntime")


SECTIONS = {
    "step": benchmark_step,
    "sequences": benchmark_sequences,
    "long": benchmark_long,
    "long_update": benchmark_long_update,
    "protocols": benchmark_protocols,
    "loader": benchmark_loader,
    "evaluation": benchmark_evaluation,
    "update": benchmark_update,
    "explainers": benchmark_explainers,
    "augmentation": benchmark_augmentation,
    "retrieval": benchmark_retrieval,
    "dataset": benchmark_dataset,
    "softmax": benchmark_softmax,
    "products": benchmark_products,
    "compile": benchmark_compile,
    "recommend": benchmark_recommend,
    "export": benchmark_export,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_path", required=True)
    parser.add_argument("--dataset", default="amazon-beauty")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="training steps a turn")
    parser.add_argument("--captum_instances", type=int, default=128)
    parser.add_argument("--users", type=int, default=200, help="whose update long_update measures")
    parser.add_argument("--only", help=f"some of {','.join(SECTIONS)}")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    versions = f"torch {torch.__version__}, recbole {recbole.__version__}, captum {captum.__version__}"
    ours = f"recbole_ec4srec {recbole_ec4srec.__version__}, Python {platform.python_version()}"
    print(f"{args.dataset}, {args.threads} threads, {ours}, {versions}, numpy {np.__version__}")
    with command_line():
        for name in args.only.split(",") if args.only else SECTIONS:
            SECTIONS[name](args)


if __name__ == "__main__":
    main()
