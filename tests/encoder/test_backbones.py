"""Which of RecBole's sequential recommenders can be backbones: each is trained, and docs/backbones.md lists them."""

import copy
import inspect

import pytest
import recbole.model.sequential_recommender as theirs
import torch
from conftest import OUR_MODELS, ROOT
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import get_model
from torch import nn

from recbole_ec4srec import register_model
from recbole_ec4srec.encoder import grouping
from recbole_ec4srec.encoder.backbone import PADDING_FREE, Backbone
from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.explain import build_explainer
from recbole_ec4srec.reporting.markdown import markdown_table

PAGE = ROOT / "docs" / "backbones.md"
SEQUENTIAL = sorted(
    name
    for name, cls in inspect.getmembers(theirs, inspect.isclass)
    if issubclass(cls, SequentialRecommender) and cls is not SequentialRecommender and name not in OUR_MODELS
)
NO_CONTRAST = {"lambda": 0, "lambda_cl_pos": 0, "lambda_cl_neg": 0, "lambda_sl_pos": 0}
EXPLAINERS = ("occlusion", "saliency", "integrated_gradients", "attention", "attention_norm")
ITEM_FEATURES = {"load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "class"]}}
_ROWS = {}


@pytest.fixture
def build(experiment, data_path):
    """``build(backbone)``: an experiment over items that have a feature, ``class``, as some backbones need."""
    classes = "".join(f"i{i}\tc{i % 3} c{3 + i % 5}\n" for i in range(1, 41))
    (data_path / "tiny" / "tiny.item").write_text("item_id:token\tclass:token_seq\n" + classes)
    settings = {"epochs": 2, "update_epochs": [2], **ITEM_FEATURES}
    yield lambda backbone, **others: experiment(backbone=backbone, **{**settings, **others})
    (data_path / "tiny" / "tiny.item").unlink()


@pytest.fixture
def rows(build):
    """The row of every backbone in the table of docs/backbones.md, after training it."""
    if not _ROWS:
        for name in SEQUENTIAL:
            try:
                experiment = build(name, explainer="random")
            except ConfigError as error:
                _ROWS[name] = [name, "no", "", str(error).removeprefix(f"backbone: got {name!r}, ")]
                continue
            initial = experiment.model.backbone.item_vectors().detach().clone()
            experiment.fit(saved=False)
            assert not torch.equal(experiment.model.backbone.item_vectors(), initial)
            assert all(parameter.isfinite().all() for parameter in experiment.model.parameters())
            fitting = []
            for explainer in EXPLAINERS:
                try:
                    experiment.trainer.explainer = build_explainer(experiment.config, experiment.model, explainer)
                except ConfigError as error:
                    assert name in str(error)
                    continue
                experiment.trainer.update_importance(experiment.train_data)
                importance = experiment.train_data.importance.values
                assert importance.isfinite().all() and importance.abs().max() > 0
                fitting.append(explainer)
            try:
                build(name, explainer="random", train_on="sequences")
                sequences = "yes"
            except ConfigError:
                sequences = "no"
            _ROWS[name] = [name, "yes", sequences, ", ".join(fitting) or "none but random and oracle"]
    return _ROWS


def test_the_page_tells_which_backbones_train_and_why_others_do_not(rows):
    table = markdown_table(["backbone", "trains", "train_on: sequences", "explainers, or the reason"], rows.values())
    print("", *table, sep="\n")
    told = PAGE.read_text(encoding="utf-8").splitlines()
    assert [row for row in table if row not in told] == []  # RecBole 1.2.0 has some models less


def test_at_least_twenty_backbones_train_with_those_of_the_paper_among_them(rows):
    trained = [name for name, row in rows.items() if row[1] == "yes"]
    assert len(trained) >= 20
    assert {"SASRec", "GRU4Rec", "Caser", "BERT4Rec"} <= set(trained)


def test_the_causal_ones_can_be_trained_on_sequences(rows):
    assert {"SASRec", "GRU4Rec"} <= {name for name, row in rows.items() if row[2] == "yes"}


def sequences(n=40, width=8, longest=8):
    generator = torch.Generator().manual_seed(2)
    lengths = torch.arange(n) % longest + 1
    items = torch.randint(1, 40, (n, width), generator=generator)
    users = torch.randint(1, 60, (n,), generator=generator)
    return torch.where(torch.arange(width) < lengths.unsqueeze(1), items, 0), lengths, users


def far_from_initial(backbone):
    torch.manual_seed(1)
    for parameter in backbone.parameters():
        nn.init.normal_(parameter, std=0.3)
    return backbone.eval()


@torch.no_grad()
def is_padding_free(backbone, monkeypatch):
    """Whether cutting groups of sequences, none as long as the maximum, to their longest leaves the numbers alone."""
    monkeypatch.setattr(grouping, "GROUP_COST", 0)
    monkeypatch.setattr(Backbone, "fast_encoder", None)
    item_seq, lengths, users = sequences(longest=5)
    padded = backbone(item_seq, lengths, user=users)
    backbone.padding_free = True
    try:
        return torch.allclose(padded, backbone.encode(item_seq, lengths, user=users), rtol=1e-4, atol=1e-5)
    except (RuntimeError, IndexError):
        return False


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_padding_is_cut_where_that_changes_nothing_and_only_there(name, build, monkeypatch):
    try:
        backbone = far_from_initial(build(name, explainer="random").model.backbone)
    except ConfigError:
        assert name not in PADDING_FREE
        return
    assert backbone.padding_free == (name in PADDING_FREE)
    assert is_padding_free(backbone, monkeypatch) == (name in PADDING_FREE)


@pytest.mark.parametrize("name", ["BERT4Rec", "CORE", "Caser", "HGN", "HRM", "NPE", "S3Rec", "SHAN", "NARM"])
def test_scores_are_recboles(name, build):
    experiment = build(name, explainer="random")
    ours = far_from_initial(experiment.model.backbone)
    batch = next(iter(experiment.test_data))[0]
    experiment.model.eval()
    with torch.no_grad():
        scores = experiment.model.full_sort_predict(batch)
        expected = ours.model.full_sort_predict(batch)[:, : ours.n_items]
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
        candidates = torch.arange(1, len(scores) + 1) % 39 + 1
        batch.update(type(batch)({"item_id": candidates}))
        one = scores.gather(1, candidates.unsqueeze(1)).squeeze(1)
        torch.testing.assert_close(experiment.model.predict(batch), one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["Caser", "NARM", "STAMP", "HGN"])
def test_the_softmax_over_all_items_is_of_those_scores(name, build):
    backbone = far_from_initial(build(name, **NO_CONTRAST).model.backbone)
    item_seq, lengths, users = sequences()
    target = torch.arange(40) % 39 + 1
    encoded = backbone(item_seq, lengths, user=users)
    expected = nn.functional.cross_entropy(backbone.score_all(encoded), target)
    torch.testing.assert_close(backbone.cross_entropy(encoded, target), expected, rtol=1e-5, atol=1e-5)


def test_bert4rec_trains_the_bias_of_its_scores(build):
    experiment = build("BERT4Rec", **NO_CONTRAST)
    experiment.model.train()
    sum(experiment.model.calculate_loss(next(iter(experiment.train_data)))).backward()
    assert experiment.model.backbone.model.output_bias.grad.abs().max() > 0


def test_bert4recs_own_mask_token_is_not_the_mask_item(build):
    backbone = build("BERT4Rec").model.backbone
    assert backbone.model.mask_token == backbone.n_items + 1
    assert backbone.model.item_embedding.num_embeddings == backbone.n_items + 2


@pytest.mark.parametrize("name", ["SASRecF", "FEARec"])
def test_a_model_can_be_copied_with_the_data_set_that_its_backbone_holds(name, build):
    model = build(name, explainer="random").model
    copied = copy.deepcopy(model)  # as RecBole does to count FLOPs
    assert copied is not model
    assert all(torch.equal(value, copied.state_dict()[key]) for key, value in model.state_dict().items())


def test_what_a_backbone_prints_is_not_among_the_results(build, capsys):
    build("FEARec", explainer="random")
    printed = capsys.readouterr()
    assert printed.out == "" and "modes_q" in printed.err


def test_whether_embeddings_can_be_given_does_not_depend_on_how_small_they_are(build):
    backbone = build("STAMP", embedding_size=8, explainer="random").model.backbone
    assert backbone.takes_embeddings


def test_a_retrieved_view_is_encoded_with_the_user_that_it_is_of(build):
    experiment = build("Caser", model="DuoRec", update_epochs=[])
    batch = next(iter(experiment.train_data)).with_views()
    instances = experiment.train_data._dataset
    users = {tuple(seq.tolist()): set() for seq in batch["sl_item_id_list"]}
    everything = instances.item_sequences(torch.arange(len(instances)))[0]
    for seq, user in zip(everything.tolist(), instances.inter_feat["user_id"].tolist()):
        users.setdefault(tuple(seq), set()).add(user)
    for seq, user in zip(batch["sl_item_id_list"].tolist(), batch["sl_user_id"].tolist()):
        assert user in users[tuple(seq)]
    assert (batch["sl_user_id"] != batch["user_id"]).any()

    seen = []
    backbone = experiment.model.backbone
    encode = backbone.encode
    backbone.encode = lambda *args, user, **given: seen.append(user) or encode(*args, user=user, **given)
    experiment.model.calculate_loss(batch)
    assert torch.equal(seen[0], torch.cat([batch["user_id"], batch["sl_user_id"]]))


def test_a_backbone_that_needs_the_user_says_so(build):
    model = build("Caser").model
    item_seq, lengths, _ = sequences()
    with pytest.raises(ValueError, match="Caser encodes the user"):
        model.backbone.encode(item_seq, lengths)
    with pytest.raises(ValueError, match="Caser encodes the user"):
        model.full_sort_predict(Interaction({"item_id_list": item_seq, "item_length": lengths}))


@torch.no_grad()
def test_no_user_is_asked_for_where_the_backbone_takes_none(build):
    model = build("GRU4Rec").model.eval()
    item_seq, lengths, users = sequences()
    batch = {"item_id_list": item_seq, "item_length": lengths}
    scores = model.full_sort_predict(Interaction(batch))  # RecBole's documented way to predict for new users
    assert torch.equal(scores, model.full_sort_predict(Interaction({**batch, "user_id": users})))
    candidates = torch.arange(len(lengths)) % 39 + 1
    one = model.predict(Interaction({**batch, "item_id": candidates}))
    torch.testing.assert_close(one, scores.gather(1, candidates.unsqueeze(1)).squeeze(1))


@pytest.mark.parametrize("explainer", ["occlusion", "saliency", "captum:FeatureAblation"])
def test_an_explainer_that_does_not_fit_is_refused_with_the_reason(explainer, build):
    with pytest.raises(ConfigError, match=f"explainer: got '{explainer}'.*SRGNN"):
        build("SRGNN", explainer=explainer)


def test_a_backbone_has_recboles_settings_and_the_users_own(build):
    backbone = build("NARM", hidden_size=24).model.backbone.model
    assert type(backbone) is get_model("NARM")
    assert backbone.gru.hidden_size == 24
    assert backbone.emb_dropout.p == 0.25  # of RecBole's properties/model/NARM.yaml


def test_a_backbone_of_ones_own_is_named_once_it_is_registered(build):
    class Sum(SequentialRecommender):
        def __init__(self, config, dataset):
            super().__init__(config, dataset)
            self.item_embedding = nn.Embedding(self.n_items, config["hidden_size"], padding_idx=0)

        def forward(self, item_seq, item_seq_len):
            return self.item_embedding(item_seq).sum(1)

        def full_sort_predict(self, interaction):
            encoded = self(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
            return encoded @ self.item_embedding.weight.T

    with pytest.raises(ConfigError, match="or your own"):
        build("Sum")
    register_model(Sum)
    experiment = build("Sum")
    backbone = experiment.model.backbone
    assert type(backbone.model) is Sum and backbone.model.item_embedding.num_embeddings == 42  # with padding and [m]
    item_seq, lengths, _ = sequences()
    expected = torch.stack([backbone.embed(seq[seq > 0]).sum(0) for seq in item_seq])
    torch.testing.assert_close(backbone.encode(item_seq, lengths), expected)
    experiment.fit(saved=False)
    assert experiment.train_data.importance.values.abs().max() > 0  # occlusion
