"""Every explanation method against captum or by hand, on every backbone of the paper and its code."""

import itertools
from unittest.mock import patch

import captum.attr
import numpy as np
import pytest
import torch
from recbole.model.layers import MultiHeadAttention
from torch import nn

from recbole_ec4srec.config.keys import KEYS
from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.explain import EXPLAINERS, AttentionNorm, Explainer, build_explainer, register_explainer

BACKBONES = ["SASRec", "GRU4Rec", "Caser", "BERT4Rec"]
TARGETS = ["predicted", "next", "max"]
OUTPUTS = ["logit", "probability"]
WITH_A_FORWARD_FUNCTION = [
    "FeatureAblation",
    "GradientShap",
    "InputXGradient",
    "IntegratedGradients",
    "KernelShap",
    "Lime",
    "Occlusion",
    "Saliency",
    "ShapleyValueSampling",
]
_BUILT = {}


@pytest.fixture
def model(experiment):
    """``model(backbone)``: a model whose weights are far from their initial values, the same for all tests."""

    def get(backbone, **settings):
        key = backbone, *settings.items()
        if key not in _BUILT:
            built = experiment(backbone=backbone, **settings)
            torch.manual_seed(1)
            for name, parameter in built.model.named_parameters():
                # Caser has a filter of every height, whose sums would saturate its activations.
                nn.init.normal_(parameter, std=0.1 if backbone == "Caser" and "conv" in name else 0.3)
            _BUILT[key] = built
        return _BUILT[key]

    return get


def sequences(lengths, width):
    """``(item_seq, item_seq_len, next_item, user)``."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor(lengths)
    items = torch.randint(1, 40, (len(lengths), width), generator=generator)
    inside = torch.arange(width) < lengths.unsqueeze(1)
    following, user = (torch.randint(1, 40, (len(lengths),), generator=generator) for _ in range(2))
    return items * inside, lengths, following, user


def explainer_of(built, name, target="predicted", output="logit", batch_size=4096):
    explainer = build_explainer(built.config, built.model, name)
    explainer.target, explainer.output, explainer.batch_size = target, output, batch_size
    return explainer


def captums(model, name, batch, target, output):
    """What captum gives when RecBole's padded forward is asked, ``[B, L]``."""
    item_seq, item_seq_len, next_item, user = batch
    backbone = model.eval().backbone

    def scores(encoded):
        scores = backbone.score_all(encoded)[:, 1:]
        return scores.softmax(1) if output == "probability" else scores

    def outcome(embedding, item_seq, item_seq_len, chosen, user):
        values = scores(backbone(item_seq, item_seq_len, embedding, user))
        return values.amax(1) if target == "max" else values.gather(1, chosen.unsqueeze(1) - 1).squeeze(1)

    with torch.no_grad():
        chosen = next_item if target == "next" else scores(backbone(item_seq, item_seq_len, user=user)).argmax(1) + 1
        embedding = backbone.embed(item_seq)
    shape = {"sliding_window_shapes": (1, embedding.shape[2])} if name == "Occlusion" else {}
    attributions = getattr(captum.attr, name)(outcome).attribute(
        embedding.requires_grad_(), additional_forward_args=(item_seq, item_seq_len, chosen, user), **shape
    )
    attributions = attributions.detach().float()  # captum 0.6 has doubles of integrated gradients
    return (attributions[..., 0] if name == "Occlusion" else attributions.sum(2)) * (item_seq > 0)


