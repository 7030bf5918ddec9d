"""The linear map of all segments by one kernel, ``grouped_mm``, so that nothing waits for the device.

Rows past the last segment are not computed: what they hold, in both directions, means nothing.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_ALIGNMENT = 16
"""Bytes that every row and every tensor has to start at a multiple of."""


def fits_kernel(x_AI: Tensor, weight_EOI: Tensor) -> bool:
    """Whether this device and these types and shapes have a kernel that is worth it: bf16 from Ampere on."""
    return (
        x_AI.is_cuda
        and x_AI.dtype == weight_EOI.dtype == torch.bfloat16
        and torch.cuda.get_device_properties(x_AI.device).major >= 8
        and all(width * x_AI.element_size() % _ALIGNMENT == 0 for width in weight_EOI.shape[1:])
        and len(x_AI) > 0
    )


def kernel_linear(x_AI: Tensor, weight_EOI: Tensor, bias_EO: Tensor | None, end_E: Tensor) -> Tensor:
    """``y[a] = W[e] x[a] + b[e]`` for each row a of expert e's segment."""
    return _KernelLinear.apply(x_AI, weight_EOI, bias_EO, end_E)


class _KernelLinear(torch.autograd.Function):
    """Saves the stacked weight and no view of it, as ``segment_linear`` does; autograd by itself would."""

    @staticmethod
    def forward(ctx: Any, x_AI: Tensor, weight_EOI: Tensor, bias_EO: Tensor | None, end_E: Tensor) -> Tensor:
        ctx.save_for_backward(x_AI, weight_EOI, end_E)
        y_AO = F.grouped_mm(_aligned(x_AI), _aligned(weight_EOI).transpose(1, 2), offs=end_E)
        if bias_EO is not None:
            row_A = torch.arange(len(x_AI), device=end_E.device, dtype=end_E.dtype)
            expert_A = torch.searchsorted(end_E, row_A, right=True, out_int32=True)
            y_AO += bias_EO[expert_A.clamp(max=len(bias_EO) - 1)]
        return y_AO

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_AO: Tensor) -> tuple[Tensor | None, ...]:
        x_AI, weight_EOI, end_E = ctx.saved_tensors
        of_x, of_weight, of_bias, _ = ctx.needs_input_grad
        grad_AO = _aligned(grad_AO)
        grad_x_AI = F.grouped_mm(grad_AO, _aligned(weight_EOI), offs=end_E) if of_x else None
        grad_weight_EOI = _per_segment(grad_AO, _aligned(x_AI), end_E) if of_weight else None
        grad_bias_EO = _segment_sums(grad_AO, end_E) if of_bias else None
        return grad_x_AI, grad_weight_EOI, grad_bias_EO, None


def _per_segment(left_AM: Tensor, right_AN: Tensor, end_E: Tensor) -> Tensor:
    """``left^T right`` over each segment's rows, ``(E, M, N)``.

    Zero for empty ones, where the kernel may leave anything (pytorch/pytorch#172439).
    """
    product_EMN = F.grouped_mm(left_AM.t(), right_AN, offs=end_E)
    empty_E = end_E.diff(prepend=end_E.new_zeros(1)) == 0
    return product_EMN.masked_fill_(empty_E.view(-1, 1, 1), 0.0)


def _segment_sums(x_AO: Tensor, end_E: Tensor) -> Tensor:
    """Sums over each segment's rows, ``(E, O)``: products with ones, which always add in the same order."""
    columns = _ALIGNMENT // x_AO.element_size()
    return _per_segment(x_AO.new_ones(len(x_AO), columns), x_AO, end_E)[:, 0]


@torch.compiler.allow_in_graph
def _aligned(x: Tensor) -> Tensor:
    """Dense rows at an aligned address: an expanded gradient or a slice of a gathered buffer is copied.

    Told by the offset, for storages begin aligned and a traced program knows no addresses.
    """
    x = x.contiguous()
    return x if x.storage_offset() * x.element_size() % _ALIGNMENT == 0 else x.clone()
