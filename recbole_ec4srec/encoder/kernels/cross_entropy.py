"""The softmax over all items (Eq. 2) without keeping the scores of all items."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_ec4srec.encoder.kernels.linear import product

# Scores at a time: on a CPU few enough to stay in a cache, elsewhere enough to fill the machine. But every chunk reads
# the weights and adds to their gradient, so with many items the chunks must not be too many.
_SCORES_ON_CPU = 1 << 20
_SCORES_ELSEWHERE = 1 << 26
_FEWEST_ROWS = 32


class _LinearCrossEntropy(torch.autograd.Function):
    """The gradient is computed beside the loss, while a chunk's scores are at hand."""

    @staticmethod
    def forward(ctx, hidden, weight, target):
        n, device = len(hidden), hidden.device
        size = max(_FEWEST_ROWS, (_SCORES_ON_CPU if device.type == "cpu" else _SCORES_ELSEWHERE) // len(weight))
        loss = torch.zeros((), device=device)
        grad_hidden = []
        grad_weight = torch.zeros(weight.shape[::-1], device=device) if any(ctx.needs_input_grad) else None
        for h, positive in zip(hidden.split(size), target.split(size)):
            scores = product(h, weight)  # [b, n_items]
            # In half precision an error of about 1 / (rows · items) is 0, and the loss is scaled only afterwards.
            dtype = torch.float32 if scores.dtype == torch.float16 else scores.dtype
            scores = scores.float()
            positive = positive.unsqueeze(1)  # [b, 1], as those below
            positive_score = scores.gather(1, positive)
            highest = scores.amax(1, keepdim=True)
            exponential = scores.sub_(highest).exp_()  # [b, n_items], in the memory of the scores
            total = exponential.sum(1, keepdim=True)
            loss += (total.log() + highest - positive_score).sum()
            if grad_weight is not None:
                error = exponential.div_(total * n)
                error.scatter_add_(1, positive, torch.full_like(total, -1 / n))
                with torch.autocast(device.type, enabled=False):
                    error = error.to(dtype)
                    grad_hidden.append(product(error, weight.to(dtype).t()))
                    grad_weight += product(h.to(dtype).t(), error.t())
        if grad_weight is not None:
            ctx.dtypes = hidden.dtype, weight.dtype
            ctx.save_for_backward(torch.cat(grad_hidden), grad_weight.t())
        return loss / n

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        grad_hidden, grad_weight = ctx.saved_tensors
        of_hidden, of_weight = ctx.dtypes
        return (grad_hidden * grad_output).to(of_hidden), (grad_weight * grad_output).to(of_weight), None


def linear_cross_entropy(hidden: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """``F.cross_entropy(hidden @ weight.T, target)`` in chunks: memory does not grow with rows times items.

    Args:
        hidden: ``[B, d]``.
        weight: ``[n_items, d]``.
        target: ``[B]``, rows of ``weight``.
    """
    return _LinearCrossEntropy.apply(hidden, weight, target)
