"""Matrix products on the CPU by oneDNN's kernels, where they win.

PyTorch multiplies 32-bit matrices on the CPU with MKL, which on CPUs of other makers than Intel leaves their widest
instructions unused; oneDNN, which comes with PyTorch, uses them, and is twice as fast there (``benchmarks/run.py
--only=products``). On Intel's it gains nothing and is not used. It compiles a kernel for every new shape, which takes
longer than a small product; so :func:`linear` uses it only for a number of rows that is a multiple of a block, and
callers add rows to fill the last block, or compute block by block. In all other cases these are PyTorch's own
functions.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# torch 2.0 has none; its oneDNN product cannot do without an activation, so it is not used there.
_is_compiling: Callable[[], bool] | None = getattr(getattr(torch, "compiler", None), "is_compiling", None)


HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def uses_onednn(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether oneDNN's product is used: the processor decides, so that a run that is repeated or resumed on a machine
    computes the same."""
    told = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.is_file() else platform.processor()
    is_intel = "GenuineIntel" in told or sys.platform == "darwin"
    return HAS_ONEDNN and torch.backends.mkl.is_available() and not is_intel


USES_ONEDNN = uses_onednn()
#: Rows of a block; a few of them, up to :data:`MANY_ROWS`, stay in a core's cache through a whole layer.
ROWS, MANY_ROWS = 256, 1024


def _autocasts() -> bool:
    try:
        return torch.is_autocast_enabled("cpu")
    except TypeError:  # before torch 2.4
        return torch.is_autocast_cpu_enabled()


def _suits(*tensors: Tensor) -> bool:
    return (
        USES_ONEDNN
        and _is_compiling is not None
        and not _is_compiling()  # torch.compile chooses its own kernels
        and not torch.jit.is_tracing()  # what is traced is for others, ONNX say, who know PyTorch's functions alone
        and not _autocasts()
        and all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors)
    )


def rows_to_add(count: int, like: Tensor) -> int:
    """How many rows make ``count`` of them whole blocks; none where blocks do not matter for ``like``."""
    return -count % ROWS if _suits(like) else 0


def by_blocks(work: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """``work(*inputs)`` for a function of rows, ``[N, …]`` each, block by block."""
    left = len(inputs[0])
    sizes = [MANY_ROWS] * (left // MANY_ROWS)
    left %= MANY_ROWS
    sizes += [size for size in (left - left % ROWS, left % ROWS) if size]
    if len(sizes) <= 1 or not _suits(inputs[0]):
        return work(*inputs)
    return torch.cat([work(*parts) for parts in zip(*(tensor.split(sizes) for tensor in inputs))])


def _onednn(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What torch.compile calls for a linear layer on the CPU; it has no gradient of its own."""
    return torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")


def product(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b.T`` of ``[N, k]`` and ``[M, k]``, of shapes that come again and again; without a gradient, ``[N, M]``."""
    return _onednn(a, b) if _suits(a, b) and a.numel() and b.numel() else a @ b.t()


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, weight, bias):
        ctx.save_for_backward(input, weight)
        return _onednn(input, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        input, weight = ctx.saved_tensors
        grad_input = grad_weight = grad_bias = None
        rows, columns = weight.shape
        if ctx.needs_input_grad[0]:
            grad_input = product(grad, weight.t())
        if ctx.needs_input_grad[1]:
            # The sum over all tokens; oneDNN is the faster one where the result has fewer rows than columns.
            if rows < columns:
                grad_weight = product(grad.t(), input.t())
            elif rows > columns:
                grad_weight = product(input.t(), grad.t()).t().contiguous()
            else:
                grad_weight = grad.t() @ input
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum(0)
        return grad_input, grad_weight, grad_bias


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear``: ``input @ weight.T + bias`` of ``[…, k]``, ``[M, k]`` and ``[M]``, ``[…, M]``."""
    rows = input.numel() // input.shape[-1]
    if rows == 0 or rows % ROWS or not _suits(input, weight):
        return F.linear(input, weight, bias)
    if torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad):
        # In two dimensions, so that what the function gives is no view.
        return _Linear.apply(input.flatten(0, -2), weight, bias).view(*input.shape[:-1], len(weight))
    return _onednn(input, weight, bias)


class FastLinear(nn.Linear):
    """``nn.Linear`` by :func:`linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """``[…, k]`` to ``[…, M]``."""
        return linear(input, self.weight, self.bias)


def use_fast_linear(module: nn.Module) -> None:
    """Let every ``nn.Linear`` inside ``module`` compute by :func:`linear`; parameters and their names stay."""
    for child in module.modules():
        if type(child) is nn.Linear:
            child.__class__ = FastLinear