CAPTUMS = {"occlusion": "Occlusion", "saliency": "Saliency", "integrated_gradients": "IntegratedGradients"}


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("explainer", CAPTUMS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_equals_captum_for_every_length(backbone, explainer, target, output, model):
    built, batch = model(backbone), sequences([*range(8, 0, -1), 3, 8], 8)
    attributions = explainer_of(built, explainer, target, output).attribute(*batch)
    expected = captums(built.model, CAPTUMS[explainer], batch, target, output)
    assert expected.abs().max() > 1e-4
    torch.testing.assert_close(attributions, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("explainer", CAPTUMS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_equals_captum_for_every_length_up_to_50(backbone, explainer, model):
    built, batch = model(backbone, MAX_ITEM_LIST_LENGTH=50), sequences(range(1, 51), 50)
    attributions = explainer_of(built, explainer).attribute(*batch)
    expected = captums(built.model, CAPTUMS[explainer], batch, "predicted", "logit")
    torch.testing.assert_close(attributions, expected, rtol=1e-3, atol=1e-5 * max(1, expected.abs().max().item()))


@pytest.mark.parametrize("explainer", [*CAPTUMS, "attention", "attention_norm", "captum:InputXGradient"])
@pytest.mark.parametrize("backbone", ["SASRec", "BERT4Rec"])
def test_chunks_and_grouping_change_nothing(backbone, explainer, model):
    built, batch = model(backbone), sequences([5, 1, 8, 8, 2, 3], 8)
    whole = explainer_of(built, explainer).attribute(*batch)
    for size in (1, 7, 30):
        in_parts = explainer_of(built, explainer, batch_size=size).attribute(*batch)
        torch.testing.assert_close(in_parts, whole, rtol=1e-4, atol=1e-5)
    narrow = sequences([5, 1, 2], 8)
    cut = [tensor[:, :5] if tensor.dim() == 2 else tensor for tensor in narrow]
    whole = explainer_of(built, explainer).attribute(*narrow)
    torch.testing.assert_close(explainer_of(built, explainer).attribute(*cut), whole[:, :5], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "explainer"),
    [
        *itertools.product(BACKBONES, CAPTUMS),
        ("SASRec", "attention"),
        ("SASRec", "attention_norm"),
        ("BERT4Rec", "attention"),
    ],
)
def test_the_table_holds_what_each_instance_gets(backbone, explainer, model):
    built = model(backbone)
    dataset = built.train_data._dataset
    table = explainer_of(built, explainer, batch_size=64).table(dataset, torch.device("cpu"))
    rows = torch.arange(0, len(dataset), 7)
    item_seq, lengths = dataset.item_sequences(rows)
    alone = explainer_of(built, explainer).attribute(
        item_seq, lengths, dataset.inter_feat["item_id"][rows], dataset.inter_feat["user_id"][rows]
    )
    torch.testing.assert_close(table.rows(rows), alone, rtol=1e-4, atol=1e-5)


def by_hand_attention(backbone, item_seq, item_seq_len):
    """The last layer's attention of the last position: RecBole's forward up to there, written out."""
    model, width = backbone.model, item_seq.shape[1]
    hidden = model.LayerNorm(model.item_embedding(item_seq) + model.position_embedding.weight[:width])
    *layers, last = model.trm_encoder.layer
    mask = model.get_attention_mask(item_seq)
    for layer in layers:
        hidden = layer(hidden, mask)
    attention, weights = last.multi_head_attention, []
    for h in range(attention.num_attention_heads):
        part = slice(h * attention.attention_head_size, (h + 1) * attention.attention_head_size)
        query, key = attention.query(hidden)[..., part], attention.key(hidden)[..., part]
        scores = query @ key.transpose(1, 2) / attention.attention_head_size**0.5 + mask[:, 0]
        weights.append(scores.softmax(-1)[torch.arange(len(item_seq)), item_seq_len - 1])
    return torch.stack(weights).mean(0)


@torch.no_grad()
def test_attention_is_the_last_layers_of_the_last_position_averaged_over_heads(model):
    built, (item_seq, lengths, *_) = model("SASRec"), sequences([8, 3, 1, 5], 8)
    attributions = explainer_of(built, "attention").attribute(item_seq, lengths)
    built.model.eval()
    torch.testing.assert_close(
        attributions, by_hand_attention(built.model.backbone, item_seq, lengths), rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(attributions.sum(1), torch.ones(4))
    assert attributions[2].tolist() == [1, *[0] * 7]


def test_attention_norm_by_hand_of_two_heads_and_three_positions():
    layer = MultiHeadAttention(2, 4, 0.0, 0.0, 1e-12)
    with torch.no_grad():
        layer.dense.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [1, 0, 0, 1]]))
        layer.dense.bias.fill_(100)  # comes from no item
    weights = torch.tensor([[[0.5, 0.25, 0.25], [0.0, 0.5, 0.5]]])  # of two heads
    values = torch.tensor([[[2.0, 4, 7, 9], [4, 0, 2, 0], [0, 8, 0, 2]]])
    # Weighted: (1, 2, 0, 0), (1, 0, 1, 0), (0, 2, 0, 1); projected: (1, 2, 0, 1), (1, 0, 2, 1), (0, 2, 0, 1).
    expected = torch.tensor([[6.0, 6.0, 5.0]]).sqrt()
    torch.testing.assert_close(AttentionNorm._of_layer(weights, values, layer), expected)


