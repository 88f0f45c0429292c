"""Occlusion of a trained model: padding, chunks, the table of all instances, and what an explanation leaves behind.

That it equals captum's is tested in test_explainers.py.
"""

import pytest
import torch

from recbole_ec4srec.explain import Occlusion, build_explainer

TARGETS = ["predicted", "next", "max"]
OUTPUTS = ["logit", "probability"]
DIFFERENT = {"hidden_size": 24, "initializer_range": 0.5}  # far from all scores being alike
_TRAINED = {}


@pytest.fixture
def trained(experiment):
    """``trained(backbone)``: an experiment after two epochs, trained once for all tests, which leave it as it is."""

    def get(backbone="SASRec", **settings):
        key = backbone, *settings.items()
        if key not in _TRAINED:
            settings = {"epochs": 2, "update_epochs": [2], "learning_rate": 0.02, **DIFFERENT, **settings}
            _TRAINED[key] = experiment(backbone=backbone, **settings)
            _TRAINED[key].fit(saved=False)
        return _TRAINED[key]

    return get


def sequences(n_items, lengths, width):
    """Random sequences of ``lengths``, padded to ``width``, and next items."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor(lengths)
    items = torch.randint(1, n_items, (len(lengths), width), generator=generator)
    inside = torch.arange(width) < lengths.unsqueeze(1)
    return items * inside, lengths, torch.randint(1, n_items, (len(lengths),), generator=generator)


@pytest.mark.parametrize("backbone", ["SASRec", "GRU4Rec"])
def test_padding_gets_nothing_and_changes_nothing(backbone, trained):
    model = trained(backbone).model
    item_seq, item_seq_len, _ = sequences(model.n_items, [1, 2, 4], 8)
    wide = Occlusion(model).attribute(item_seq, item_seq_len)
    assert (wide[item_seq == 0] == 0).all()
    assert (wide[item_seq > 0] != 0).all()
    torch.testing.assert_close(wide[:, :4], Occlusion(model).attribute(item_seq[:, :4], item_seq_len))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("batch_size", [1, 7, 30, 100000])
def test_how_many_sequences_are_encoded_at_a_time_does_not_matter(batch_size, target, trained):
    model = trained().model
    batch = sequences(model.n_items, [5, 1, 8, 8, 2], 8)
    expected = Occlusion(model, target).attribute(*batch)
    torch.testing.assert_close(Occlusion(model, target, batch_size=batch_size).attribute(*batch), expected)


def test_the_true_next_item_has_to_be_given_to_explain_it(trained):
    model = trained().model
    item_seq, item_seq_len, _ = sequences(model.n_items, [2], 8)
    with pytest.raises(ValueError, match="next_item"):
        Occlusion(model, "next").attribute(item_seq, item_seq_len)


def test_the_configuration_chooses_what_is_explained(experiment):
    small = experiment(explain_target="max", explain_output="probability", explain_batch_size=9)
    explainer = build_explainer(small.config, small.model)
    assert type(explainer) is Occlusion
    assert (explainer.target, explainer.output, explainer.batch_size) == ("max", "probability", 9)


def explanations(trained):
    explainer = Occlusion(trained.model, batch_size=50)
    batch = sequences(trained.model.n_items, [3, 1, 8], 8)
    return {
        "attribute": lambda: explainer.attribute(*batch),
        "table": lambda: explainer.table(trained.train_data._dataset, torch.device("cpu")).values,
    }


@pytest.mark.parametrize("way", ["attribute", "table"])
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was_found(way, training, trained):
    explained = trained()
    model = explained.model.train(training)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)

    def state():
        modes = [module.training for module in model.modules()]
        weights = [p.detach().clone() for p in model.parameters()] + [p.grad.clone() for p in model.parameters()]
        hooks = [len(module._forward_hooks) for module in model.modules()]
        return modes, hooks, torch.is_grad_enabled(), weights, torch.get_rng_state()

    before = state()
    scores = explanations(explained)[way]()
    after = state()
    assert not scores.requires_grad
    assert after[:3] == before[:3]
    assert all(torch.equal(a, b) for a, b in zip(after[3], before[3]))
    assert torch.equal(after[4], before[4])


def test_a_part_of_the_model_that_was_set_to_evaluation_stays_so(trained):
    explained = trained()
    frozen = explained.model.train().backbone.model.dropout.eval()
    explanations(explained)["attribute"]()
    assert not frozen.training
    assert explained.model.training


def test_the_models_mode_does_not_matter(trained):
    explained = trained()
    for way in ("attribute", "table"):
        explained.model.train()
        training = explanations(explained)[way]()
        explained.model.eval()
        assert torch.equal(explanations(explained)[way](), training)


def test_the_model_comes_back_in_training_mode_after_an_error(trained):
    model = trained().model.train()
    with pytest.raises(IndexError):
        Occlusion(model).attribute(torch.full((1, 8), model.n_items + 7), torch.tensor([8]))
    assert model.training


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("backbone", ["SASRec", "GRU4Rec"])
def test_the_table_holds_every_instances_attributions(backbone, target, output, trained):
    explained = trained(backbone)
    instances = explained.train_data._dataset
    explainer = Occlusion(explained.model, target, output, batch_size=40)
    table = explainer.table(instances, torch.device("cpu"))
    assert len(table) == len(instances)
    rows = torch.arange(len(instances))
    item_seq, item_seq_len = instances.item_sequences(rows)
    expected = [
        explainer.attribute(item_seq[row], item_seq_len[row], instances.inter_feat["item_id"][row])
        for row in rows.split(1)
    ]
    torch.testing.assert_close(table.rows(rows), torch.cat(expected), rtol=0, atol=1e-5)
