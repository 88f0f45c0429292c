"""Products by blocks and by oneDNN against PyTorch's own, in value and in gradient."""

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
    found = []
    for function in (linear, F.linear):
        leaves = [tensor.clone().requires_grad_() for tensor in given]
        result = function(*leaves)
        result.square().sum().backward()
        found.append([result.detach(), *(leaf.grad for leaf in leaves)])
    for actual, expected in zip(*found):
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


def test_whole_blocks_alone_go_to_onednn(monkeypatch):
    if not ours._HAS_ONEDNN:
        pytest.skip("this PyTorch has no oneDNN")
    seen = []
    monkeypatch.setattr(ours, "_onednn", lambda input, *rest: seen.append(len(input)) or F.linear(input, *rest[:2]))
    weight = numbers(4, 8)
    linear(numbers(ROWS, 8), weight), linear(numbers(ROWS + 1, 8), weight)
    linear(numbers(ROWS, 8).double(), weight.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(numbers(ROWS, 8), weight).dtype == torch.bfloat16
    assert seen == [ROWS]


@pytest.mark.parametrize("rows", [0, 1, ROWS, ROWS + 1, MANY_ROWS, 2 * MANY_ROWS + ROWS + 7])
def test_blocks_are_put_together_again(rows):
    a, b = numbers(rows, 3), numbers(rows, 3)
    assert torch.equal(by_blocks(lambda x, y: (x - y)[:, :2], a, b), (a - b)[:, :2])


def test_rows_are_added_to_fill_a_block():
    like = torch.zeros(1)
    assert [rows_to_add(count, like) for count in (0, 1, ROWS - 1, ROWS)] in ([0, ROWS - 1, 1, 0], [0, 0, 0, 0])
    assert rows_to_add(1, like.double()) == 0


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
