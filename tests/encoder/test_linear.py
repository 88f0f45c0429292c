"""Products by blocks and by oneDNN against PyTorch's own, in value and in gradient."""

import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from recbole_ec4srec.encoder.kernels import linear as ours
from recbole_ec4srec.encoder.kernels.linear import (
    MANY_ROWS,
    ROWS,
    by_blocks,
    linear,
    product,
    rows_to_add,
    use_fast_linear,
)

#: Versions for which :func:`linear` has to be able to use oneDNN.
HAS_ONEDNN = torch.backends.mkldnn.is_available() and tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 4)
uses_onednn = pytest.mark.skipif(not HAS_ONEDNN, reason="this torch has no oneDNN product that is used")


@pytest.fixture(autouse=True)
def on_any_processor(monkeypatch):
    """oneDNN is used as on a processor on which it wins."""
    monkeypatch.setattr(ours, "USES_ONEDNN", ours.HAS_ONEDNN)


def numbers(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape) + shape[-1]))


def assert_close(actual, expected):
    """Equal but for the order of additions, whose error grows with what is added, not with the sum."""
    largest = float(expected.detach().abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=max(1e-5, 1e-6 * largest))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(ROWS, 8), (3, ROWS, 8), (5, 8), (0, 8)])
@pytest.mark.parametrize("outer", [4, 8, 24])
def test_a_linear_layer_and_its_gradients(shape, outer, bias):
    given = [numbers(*shape), numbers(outer, 8), numbers(outer)][: 3 if bias else 2]
    results = []
    for function in (linear, F.linear):
        leaves = [tensor.clone().requires_grad_() for tensor in given]
        result = function(*leaves)
        result.square().sum().backward()
        results.append([result.detach(), *(leaf.grad for leaf in leaves)])
    for actual, expected in zip(*results):
        assert actual.shape == expected.shape
        assert_close(actual, expected)


def test_only_what_needs_a_gradient_gets_one():
    weight, bias, hidden = numbers(4, 8), numbers(4), numbers(ROWS, 8)
    linear(hidden.requires_grad_(), weight, bias).sum().backward()
    assert_close(hidden.grad, weight.sum(0).expand(ROWS, -1))
    frozen = linear(hidden.detach(), weight.requires_grad_(), bias)
    frozen.sum().backward()
    assert_close(weight.grad, hidden.detach().sum(0).expand(4, -1))


def test_the_result_may_be_changed_in_place():
    hidden = numbers(2, ROWS, 8).requires_grad_()
    linear(hidden, numbers(4, 8)).mul_(2).sum().backward()
    assert_close(hidden.grad, 2 * numbers(4, 8).sum(0).expand(2, ROWS, -1))


def onednn_products(work):
    """How many products oneDNN computes in ``work()``."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        work()
    return sum(event.count for event in profile.key_averages() if event.key == "mkldnn::_linear_pointwise")


@uses_onednn
def test_whole_blocks_alone_go_to_onednn():
    weight = numbers(4, 8)
    assert onednn_products(lambda: linear(numbers(ROWS, 8), weight)) == 1
    assert onednn_products(lambda: linear(numbers(2, ROWS, 8), weight)) == 1
    assert onednn_products(lambda: linear(numbers(ROWS + 1, 8), weight)) == 0
    assert onednn_products(lambda: linear(numbers(ROWS, 8).double(), weight.double())) == 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert onednn_products(lambda: linear(numbers(ROWS, 8), weight)) == 0
        assert linear(numbers(ROWS, 8), weight).dtype == torch.bfloat16


@uses_onednn
def test_the_gradients_of_whole_blocks_go_to_onednn():
    hidden, weight = numbers(ROWS, 8).requires_grad_(), numbers(4, 8).requires_grad_()
    loss = linear(hidden, weight).sum()
    assert onednn_products(loss.backward) == 2  # of the input, and of the weight


@uses_onednn
def test_the_products_of_a_backbone_go_to_onednn(experiment):
    model = experiment(n_layers=1).model.eval()
    item_seq, lengths = torch.ones(ROWS, 8, dtype=torch.long), torch.full((ROWS,), 8)
    # Query, key and value at once for every item, then the query, dense and feed-forward layers for the last ones.
    assert onednn_products(lambda: model(item_seq, lengths)) >= 4


@pytest.mark.parametrize("rows", [0, 1, ROWS, ROWS + 1, MANY_ROWS, 2 * MANY_ROWS + ROWS + 7])
def test_blocks_are_put_together_again(rows):
    a, b = numbers(rows, 3), numbers(rows, 3)
    assert torch.equal(by_blocks(lambda x, y: (x - y)[:, :2], a, b), (a - b)[:, :2])


@uses_onednn
def test_rows_are_added_to_fill_a_block():
    assert [rows_to_add(count, torch.zeros(1)) for count in (0, 1, ROWS - 1, ROWS)] == [0, ROWS - 1, 1, 0]


def test_no_rows_are_added_where_blocks_do_not_matter():
    assert rows_to_add(1, torch.zeros(1).double()) == 0


def test_a_product_is_that_of_the_transposed():
    a, b = numbers(5, 3), numbers(7, 3)
    assert_close(product(a, b), a @ b.T)
    assert_close(product(a.T, b[:5].T), a.T @ b[:5])
    assert product(a[:0], b).shape == (0, 7)


def test_modules_keep_their_parameters():
    module = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 2, bias=False)))
    before, hidden = module.state_dict(), numbers(ROWS, 8)
    expected = module(hidden)
    use_fast_linear(module)
    assert list(module.state_dict()) == list(before)
    assert_close(module(hidden), expected)
    assert type(module[0]) is type(module[2][0]) is ours.FastLinear


@pytest.mark.parametrize(
    ("vendor", "used"),
    [("GenuineIntel", False), ("AuthenticAMD", ours.HAS_ONEDNN and torch.backends.mkl.is_available())],
)
def test_the_processor_decides(vendor, used, tmp_path, monkeypatch):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\n")
    monkeypatch.setattr(sys, "platform", "linux")
    assert ours.uses_onednn(cpuinfo) == used
