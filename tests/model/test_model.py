"""The models against RecBole's SASRec, the mask item, evaluation, reproducibility, and GPUs without a GPU."""

import copy
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from conftest import OUR_MODELS
from recbole.utils import get_model
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

from recbole_ec4srec.data.dataloader import TrainingBatch
from recbole_ec4srec.data.dataset import SequenceBatch
from recbole_ec4srec.plugin import compat

NO_CONTRAST = {"lambda": 0, "lambda_cl_pos": 0, "lambda_cl_neg": 0, "lambda_sl_pos": 0}
GUIDED = ["EC4SRec", "EC4SRecSSL", "EC4SRecSL"]
PHASES = [(model, False) for model in OUR_MODELS] + [(model, True) for model in GUIDED]


def guide(experiment):
    """Leave the warm-up."""
    table = experiment.trainer.explainer.table(experiment.train_data._dataset, torch.device("cpu"))
    experiment.train_data.set_importance(table)


def first_batch(experiment, guided=False):
    if guided:
        guide(experiment)
    return next(iter(experiment.train_data))


def evaluation_batch(experiment):
    return next(iter(experiment.test_data))[0]


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


# --- against RecBole --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss_type", ["CE", "BPR"])
@pytest.mark.parametrize("backbone", ["SASRec", "GRU4Rec"])
def test_without_contrast_the_model_is_recboles(backbone, loss_type, experiment):
    ours = experiment(backbone=backbone, loss_type=loss_type, **NO_CONTRAST)
    theirs = get_model(backbone)(ours.config, ours.dataset)
    weights = theirs.state_dict()
    mask_item = ours.model.backbone.model.item_embedding.weight[-1:].detach()
    weights["item_embedding.weight"] = torch.cat([weights["item_embedding.weight"], mask_item])
    ours.model.backbone.model.load_state_dict(weights)
    ours.model.eval()
    theirs.eval()

    batch = first_batch(ours)
    (loss,) = ours.model.calculate_loss(batch)
    assert_close(loss, theirs.calculate_loss(batch))
    batch = evaluation_batch(ours)
    assert_close(ours.model.full_sort_predict(batch), theirs.full_sort_predict(batch))
    batch.update(ours.dataset.inter_feat[: len(batch)])
    assert_close(ours.model.predict(batch), theirs.predict(batch))


def test_views_as_more_data_are_weighted_recommendation_losses(experiment):
    weights = {"lambda": 0.2, "lambda_cl_pos": 0.3, "lambda_cl_neg": 0.4, "lambda_sl_pos": 0.5}
    small = experiment(view_loss="recommendation", **weights)
    model = small.model.eval()
    phases = {
        False: {"cl": (0.2, ("cl_1", "cl_2")), "sl": (0.2, ("sl",))},
        True: {"cl_pos": (0.3, ("cl_pos_1", "cl_pos_2")), "sl_pos": (0.5, ("sl_pos",))},
    }
    for guided, expected in phases.items():
        batch = first_batch(small, guided).with_views()

        def cross_entropy(view, batch=batch):
            prefix = f"{view}_" if view else ""
            encoded = model(batch[prefix + model.ITEM_SEQ], batch[prefix + model.ITEM_SEQ_LEN])
            return nn.functional.cross_entropy(model.backbone.score_all(encoded), batch[model.POS_ITEM_ID])

        assert not any(column.startswith("cl_neg") for column in batch.columns)
        parts = model.calculate_loss(batch)
        assert parts.names == ("rec", *expected)
        rec, *losses = parts
        assert_close(rec, cross_entropy(""))
        for loss, (weight, views) in zip(losses, expected.values()):
            assert_close(loss, weight * sum(map(cross_entropy, views)) / len(views))


def test_predict_is_the_column_of_full_sort_predict(experiment):
    model = experiment().model.eval()
    batch = evaluation_batch(experiment())
    items = torch.arange(len(batch)) % (model.n_items - 1) + 1
    every = model.full_sort_predict(batch)
    batch.interaction[model.ITEM_ID] = items
    assert_close(model.predict(batch), every.gather(1, items.unsqueeze(1)).squeeze(1))