@torch.no_grad()
def test_attention_norm_is_of_what_each_position_adds_to_the_output_of_the_last_layer(model):
    built, (item_seq, lengths, *_) = model("SASRec"), sequences([3, 2, 1], 3)
    scores = explainer_of(built, "attention_norm").attribute(item_seq, lengths)
    backbone = built.model.eval().backbone
    sasrec, attention = backbone.model, backbone.model.trm_encoder.layer[-1].multi_head_attention
    hidden = sasrec.LayerNorm(sasrec.item_embedding(item_seq) + sasrec.position_embedding.weight[:3])
    for layer in sasrec.trm_encoder.layer[:-1]:
        hidden = layer(hidden, sasrec.get_attention_mask(item_seq))
    size = attention.attention_head_size
    for row, n in enumerate(lengths.tolist()):
        added = torch.zeros(n, attention.dense.out_features)
        for h in range(attention.num_attention_heads):
            part = slice(h * size, (h + 1) * size)
            query, key, value = (
                getattr(attention, name)(hidden[row, :n])[:, part] for name in ("query", "key", "value")
            )
            weights = (key @ query[n - 1] / size**0.5).softmax(0)
            added += weights.unsqueeze(1) * value @ attention.dense.weight[:, part].T
        torch.testing.assert_close(scores[row, :n], added.norm(dim=1), rtol=1e-4, atol=1e-5)
        assert (scores[row, n:] == 0).all()
        output = attention.LayerNorm(added.sum(0) + attention.dense.bias + hidden[row, n - 1])
        theirs = attention(hidden, sasrec.get_attention_mask(item_seq))[row, n - 1]
        torch.testing.assert_close(output, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["attention", "attention_norm"])
def test_attention_of_bert4rec_is_that_of_its_mask_and_its_first_item_is_not_seen(name, model):
    item_seq, lengths, *_ = sequences([8, 3, 5], 8)
    attributions = explainer_of(model("BERT4Rec"), name).attribute(item_seq, lengths)
    assert (attributions[:, 0] == 0).all()
    assert (attributions[:, 1:][item_seq[:, 1:] > 0] > 0).all()
    assert name != "attention" or (attributions.sum(1) < 1).all()  # the mask looks at itself too


@pytest.mark.parametrize("name", ["attention", "attention_norm"])
def test_attention_needs_attention(name, experiment):
    with pytest.raises(ConfigError, match=rf"explainer: got '{name}'.*MultiHeadAttention.*GRU4Rec has not"):
        experiment(backbone="GRU4Rec", explainer=name)


@pytest.mark.parametrize("name", WITH_A_FORWARD_FUNCTION)
def test_captums_classes_that_take_a_forward_function(name, model):
    built, batch = model("SASRec"), sequences([5, 1, 3], 8)
    explainer = explainer_of(built, f"captum:{name}")
    state = torch.random.get_rng_state()
    attributions = explainer.attribute(*batch)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(explainer.attribute(*batch), attributions)
    assert attributions.isfinite().all() and (attributions[batch[0] == 0] == 0).all()
    assert (attributions[batch[0] > 0] != 0).any()


