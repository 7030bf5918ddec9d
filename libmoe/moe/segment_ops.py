"""One matmul a segment, as operators that neither torch.compile nor fake tensors look into.

The loop reads the segments' ends on the host, which no traced program could.
"""

from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula


@torch.library.custom_op("libmoe::segment_linear", mutates_args=())
def segment_product(x_AI: Tensor, weight_EOI: Tensor, bias_EO: Tensor | None, end_E: Tensor) -> Tensor:
    """``y[a] = W[e] x[a] + b[e]``, ``(A, O)``. Rows past the last segment hold anything."""
    y_AO = x_AI.new_empty(len(x_AI), weight_EOI.shape[1])
    for e, (begin, end) in enumerate(pairwise([0, *end_E.tolist()])):
        rows, weight_IO, out = x_AI[begin:end], weight_EOI[e].t(), y_AO[begin:end]
        if bias_EO is None:
            torch.mm(rows, weight_IO, out=out)
        else:
            torch.addmm(bias_EO[e], rows, weight_IO, out=out)
    return y_AO


@torch.library.custom_op("libmoe::segment_linear_backward", mutates_args=())
def segment_gradients(
    grad_AO: Tensor, x_AI: Tensor, weight_EOI: Tensor, end_E: Tensor, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, W and b; those that are not wanted are empty, for an operator returns no None."""
    grad_x_AI, grad_weight_EOI, grad_bias_EO = _gradients_like(x_AI, weight_EOI, wanted)
    of_x, of_weight, of_bias = wanted
    for e, (begin, end) in enumerate(pairwise([0, *end_E.tolist()])):
        grad = grad_AO[begin:end]
        if of_x:
            torch.mm(grad, weight_EOI[e], out=grad_x_AI[begin:end])
        if of_weight:
            torch.mm(grad.t(), x_AI[begin:end], out=grad_weight_EOI[e])
        if of_bias:
            torch.sum(grad, 0, out=grad_bias_EO[e])
    return grad_x_AI, grad_weight_EOI, grad_bias_EO


@segment_product.register_fake
def _(x_AI: Tensor, weight_EOI: Tensor, bias_EO: Tensor | None, end_E: Tensor) -> Tensor:
    return x_AI.new_empty(len(x_AI), weight_EOI.shape[1])


@segment_gradients.register_fake
def _(
    grad_AO: Tensor, x_AI: Tensor, weight_EOI: Tensor, end_E: Tensor, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    return _gradients_like(x_AI, weight_EOI, wanted)


def _gradients_like(x_AI: Tensor, weight_EOI: Tensor, wanted: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
    shapes = (x_AI.shape, weight_EOI.shape, weight_EOI.shape[:2])
    x, weight, bias = (
        x_AI.new_empty(shape if one else (0,)) for shape, one in zip(shapes, wanted, strict=True)
    )
    return x, weight, bias


@register_flop_formula(torch.ops.libmoe.segment_linear)
def _product_flops(x_shape: torch.Size, weight_shape: torch.Size, *_: Any, **__: Any) -> int:
    """For torch's counter, which does not look inside either; rows past the last segment count."""
    return 2 * x_shape[0] * prod(weight_shape[1:])


@register_flop_formula(torch.ops.libmoe.segment_linear_backward)
def _gradients_flops(grad_shape: torch.Size, x_shape: torch.Size, *others: Any, **__: Any) -> int:
    wanted = others[2]
    return 2 * sum(wanted[:2]) * grad_shape[0] * grad_shape[1] * x_shape[1]
