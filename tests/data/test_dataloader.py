"""Batches of the training loader: RecBole's fields and the views of the phase."""

import numpy as np
import pytest
import torch
from conftest import write_inter
from torch.utils._python_dispatch import TorchDispatchMode

from recbole_ec4srec.data import ImportanceTable
from recbole_ec4srec.data.augmentation import Importance, emask_negative

WIDTH = 8
RECBOLE = {"user_id", "item_id", "timestamp", "item_length", "item_id_list", "timestamp_list"}
WARM_UP = {
    "EC4SRec": ["cl_1", "cl_2", "sl"],
    "EC4SRecSSL": ["cl_1", "cl_2", "sl"],
    "EC4SRecSL": ["cl_1", "cl_2", "sl"],
    "CL4SRec": ["cl_1", "cl_2"],
    "DuoRec": ["sl"],
}
GUIDED = {
    "EC4SRec": ["cl_pos_1", "cl_pos_2", "cl_neg", "sl_pos"],
    "EC4SRecSSL": ["cl_pos_1", "cl_pos_2", "cl_neg"],
    "EC4SRecSL": ["sl_pos"],
}
TWO_NEGATIVES = {"loss_type": "BPR", "train_neg_sample_args": {"distribution": "uniform", "sample_num": 2}}


def guide(e, seed=5):
    """Leave the warm-up, with made-up importance, which is given back."""
    lengths = e.train_data._dataset.item_seq_len
    table = ImportanceTable(lengths, WIDTH)
    scores = torch.randn(len(lengths), WIDTH, generator=torch.Generator().manual_seed(seed))
    table.set_rows(torch.arange(len(lengths)), scores)
    e.train_data.set_importance(table)
    return table


def fields_of(views):
    fields = {f"{view}_{field}" for view in views for field in ("item_id_list", "item_length")}
    return fields | {f"{view}_user_id" for view in views if view in ("sl", "sl_pos")}


def same(first, second):
    return first.columns == second.columns and all(torch.equal(first[field], second[field]) for field in first)


def epoch_of(loader, rows):
    """The batch of instances ``rows`` in a new epoch, with its views."""
    iter(loader)
    return loader.collate_fn(rows).with_views()


def views_of(batches):
    return [batch.with_views() for batch in batches]


@pytest.mark.parametrize("model", WARM_UP)
def test_in_the_warm_up_a_batch_has_recboles_fields_and_random_views(experiment, model):
    batch = next(iter(experiment(model).train_data)).with_views()
    assert set(batch.columns) == RECBOLE | fields_of(WARM_UP[model])


@pytest.mark.parametrize("model", GUIDED)
def test_after_the_warm_up_a_batch_has_recboles_fields_and_guided_views(experiment, model):
    e = experiment(model)
    guide(e)
    batch = next(iter(e.train_data)).with_views()
    expected = RECBOLE | fields_of(GUIDED[model]) | ({"cl_neg_valid"} if "cl_neg" in GUIDED[model] else set())
    assert set(batch.columns) == expected


def test_losses_of_weight_0_have_no_views(experiment):
    e = experiment("EC4SRec", **{"lambda": 0, "lambda_cl_pos": 0, "lambda_cl_neg": 0, "lambda_sl_pos": 0})
    assert set(next(iter(e.train_data)).with_views().columns) == RECBOLE
    assert not e.train_data.needs_importance
    e.train_data.set_importance(None)
    assert set(next(iter(e.train_data)).with_views().columns) == RECBOLE


@pytest.mark.parametrize(
    ("weight", "views"),
    [
        ("lambda_cl_pos", ["cl_pos_1", "cl_pos_2"]),
        # L_cl- contrasts with the positive views.
        ("lambda_cl_neg", ["cl_pos_1", "cl_pos_2", "cl_neg"]),
        ("lambda_sl_pos", ["sl_pos"]),
    ],
)
def test_a_guided_loss_alone_has_its_own_views(experiment, weight, views):
    weights = {"lambda_cl_pos": 0, "lambda_cl_neg": 0, "lambda_sl_pos": 0, weight: 0.1}
    e = experiment("EC4SRec", **weights)
    guide(e)
    batch = next(iter(e.train_data)).with_views()
    assert set(batch.columns) - {"cl_neg_valid"} == RECBOLE | fields_of(views)
    assert e.model.calculate_loss(batch).names == ("rec", weight[len("lambda_") :])