def test_taking_one_item_away_is_the_same_by_any_of_captums_ways(model):
    built, batch = model("GRU4Rec"), sequences([5, 1, 3], 8)
    ours = explainer_of(built, "occlusion").attribute(*batch)
    for name in ("FeatureAblation", "Occlusion"):
        torch.testing.assert_close(explainer_of(built, f"captum:{name}").attribute(*batch), ours, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("DeepLift", "needs model"),
        ("LayerConductance", "needs forward_func, layer"),
        ("NoiseTunnel", "needs attribution_method"),
        ("Foo", "captum has no attribution Foo"),
        ("", "captum has no attribution"),
    ],
)
def test_what_captum_has_not_or_needs_more_for_is_refused(name, reason, make_config):
    with pytest.raises(ConfigError, match=f"^explainer: got 'captum:{name}'.*captum:<Class>"):
        make_config(explainer=f"captum:{name}")
    with pytest.raises(ValueError, match=reason):
        KEYS["explainer"].parse(f"captum:{name}")


@pytest.mark.parametrize("explainer", [*list(EXPLAINERS)[:4], "captum:InputXGradient"])
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was_found(explainer, training, model):
    built = model("SASRec")
    built.model.train(training)
    built.model.backbone.model.dropout.train(not training)
    before = {name: value.clone() for name, value in built.model.state_dict().items()}
    modes = [module.training for module in built.model.modules()]
    explainer_of(built, explainer).attribute(*sequences([3, 8], 8))
    assert modes == [module.training for module in built.model.modules()]
    assert all(torch.equal(value, before[name]) for name, value in built.model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in built.model.parameters())
    assert not any(m._forward_hooks for m in built.model.modules() if isinstance(m, (nn.Embedding, MultiHeadAttention)))


def test_an_explainer_of_ones_own_is_trained_with_by_its_name(experiment):
    class Position(Explainer):
        def attribute_batch(self, item_seq, item_seq_len, user, encoded, item):
            return torch.arange(item_seq.shape[1]).expand(item_seq.shape)

    with pytest.raises(ConfigError, match="explainer: got 'position'"):
        experiment(explainer="position")
    with patch.dict(EXPLAINERS):
        register_explainer(Position, "position")
        trained = experiment(explainer="position")
        trained.fit(saved=False)
    table = trained.train_data.importance
    longest = table.offsets.diff().argmax().reshape(1)
    assert table.rows(longest)[0].tolist() == list(range(8))


def test_an_explainer_that_nobody_registered_is_refused_by_name(model):
    built = model("SASRec")
    with pytest.raises(ConfigError, match="explainer: got 'position', allowed is one of occlusion, saliency"):
        build_explainer(built.config, built.model, "position")


def test_an_explainer_of_ones_own_cannot_take_the_name_of_ours():
    with pytest.raises(ValueError, match="an explainer named saliency already"):
        register_explainer(Explainer, "saliency")


# --- explainers that use no model -------------------------------------------------------------------------------------


def test_random_importance_differs_between_updates_and_is_repeated_by_its_seed(experiment):
    first, second = (experiment(explainer="random", seed=seed) for seed in (3, 3))
    dataset = first.train_data._dataset
    tables = [first.trainer.explainer.table(dataset, torch.device("cpu")).values for _ in range(2)]
    assert not torch.equal(*tables)
    assert torch.equal(tables[0], second.trainer.explainer.table(dataset, torch.device("cpu")).values)
    assert tables[0].min() >= 0 and 0.45 < tables[0].mean() < 0.55 and tables[0].max() < 1
    other = experiment(explainer="random", seed=4).trainer.explainer.table(dataset, torch.device("cpu"))
    assert not torch.equal(tables[0], other.values)


def importance_of(user, item):
    return sum(map(ord, user + item)) % 17 / 4