# --- the mask item ----------------------------------------------------------------------------------------------------


def test_the_mask_item_is_no_candidate(experiment):
    small = experiment()
    model = small.model.eval()
    assert model.mask_id == small.dataset.item_num
    assert model.full_sort_predict(evaluation_batch(small)).shape[1] == small.dataset.item_num


def mask_embedding(model):
    return model.backbone.model.item_embedding.weight[model.mask_id]


def test_predictions_depend_on_the_mask_item_only_where_it_stands(experiment):
    small = experiment()
    model = small.model.eval()
    batch = evaluation_batch(small)
    masked = copy.deepcopy(batch)
    masked[model.ITEM_SEQ][:, 0] = model.mask_id
    with torch.no_grad():
        before = model.full_sort_predict(batch), model.full_sort_predict(masked)
        mask_embedding(model).add_(torch.randn(16))
        after = model.full_sort_predict(batch), model.full_sort_predict(masked)
    assert torch.equal(after[0], before[0])
    assert not torch.allclose(after[1], before[1])


@pytest.mark.parametrize(("augmentations", "learned"), [(["mask"], True), (["crop"], False)])
def test_the_mask_item_is_learned_from_masked_views_alone(augmentations, learned, experiment):
    small = experiment("CL4SRec", augmentations=augmentations)
    sum(small.model.calculate_loss(first_batch(small))).backward()
    gradient = small.model.backbone.model.item_embedding.weight.grad[small.model.mask_id]
    assert gradient.ne(0).any() == learned


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "guided", "names"),
    [
        ("EC4SRec", False, ("rec", "cl", "sl")),
        ("EC4SRec", True, ("rec", "cl_pos", "cl_neg", "sl_pos")),
        ("EC4SRecSSL", False, ("rec", "cl", "sl")),
        ("EC4SRecSSL", True, ("rec", "cl_pos", "cl_neg")),
        ("EC4SRecSL", False, ("rec", "cl", "sl")),
        ("EC4SRecSL", True, ("rec", "sl_pos")),
        ("CL4SRec", False, ("rec", "cl")),
        ("DuoRec", False, ("rec", "sl")),
    ],
)
def test_the_parts_of_the_loss_by_model_and_phase(model, guided, names, experiment):
    small = experiment(model)
    parts = small.model.calculate_loss(first_batch(small, guided))
    assert parts.names == names
    assert len(parts) == len(names)
    assert all(part.dim() == 0 and torch.isfinite(part) and part > 0 for part in parts)


@pytest.mark.parametrize(
    ("guided", "names"), [(False, {"lambda": ("cl", "sl")}), (True, {"lambda_cl_pos": ("cl_pos",)})]
)
def test_a_part_is_multiplied_by_its_weight(guided, names, experiment):
    ((key, scaled),) = names.items()
    once, thrice = experiment(**{key: 0.1}), experiment(**{key: 0.3})
    batch = first_batch(once, guided)
    lighter = once.model.eval().calculate_loss(batch)
    parts = dict(zip(lighter.names, lighter))
    heavier = thrice.model.eval().calculate_loss(batch)
    for name, part in zip(heavier.names, heavier):
        assert_close(part, parts[name] * (3 if name in scaled else 1))


@pytest.mark.parametrize(("model", "guided"), PHASES)
def test_every_parameter_that_encodes_is_trained(model, guided, experiment):
    small = experiment(model)
    sum(small.model.calculate_loss(first_batch(small, guided))).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in small.model.parameters())


@pytest.mark.parametrize(("model", "guided"), PHASES)
def test_a_batch_of_one_instance_has_a_finite_loss(model, guided, experiment):
    small = experiment(model, train_batch_size=1)
    batch = first_batch(small, guided)
    assert len(batch) == 1
    assert all(torch.isfinite(part) for part in small.model.calculate_loss(batch))


