"""The chunked softmax over all items is PyTorch's cross-entropy, in value and gradient."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from recbole_ec4srec.encoder.kernels import cross_entropy
from recbole_ec4srec.encoder.kernels.cross_entropy import linear_cross_entropy


def inputs(n, items, d, dtype=torch.float32):
    generator = torch.Generator().manual_seed(n)
    hidden = torch.randn(n, d, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(items, d, generator=generator).to(dtype).requires_grad_()
    return hidden, weight, torch.randint(items, (n,), generator=generator)


def value_and_gradients(loss, hidden, weight):
    return loss, *torch.autograd.grad(loss, (hidden, weight))


@pytest.mark.parametrize("scores_at_a_time", [1, 100, 1 << 20])
@pytest.mark.parametrize(("n", "items", "d"), [(1, 2, 3), (7, 11, 5), (64, 300, 16)])
def test_value_and_gradient_in_single_precision(n, items, d, scores_at_a_time, monkeypatch):
    monkeypatch.setattr(cross_entropy, "_SCORES_ON_CPU", scores_at_a_time)
    monkeypatch.setattr(cross_entropy, "_FEWEST_ROWS", 1)
    hidden, weight, target = inputs(n, items, d)
    ours = value_and_gradients(linear_cross_entropy(hidden, weight, target), hidden, weight)
    plain = value_and_gradients(F.cross_entropy(hidden @ weight.T, target), hidden, weight)
    for a, b in zip(ours, plain):
        assert torch.allclose(a, b, atol=1e-5, rtol=1e-5)


def test_value_and_gradient_in_bfloat16():
    hidden, weight, target = inputs(64, 300, 16, torch.bfloat16)
    ours = value_and_gradients(linear_cross_entropy(hidden, weight, target), hidden, weight)
    exact = value_and_gradients(F.cross_entropy((hidden @ weight.T).float(), target), hidden, weight)
    assert torch.allclose(ours[0], exact[0], atol=1e-5, rtol=1e-5)
    assert [gradient.dtype for gradient in ours[1:]] == [torch.bfloat16] * 2
    for a, b in zip(ours[1:], exact[1:]):  # gradients that bfloat16 can tell apart to 3 digits
        assert torch.allclose(a.float(), b.float(), atol=2e-3, rtol=2e-2)


def test_mixed_precision_gives_gradients_of_the_parameters_type():
    hidden, weight, target = inputs(32, 50, 8)
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(hidden, weight, target)
    _, *gradients = value_and_gradients(loss, hidden, weight)
    _, *plain = value_and_gradients(F.cross_entropy(hidden @ weight.T, target), hidden, weight)
    for a, b in zip(gradients, plain):
        assert a.dtype == torch.float32
        assert torch.allclose(a, b, atol=2e-2)


def test_the_gradient_follows_what_comes_after_the_loss():
    hidden, weight, target = inputs(7, 11, 5)
    single = torch.autograd.grad(linear_cross_entropy(hidden, weight, target), weight)[0]
    loss = linear_cross_entropy(hidden, weight, target)
    for _ in range(2):  # and a graph that is kept gives it again
        tripled = torch.autograd.grad(3 * loss, weight, retain_graph=True)[0]
        assert torch.allclose(tripled, 3 * single)


class LargestResult(TorchDispatchMode):
    """The number of elements of the largest tensor that an operation gives."""

    elements = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **kwargs or {})
        sizes = [tensor.numel() for tensor in tree_flatten(result)[0] if isinstance(tensor, torch.Tensor)]
        self.elements = max(self.elements, *sizes, 0)
        return result


@pytest.mark.skipif(
    torch.__version__.startswith("2.0"), reason="PyTorch 2.0 has no products in half precision on a CPU"
)
def test_in_half_precision_the_gradient_of_many_rows_and_items_does_not_vanish():
    hidden, weight, target = inputs(3000, 3000, 16)
    target = target % 100  # the others get the small errors alone
    with torch.autocast("cpu", torch.float16):
        loss = linear_cross_entropy(hidden, weight, target)
    scale = 2.0**16
    found = torch.autograd.grad(loss * scale, weight)[0][100:] / scale
    exact = torch.autograd.grad(F.cross_entropy(hidden @ weight.T, target), weight)[0][100:]
    assert (found - exact).norm() < 0.005 * exact.norm()


@pytest.mark.parametrize("rows", [4, 64])
def test_only_a_chunk_of_scores_is_held(monkeypatch, rows):
    monkeypatch.setattr(cross_entropy, "_SCORES_ON_CPU", rows * 300)
    monkeypatch.setattr(cross_entropy, "_FEWEST_ROWS", 1)
    hidden, weight, target = inputs(64, 300, 2)
    with LargestResult() as largest:
        linear_cross_entropy(hidden, weight, target).backward()
    assert largest.elements == rows * 300


def test_large_scores_do_not_overflow():
    hidden, weight, target = inputs(5, 9, 4)
    assert linear_cross_entropy(hidden * 1e4, weight, target).isfinite()