@pytest.fixture
def with_scores(data_path):
    """The interactions with a column ``importance``, and a file of the same scores; the folder of both."""
    source = (data_path / "tiny" / "tiny.inter").read_text().splitlines()
    rows = [line.split("\t") for line in source[1:]]
    folder = data_path / "scored"
    folder.mkdir(exist_ok=True)
    lines = ["\t".join([source[0], "importance:float"])]
    lines += ["\t".join([*row, str(importance_of(row[0], row[1]))]) for row in rows]
    (folder / "scored.inter").write_text("\n".join(lines) + "\n")
    pairs = sorted({(row[0], row[1]) for row in rows})
    lines = ["user\titem\tscore", *(f"{user}\t{item}\t{importance_of(user, item)}" for user, item in pairs)]
    (folder / "scores.tsv").write_text("\n".join(lines) + "\n")
    return folder


SCORED = {"dataset": "scored", "load_col": {"inter": ["user_id", "item_id", "timestamp", "importance"]}}


@pytest.mark.parametrize("source", ["importance", "scores.tsv"])
def test_an_oracles_scores_come_from_a_field_or_a_file(source, with_scores, experiment):
    scores = source if source == "importance" else str(with_scores / source)
    built = experiment(explainer="oracle", oracle_scores=scores, **SCORED)
    dataset = built.train_data._dataset
    table = built.trainer.explainer.table(dataset, torch.device("cpu"))
    for row in range(0, len(dataset), 11):
        item_seq, length = (tensor[0] for tensor in dataset.item_sequences(torch.tensor([row])))
        user = dataset.id2token("user_id", int(dataset.inter_feat["user_id"][row]))
        items = np.atleast_1d(dataset.id2token("item_id", item_seq[:length]))
        expected = [importance_of(user, item) for item in items]
        assert np.allclose(table.rows(torch.tensor([row]))[0, :length], expected)
    built.fit(saved=False)
    assert built.train_data.guided


def test_an_oracle_has_to_know_every_interaction(with_scores, experiment):
    short = with_scores / "short.tsv"
    lines = (with_scores / "scores.tsv").read_text().splitlines()
    short.write_text("\n".join(line for line in lines if not line.startswith("same\t")) + "\n")
    built = experiment(explainer="oracle", oracle_scores=str(short), **SCORED)
    with pytest.raises(ConfigError, match=r"no score for 6 of .* interactions, the first of user same and item i5"):
        built.fit(saved=False)
    assert built.trainer.train_loss_dict == {}  # before any training


def test_an_oracle_needs_the_interactions_that_the_windows_are_cut_from(with_scores, experiment, monkeypatch):
    built = experiment(explainer="oracle", oracle_scores="importance", **SCORED)
    monkeypatch.setattr(built.train_data._dataset, "history", None)  # as of files that are split already
    with pytest.raises(ConfigError, match=r"^explainer: got 'oracle', which has no scores for files that are split"):
        built.fit(saved=False)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "FileNotFoundError"),
        ("user\titem\nu1\ti1\n", "IndexError"),
        ("user\titem\tscore\nu1\ti1\tmuch\n", "ValueError"),
    ],
)
def test_a_file_that_is_no_oracle_is_refused(content, reason, tmp_path, experiment):
    file = tmp_path / "oracle.tsv"
    if content is not None:
        file.write_text(content)
    built = experiment(explainer="oracle", oracle_scores=str(file))
    with pytest.raises(ConfigError, match=rf"^oracle_scores: got .*user_id, item_id, timestamp.*{reason}"):
        built.trainer.explainer.table(built.train_data._dataset, torch.device("cpu"))


def test_an_oracle_needs_scores_that_are_numbers(with_scores, experiment, make_config):
    with pytest.raises(ConfigError, match=r"^oracle_scores: got '', allowed is a field"):
        make_config(explainer="oracle")
    text = (with_scores / "scores.tsv").read_text()
    text = text.replace(f"same\ti5\t{importance_of('same', 'i5')}", "same\ti5\tnan")
    (with_scores / "nan.tsv").write_text(text)
    built = experiment(explainer="oracle", oracle_scores=str(with_scores / "nan.tsv"), **SCORED)
    with pytest.raises(ConfigError, match="allowed is a finite number"):
        built.trainer.explainer.table(built.train_data._dataset, torch.device("cpu"))