@pytest.mark.parametrize(("model", "guided"), PHASES)
def test_bpr_contrasts_each_instance_once_however_many_negative_items_it_has(model, guided, experiment):
    losses = []
    for number in (1, 3):
        negatives = {"distribution": "uniform", "sample_num": number}
        small = experiment(model, loss_type="BPR", train_neg_sample_args=negatives)
        if guided:
            guide(small)
        small.train_data.views.begin_epoch()
        batch = small.train_data.collate_fn(np.arange(8))
        losses.append(small.model.eval().calculate_loss(batch))
        assert len(batch) == 8 * number
    for once, three in zip(losses[0][1:], losses[1][1:]):
        assert_close(once, three)


@pytest.mark.parametrize("second_pass", [False, True])
def test_a_second_pass_encodes_the_instances_again(second_pass, experiment, monkeypatch):
    small = experiment("DuoRec", second_pass=second_pass)
    batch = first_batch(small)
    single = experiment("DuoRec").model.eval().calculate_loss(batch)
    for part, expected in zip(small.model.eval().calculate_loss(batch), single):
        assert_close(part, expected)  # without dropout both passes are the same

    calls, encode = [], small.model.backbone.encode
    monkeypatch.setattr(small.model.backbone, "encode", lambda *a, **k: calls.append(1) or encode(*a, **k))
    small.model.train().calculate_loss(batch)
    assert len(calls) == 1 + second_pass


# --- evaluation and reproducibility -----------------------------------------------------------------------------------


def test_full_ranking_ranks_the_test_item_among_all_items(experiment):
    small = experiment(topk=[5], valid_metric="NDCG@5")
    small.model.eval()
    hits = []
    for batch, _, users, items in small.test_data:
        scores = small.model.full_sort_predict(batch)[:, 1:]
        target = scores[users, items - 1].unsqueeze(1)
        hits.append((scores[users] > target).sum(1) < 5)
    result = small.trainer.evaluate(small.test_data, load_best_model=False)
    assert result["hit@5"] == pytest.approx(torch.cat(hits).float().mean().item(), abs=1e-4)


@pytest.mark.parametrize(("mode", "everybody_hits"), [("uni10", True), ("pop10", True), ("full", False)])
def test_sampled_evaluation_ranks_the_test_item_among_the_sample(mode, everybody_hits, experiment):
    small = experiment(eval_args={"split": {"LS": "valid_and_test"}, "order": "TO", "mode": mode}, topk=[10, 11])
    small.fit()
    result = small.trainer.evaluate(small.test_data)
    assert (result["hit@11"] == 1) == everybody_hits


def test_a_copy_of_the_model_is_independent_of_it(experiment):
    small = experiment()
    model = small.model.eval()
    copied = copy.deepcopy(model)
    batch = evaluation_batch(small)
    before = model.full_sort_predict(batch).detach()
    assert torch.equal(copied.full_sort_predict(batch), before)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.add_(torch.randn_like(parameter))
    assert torch.equal(model.full_sort_predict(batch), before)
    assert not torch.allclose(copied.full_sort_predict(batch), before)


def test_the_weights_survive_a_round_trip_through_a_checkpoint(experiment):
    one, other = experiment(seed=1), experiment(seed=2)
    batch = evaluation_batch(one)
    one.trainer._save_checkpoint(0)
    other.model.load_state_dict(compat.load_checkpoint(one.trainer.saved_model_file)["state_dict"])
    assert torch.equal(one.model.eval().full_sort_predict(batch), other.model.eval().full_sort_predict(batch))


def test_a_seed_decides_a_run(experiment):
    def run(seed):
        small = experiment(seed=seed)
        small.fit(saved=False)
        return small.trainer.train_loss_dict, small.trainer.evaluate(small.test_data, load_best_model=False)

    assert run(1) == run(1)
    assert run(1)[0] != run(2)[0]


# --- without waiting for a GPU ----------------------------------------------------------------------------------------
# Under FakeTensorMode tensors have a shape and a device, but no values: what passes here asks a GPU for none. The
# views of a batch and the lengths that decide about the grouping are made on the host.


@pytest.fixture
def gpu():
    """CUDA, fake: also on a torch without it, where tensors cannot be moved, compared by ``~`` or cut by brackets."""
    try:
        with FakeTensorMode():
            torch.empty(1, device="cuda")
    except (AssertionError, RuntimeError) as error:
        pytest.skip(f"this PyTorch wants a real GPU (2.0 does): {error}")
    return torch.device("cuda", 0)


