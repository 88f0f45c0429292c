"""RecBole's SASRec computed without padding gives RecBole's numbers, and so does the dropout, on average."""

import pytest
import torch
from recbole.model.sequential_recommender import SASRec
from torch import nn

from recbole_ec4srec import register_model
from recbole_ec4srec.encoder import backbone as backbones
from recbole_ec4srec.encoder.grouping import Group
from recbole_ec4srec.encoder.kernels import sasrec
from recbole_ec4srec.encoder.kernels.dropout import FastDropout, use_fast_dropout


@pytest.fixture(params=[1, 2, 3])
def backbone(request, experiment):
    """An EC4SRec's encoder in evaluation mode, with weights far from their initial values."""
    encoder = experiment(n_layers=request.param).model.backbone.eval()
    torch.manual_seed(1)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.3)
    return encoder


def sequences(n=40, width=8):
    lengths = torch.arange(n) % width + 1
    items = torch.randint(1, 40, (n, width), generator=torch.Generator().manual_seed(2))
    return torch.where(torch.arange(width) < lengths.unsqueeze(1), items, 0), lengths


def test_grouped_encoding_is_recboles_forward(backbone):
    item_seq, lengths = sequences()
    padded = backbone.model(item_seq, lengths)
    assert torch.allclose(backbone.encode(item_seq, lengths), padded, atol=1e-5)


def test_without_lengths_on_the_host_everything_is_one_group(backbone):
    item_seq, lengths = sequences()
    together = backbone.fast_encoder.encode(backbone.model, item_seq, lengths, [Group(0, len(lengths), 8)])
    assert torch.allclose(together, backbone.model(item_seq, lengths), atol=1e-5)