@pytest.mark.parametrize(("warmup", "views"), [([], []), (["cl"], ["cl_1", "cl_2"]), (["sl"], ["sl"])])
def test_the_warm_up_has_the_views_of_its_losses(experiment, warmup, views):
    batch = next(iter(experiment("EC4SRec", warmup=warmup).train_data)).with_views()
    assert set(batch.columns) == RECBOLE | fields_of(views)


def test_an_epoch_gives_every_instance_once_and_ends_with_a_smaller_batch(experiment):
    e = experiment("EC4SRec", train_batch_size=32)
    batches = list(e.train_data)
    n = len(e.train_data._dataset)
    assert n % 32 > 0
    assert [len(batch) for batch in batches] == [32] * (n // 32) + [n % 32]
    assert len(batches) == len(e.train_data)
    for batch in batches:
        assert {len(values) for values in batch.interaction.values()} == {len(batch)}
    stored = e.train_data._dataset.inter_feat
    # A user and a time are an instance.
    seen = [instance for batch in batches for instance in zip(batch["user_id"].tolist(), batch["timestamp"].tolist())]
    assert sorted(seen) == sorted(zip(stored["user_id"].tolist(), stored["timestamp"].tolist()))


def test_the_instances_themselves_are_the_data_sets(experiment):
    loader = experiment("EC4SRec").train_data
    rows = [7, 3, 100, 4]
    batch, stored = epoch_of(loader, rows), loader._dataset[np.array(rows)]
    assert all(torch.equal(batch[field], stored[field]) for field in stored)


# Randomness


@pytest.mark.parametrize("guided", [False, True])
def test_the_same_seed_gives_the_same_batches(experiment, guided):
    first, second = experiment("EC4SRec"), experiment("EC4SRec")
    if guided:
        guide(first)
        guide(second)
    torch.manual_seed(99)
    assert all(same(a, b) for a, b in zip(views_of(first.train_data), views_of(second.train_data)))


@pytest.mark.parametrize("guided", [False, True])
def test_another_seed_gives_other_views(experiment, guided):
    first, second = experiment("EC4SRec", seed=1), experiment("EC4SRec", seed=2)
    if guided:
        guide(first)
        guide(second)
    a, b = epoch_of(first.train_data, range(32)), epoch_of(second.train_data, range(32))
    assert torch.equal(a["item_id_list"], b["item_id_list"])
    for view in GUIDED["EC4SRec"] if guided else WARM_UP["EC4SRec"]:
        assert not torch.equal(a[f"{view}_item_id_list"], b[f"{view}_item_id_list"])


@pytest.mark.parametrize("guided", [False, True])
def test_another_epoch_gives_other_views_of_the_same_instances(experiment, guided):
    e = experiment("EC4SRec")
    if guided:
        guide(e)
    a, b = epoch_of(e.train_data, range(32)), epoch_of(e.train_data, range(32))
    assert torch.equal(a["item_id_list"], b["item_id_list"])
    for view in GUIDED["EC4SRec"] if guided else WARM_UP["EC4SRec"]:
        assert not torch.equal(a[f"{view}_item_id_list"], b[f"{view}_item_id_list"])


def test_the_batches_of_an_epoch_draw_independently(experiment):
    e = experiment("CL4SRec", augmentations=["mask"])
    full = (e.train_data._dataset.item_seq_len == WIDTH).nonzero().flatten()[:40]
    iter(e.train_data)
    hidden = [
        e.train_data.collate_fn(rows).with_views()["cl_1_item_id_list"] == e.dataset.item_num for rows in full.split(20)
    ]
    assert not torch.equal(*hidden)


@pytest.mark.parametrize("guided", [False, True])
def test_worker_processes_give_the_same_batches(experiment, guided):
    alone, workers = experiment("EC4SRec", worker=0), experiment("EC4SRec", worker=2)
    if guided:
        guide(alone)
        guide(workers)
    for _ in range(2):
        expected, found = views_of(alone.train_data), views_of(workers.train_data)
        assert len(found) == len(expected)
        assert all(same(a, b) for a, b in zip(expected, found))
        for a, b in zip(expected, found):
            assert a.host_lengths.keys() == b.host_lengths.keys()
            assert all(np.array_equal(a.host_lengths[field], b.host_lengths[field]) for field in a.host_lengths)


# What the views are


def test_guided_views_follow_the_importance_that_was_set(experiment):
    e = experiment("EC4SRec", augmentations=["mask"], negative_augmentations=["mask"])
    table = guide(e)
    rows = torch.arange(40)
    batch = epoch_of(e.train_data, rows)
    importance = Importance.of(table.rows(rows), batch["item_length"])
    made = emask_negative(batch["item_id_list"], batch["item_length"], importance, 0.5, e.dataset.item_num)
    assert torch.equal(batch["cl_neg_item_id_list"], made[0])
    assert torch.equal(batch["cl_neg_valid"], batch["item_length"] > 1)


def test_new_importance_changes_what_is_retrieved(experiment):
    retrieved = {}
    for seed in (5, 5, 6):
        e = experiment("EC4SRec")
        guide(e, seed)
        rows = range(len(e.train_data._dataset))
        found = epoch_of(e.train_data, rows)["sl_pos_item_id_list"]
        assert torch.equal(retrieved.setdefault(seed, found), found)
    assert not torch.equal(retrieved[5], retrieved[6])


def test_the_distribution_of_retrieval_is_built_once_for_an_update(experiment):
    e = experiment("EC4SRec")
    built = set()
    for _ in range(2):
        guide(e)
        of_epochs = [epoch_of(e.train_data, range(1)) and e.train_data.views.retrieval for _ in range(3)]
        assert len(set(map(id, of_epochs))) == 1
        built.add(of_epochs[0])
    assert len(built) == 2


@pytest.mark.parametrize("guided", [False, True])
def test_views_hold_real_items_and_the_mask_item_alone(experiment, guided):
    e = experiment("EC4SRec")
    if guided:
        guide(e)
    for batch in views_of(e.train_data):
        for view in GUIDED["EC4SRec"] if guided else WARM_UP["EC4SRec"]:
            item_seq, item_seq_len = batch[f"{view}_item_id_list"], batch[f"{view}_item_length"]
            inside = torch.arange(WIDTH) < item_seq_len.unsqueeze(1)
            assert item_seq.shape == (len(batch), WIDTH) and (item_seq_len >= 1).all()
            assert torch.equal(item_seq > 0, inside)
            highest = e.dataset.item_num - view.startswith("sl")
            assert item_seq.max() <= highest


@pytest.mark.parametrize("guided", [False, True])
def test_a_retrieved_sequence_is_another_users_with_the_same_next_item(experiment, tmp_path, guided):
    # Of user u5's training items nobody else has the last two.
    sequences = {f"u{user}": [f"i{(user + step) % 6}" for step in range(7)] for user in range(5)}
    write_inter(tmp_path, "own", {**sequences, "u5": ["i0", "i1", "i7", "i8", "i1", "i2"]})
    e = experiment("EC4SRec", dataset="own", data_path=str(tmp_path), topk=[5], valid_metric="NDCG@5")
    if guided:
        guide(e)
    dataset = e.train_data._dataset
    stored = dataset[slice(None)]
    users, targets, sequences = (stored[field].tolist() for field in ("user_id", "item_id", "item_id_list"))
    found = epoch_of(e.train_data, range(len(dataset)))[f"{'sl_pos' if guided else 'sl'}_item_id_list"].tolist()
    alone = []
    for row, sequence in enumerate(found):
        candidates = [
            sequences[other]
            for other in range(len(sequences))
            if targets[other] == targets[row] and users[other] != users[row]
        ]
        if not candidates:
            alone.append(targets[row])
        assert sequence in (candidates or [sequences[row]])
    assert sorted(alone) == sorted(dataset.token2id("item_id", ["i7", "i8"]))


@pytest.mark.parametrize("model", ["DuoRec", "EC4SRec"])
def test_only_training_sequences_are_retrieved(experiment, model):
    e = experiment(model)
    if model == "EC4SRec":
        guide(e)
    stored = [
        set(map(tuple, part._dataset[slice(None)]["item_id_list"].tolist())) for part in (e.train_data, e.test_data)
    ]
    rows, found = range(len(e.train_data._dataset)), set()
    for _ in range(5):
        found |= set(
            map(tuple, epoch_of(e.train_data, rows)[f"{'sl' if model == 'DuoRec' else 'sl_pos'}_item_id_list"].tolist())
        )
    assert found <= stored[0] and stored[1] - stored[0]


# Lengths on the host


@pytest.mark.parametrize("settings", [{}, TWO_NEGATIVES], ids=["CE", "BPR"])
@pytest.mark.parametrize("guided", [False, True])
def test_the_lengths_are_known_on_the_host(experiment, guided, settings):
    e = experiment("EC4SRec", **settings)
    if guided:
        guide(e)
    batch = next(iter(e.train_data)).with_views()
    views = GUIDED["EC4SRec"] if guided else WARM_UP["EC4SRec"]
    assert set(batch.host_lengths) == {"item_length", *(f"{view}_item_length" for view in views)}
    for moved in (batch, batch.to("cpu"), batch.to(torch.device("cpu"), "item_id")):
        for field, lengths in moved.host_lengths.items():
            assert isinstance(lengths, np.ndarray)
            assert np.array_equal(lengths, moved[field].numpy())


def test_evaluation_batches_know_their_lengths_too(experiment):
    interaction = next(iter(experiment("EC4SRec").valid_data))[0]
    assert np.array_equal(interaction.host_lengths["item_length"], interaction["item_length"].numpy())


# Several negative items


@pytest.mark.parametrize("guided", [False, True])
def test_with_several_negative_items_the_instances_are_repeated_and_the_views_are_not(experiment, guided):
    e = experiment("EC4SRec", **TWO_NEGATIVES)
    plain = experiment("EC4SRec")
    if guided:
        guide(e)
        guide(plain)
    batch, once = epoch_of(e.train_data, range(16)), epoch_of(plain.train_data, range(16))
    assert len(batch["neg_item_id"]) == 32
    for field in RECBOLE:
        assert torch.equal(batch[field], torch.cat([once[field], once[field]]))
    for field in fields_of(GUIDED["EC4SRec"] if guided else WARM_UP["EC4SRec"]):
        assert torch.equal(batch[field], once[field])
    losses = e.model.calculate_loss(batch)
    assert all(loss.isfinite() for loss in losses)


@pytest.mark.parametrize("guided", [False, True])
def test_with_several_negative_items_the_contrastive_losses_stay_the_same(experiment, guided):
    e, plain = (
        experiment("EC4SRec", same_target="ignored", **TWO_NEGATIVES),
        experiment("EC4SRec", same_target="ignored"),
    )
    if guided:
        guide(e)
        guide(plain)
    plain.model.load_state_dict(e.model.state_dict())
    e.model.eval()
    plain.model.eval()
    several, once = (x.model.calculate_loss(epoch_of(x.train_data, range(16)))[1:] for x in (e, plain))
    assert [loss.item() for loss in several] == pytest.approx([loss.item() for loss in once], rel=1e-5)


# How much work a batch is


class Operations(TorchDispatchMode):
    """Counts the operations of PyTorch."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("train_on", ["prefixes", "sequences"])
def test_a_guided_batch_takes_at_most_130_small_operations(experiment, train_on):
    # A third of what it once took; a GPU waits for each of them.
    e = experiment("EC4SRec", train_on=train_on)
    guide(e)
    iter(e.train_data)
    with Operations() as operations:
        e.train_data.collate_fn(list(range(32))).with_views()
    assert 0 < operations.count <= 130