@contextmanager
def on(device, model):
    """Inside, ``model`` is on ``device`` and ``to_device(batch)`` brings batches there; nothing has values."""
    with FakeTensorMode() as mode:

        def fake(tensor):
            return torch.empty_like(mode.from_tensor(tensor), device=device)

        def to_device(batch):
            fields = {name: fake(value) for name, value in batch.interaction.items()}
            if isinstance(batch, TrainingBatch):
                drawn = batch.drawn and batch.drawn.map(fake)
                return TrainingBatch(fields, batch.host_lengths, batch.guided, drawn, batch.sequences)
            return SequenceBatch(fields, getattr(batch, "host_lengths", {}))

        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                setattr(module, name, nn.Parameter(fake(parameter)))
        model.device = device
        yield to_device


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"second_pass": True, "same_target": "ignored"},
        {"same_target": "positive", "guided_negatives": "hard", "importance_scope": "context"},
        {"loss_type": "BPR"},
        {"train_on": "sequences", "MAX_ITEM_LIST_LENGTH": 5},
    ],
)
@pytest.mark.parametrize(("name", "guided"), PHASES)
def test_the_loss_reads_nothing_back_from_a_gpu(name, guided, options, experiment, gpu):
    small = experiment(name, **options)
    batch = first_batch(small, guided)
    number = len(small.model.calculate_loss(batch))
    with on(gpu, small.model) as to_gpu, torch.no_grad():
        parts = small.model.calculate_loss(to_gpu(batch))
        assert [part.device for part in parts] == [gpu] * number


@pytest.mark.parametrize("name", OUR_MODELS)
def test_predictions_read_nothing_back_from_a_gpu(name, experiment, gpu):
    small = experiment(name)
    batch, train_batch = evaluation_batch(small), first_batch(small)
    with on(gpu, small.model.eval()) as to_gpu, torch.no_grad():
        scores = small.model.full_sort_predict(to_gpu(batch))
        assert scores.device == gpu
        assert scores.shape == (len(batch), small.dataset.item_num)
        known = to_gpu(train_batch)
        for lengths in (known, SequenceBatch(known.interaction)):  # known on the host, and not
            assert small.model.predict(lengths).device == gpu


@pytest.mark.parametrize("target", ["predicted", "next", "max"])
@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize("name", OUR_MODELS)
def test_occlusion_reads_nothing_back_from_a_gpu(name, target, output, experiment, gpu):
    small = experiment(name, explain_target=target, explain_output=output)
    batch = first_batch(small)
    with on(gpu, small.model) as to_gpu:
        batch = to_gpu(batch)
        item_seq, item_seq_len, item = (batch[key] for key in ("item_id_list", "item_length", "item_id"))
        scores = small.trainer.explainer.attribute(item_seq, item_seq_len, item)
        assert scores.device == gpu
        assert scores.shape == item_seq.shape


def test_a_fake_gpu_notices_a_value_that_is_read_back(experiment, gpu):
    # Otherwise the tests above would prove nothing.
    small = experiment()
    batch = evaluation_batch(small)
    with on(gpu, small.model) as to_gpu:
        lengths = to_gpu(batch)["item_length"]
        with pytest.raises(DataDependentOutputException):
            lengths.max().item()
        with pytest.raises(DynamicOutputShapeException):
            lengths.masked_select(lengths > 1)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_mixed_precision_trains(dropout, experiment):
    mixed = experiment(enable_amp=True, hidden_dropout_prob=dropout, attn_dropout_prob=dropout)
    full = experiment(hidden_dropout_prob=dropout, attn_dropout_prob=dropout)
    for small in (mixed, full):
        small.fit()
    if dropout == 0:
        assert mixed.trainer.train_loss_dict[0] == pytest.approx(full.trainer.train_loss_dict[0], rel=0.02)
    assert mixed.trainer.train_loss_dict[3] < mixed.trainer.train_loss_dict[0]