def test_grouped_encoding_of_given_embeddings_is_recboles_forward(backbone):
    item_seq, lengths = sequences()
    embedding = torch.randn(*item_seq.shape, 16, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(
        backbone.encode(item_seq, lengths, item_embedding=embedding),
        backbone(item_seq, lengths, item_embedding=embedding),
        atol=1e-5,
    )


def test_grouped_encoding_has_recboles_gradients(backbone):
    item_seq, lengths = sequences()
    gradients = []
    for encode in (backbone.model, backbone.encode):
        backbone.zero_grad()
        encode(item_seq, lengths).square().sum().backward()
        gradients.append([parameter.grad for parameter in backbone.parameters()])
    for padded, grouped in zip(*gradients):
        assert torch.allclose(padded, grouped, rtol=1e-3, atol=1e-4)


def within_its_error(ours, theirs):
    """Whether means, and whether variances, of draws ``[draws, …]`` differ by less than 4.5 standard errors: by chance
    one in 150,000 differs by more, and the draws are seeded."""
    means, errors, variances, errors_of_variances = [], [], [], []
    for draws in (ours, theirs):
        deviations = draws - draws.mean(0)
        variance, fourth = deviations.square().mean(0), deviations.pow(4).mean(0)
        means.append(draws.mean(0))
        errors.append(variance / len(draws))
        variances.append(variance)
        errors_of_variances.append((fourth - variance.square()) / len(draws))
    return [
        ((first - second).abs() < 4.5 * (error + other).sqrt()).all().item()
        for (first, second), (error, other) in ((means, errors), (variances, errors_of_variances))
    ]


@torch.no_grad()
@pytest.mark.parametrize(("hidden", "attention"), [(0.5, 0.0), (0.0, 0.5), (0.3, 0.2)])
def test_with_dropout_mean_and_variance_of_representations_are_recboles(hidden, attention, experiment):
    e = experiment(n_layers=2, hidden_dropout_prob=hidden, attn_dropout_prob=attention)
    backbone = e.model.backbone.train()
    theirs = SASRec(e.config, e.dataset).train()  # with RecBole's dropout
    torch.manual_seed(1)
    for parameter in backbone.parameters():
        if parameter.dim() > 1:  # the normalisations stay as they are, so that every dropout counts
            nn.init.normal_(parameter, std=0.3)
    weights = backbone.model.state_dict()
    weights["item_embedding.weight"] = weights["item_embedding.weight"][: e.dataset.item_num]
    theirs.load_state_dict(weights)
    draws, lengths = 4000, torch.tensor([8, 2, 5])
    item_seq = torch.randint(1, 40, (3, 8)) * (torch.arange(8) < lengths.unsqueeze(1))
    batch = item_seq.repeat(draws, 1), lengths.repeat(draws)
    encoded = [encode(*batch).view(draws, 3, -1) for encode in (backbone.encode, theirs)]
    assert (encoded[0].std(0) > 0).all()
    assert within_its_error(*encoded) == [True, True]


@torch.no_grad()
def test_every_prefix_gets_the_representation_that_it_has_alone(backbone):
    item_seq = sequences()[0][7::8]  # the full ones
    states = sasrec.PrefixPass(backbone.model, item_seq).states
    for length in range(1, 9):
        alone = backbone.model(item_seq[:, :length], torch.full((len(item_seq),), length))
        assert torch.allclose(states[:, length - 1], alone, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("last_only", [False, True])
def test_an_occluded_prefix_gets_the_representation_of_a_zero_embedding(backbone, last_only):
    item_seq = sequences()[0][7::8]
    n = len(item_seq)
    prefixes = sasrec.PrefixPass(backbone.model, item_seq, last_only)
    whole = backbone.model(item_seq, torch.full((n,), 8))
    assert torch.allclose(prefixes.states[:, -1], whole, atol=1e-5)
    for position in reversed(range(8)):
        embedding = backbone.embed(item_seq).clone()
        embedding[:, position] = 0
        states = prefixes.without(position)
        ends = [8] if last_only else range(position + 1, 9)
        assert states.shape == (n, len(ends), 16)
        for state, length in zip(states.unbind(1), ends):
            direct = backbone(item_seq[:, :length], torch.full((n,), length), embedding[:, :length])
            assert torch.allclose(state, direct, atol=1e-5)


@pytest.mark.parametrize("p", [0.5, 0.25, 0.1, 0.37])
def test_dropout_drops_with_its_probability_and_keeps_the_mean(p):
    torch.manual_seed(4)
    kept = FastDropout(p)(torch.ones(1000, 1001))
    assert (kept == 0).float().mean().item() == pytest.approx(p, abs=2e-3)
    assert kept.mean().item() == pytest.approx(1, abs=5e-3)
    assert len(kept.unique()) == 2


def test_dropout_drops_neighbours_and_whole_words_independently():
    torch.manual_seed(5)
    dropped = (FastDropout(0.5)(torch.ones(4096, 64)) == 0).float()
    correlation = torch.corrcoef(dropped.T) - torch.eye(64)
    assert correlation.abs().max() < 0.08


def test_dropout_is_repeated_by_its_seed_and_off_in_evaluation():
    dropout, ones = FastDropout(0.3), torch.ones(50, 7)
    torch.manual_seed(6)
    first = dropout(ones)
    torch.manual_seed(6)
    assert torch.equal(first, dropout(ones))
    assert not torch.equal(first, dropout(ones))
    assert torch.equal(dropout.eval()(ones), ones)


def test_the_gradient_of_dropout_is_its_mask():
    torch.manual_seed(7)
    x = torch.randn(30, 20, requires_grad=True)
    y = FastDropout(0.4)(x)
    y.sum().backward()
    assert torch.equal((x.grad == 0), (y == 0))
    assert torch.allclose(y, x * x.grad)


def test_every_dropout_of_a_backbone_is_the_fast_one():
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.2), nn.Sequential(nn.Dropout(0.7)))
    use_fast_dropout(module)
    assert [(type(m), m.p) for m in module.modules() if isinstance(m, nn.Dropout)] == [
        (FastDropout, 0.2),
        (FastDropout, 0.7),
    ]


def test_training_gives_the_same_losses_with_and_without_grouping(experiment, monkeypatch):
    curves = []
    for grouped in (True, False):
        if not grouped:
            monkeypatch.setattr(backbones, "FAST_ENCODERS", {})
            monkeypatch.setattr(backbones, "PADDING_FREE", ())
        e = experiment(hidden_dropout_prob=0.0, attn_dropout_prob=0.0)
        curve = []
        while len(curve) < 100:
            for batch in e.train_data:
                e.trainer.optimizer.zero_grad()
                loss = sum(e.model.calculate_loss(batch))
                loss.backward()
                e.trainer.optimizer.step()
                curve.append(loss.item())
            if len(curve) > 50 and e.train_data.importance is None:
                e.trainer.update_importance(e.train_data)
        curves.append(torch.tensor(curve[:100]))
    assert torch.allclose(*curves, atol=1e-4)
    assert curves[0][-1] < curves[0][0]


# --- what is derived from SASRec, or another SASRec than the one that the fast encoder was written for ----------------


class SASRecAsItIs(SASRec):
    """Nothing of its own."""


class SASRecReadsAhead(SASRec):
    """Items see those after them."""

    def get_attention_mask(self, item_seq, bidirectional=False):
        return super().get_attention_mask(item_seq, bidirectional=True)


class SASRecOfTheFirst(SASRec):
    """What is read is not the last position."""

    def gather_indexes(self, output, gather_index):
        return super().gather_indexes(output, gather_index * 0)


class SASRecOfOtherModules(SASRec):
    """The fast encoder finds no layers in it."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.encoder = self.trm_encoder
        self.trm_encoder = self._encode

    def __setattr__(self, name, value):
        if name == "trm_encoder" and "trm_encoder" in self._modules:
            del self._modules["trm_encoder"]
        super().__setattr__(name, value)

    def _encode(self, *args, **options):
        return self.encoder(*args, **options)


class SASRecWithNoise(SASRec):
    """The same in evaluation, another in training."""

    def forward(self, item_seq, item_seq_len):
        encoded = super().forward(item_seq, item_seq_len)
        return encoded + torch.rand_like(encoded) if self.training else encoded


DIFFERS = "backbone: {} differs from the SASRec that the fast encoder was written for, and is run without it"
SETTINGS = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "hidden_act": "gelu", "layer_norm_eps": 1e-12}
SETTINGS.update(initializer_range=0.02)


@pytest.mark.parametrize("own", [SASRecReadsAhead, SASRecOfTheFirst, SASRecOfOtherModules, SASRecWithNoise])
def test_a_backbone_that_is_not_sasrec_after_all_is_run_without_the_fast_encoder_and_told(own, experiment, caplog):
    register_model(own)
    backbone = experiment(backbone=own.__name__, **SETTINGS).model.backbone
    assert backbone.fast_encoder is None
    assert DIFFERS.format(own.__name__) in [record.message for record in caplog.records]
    item_seq, lengths = sequences()
    backbone.eval()
    assert torch.allclose(backbone.encode(item_seq, lengths), backbone.model(item_seq, lengths), atol=1e-5)


def test_a_recbole_whose_sasrec_is_another_is_run_without_the_fast_encoder_and_told(experiment, monkeypatch, caplog):
    theirs = SASRec.forward
    monkeypatch.setattr(
        SASRec, "forward", lambda self, item_seq, item_seq_len: theirs(self, item_seq, item_seq_len) * 2
    )
    assert experiment().model.backbone.fast_encoder is None
    assert DIFFERS.format("SASRec") in [record.message for record in caplog.records]


@pytest.mark.parametrize("name", ["SASRec", "SASRecAsItIs"])
def test_sasrec_and_what_is_derived_from_it_without_a_difference_keep_the_fast_encoder(name, experiment, caplog):
    if name != "SASRec":
        register_model(SASRecAsItIs)
    assert experiment(backbone=name, **SETTINGS).model.backbone.fast_encoder is sasrec
    assert "fast encoder" not in caplog.text


def test_comparing_leaves_the_weights_and_the_random_numbers_alone(experiment, monkeypatch):
    compared = experiment().model.state_dict(), torch.rand(1)
    monkeypatch.setattr(backbones, "FAST_ENCODERS", {})
    without = experiment().model.state_dict(), torch.rand(1)
    assert all(torch.equal(compared[0][name], weight) for name, weight in without[0].items())
    assert torch.equal(compared[1], without[1])


@pytest.mark.parametrize("name", ["GRU4Rec", "BERT4Rec"])
def test_a_backbone_for_which_there_is_no_fast_encoder_is_not_told_of_it(name, experiment, caplog):
    assert experiment(backbone=name).model.backbone.fast_encoder is None
    assert "fast encoder" not in caplog.text
