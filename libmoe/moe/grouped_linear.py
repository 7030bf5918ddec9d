"""A linear layer whose weights differ per segment of rows."""

from typing import Any

import torch
from torch import Tensor, nn

from libmoe.moe.autocast import operands
from libmoe.moe.grouped_mm import fits_kernel, kernel_linear
from libmoe.moe.segment_ops import segment_gradients, segment_product


def segment_linear(x_AI: Tensor, weight_EOI: Tensor, bias_EO: Tensor | None, end_E: Tensor) -> Tensor:
    """``y[a] = W[e] x[a] + b[e]`` for each row a of expert e's segment.

    One kernel for all experts where there is one that is worth it; on the CPU one matmul an expert is faster
    (benchmarks/moe). Elsewhere that costs a synchronisation, for it reads the segments' ends on the host.
    """
    if fits_kernel(x_AI, weight_EOI):
        return kernel_linear(x_AI, weight_EOI, bias_EO, end_E)
    return _SegmentLinear.apply(x_AI, weight_EOI, bias_EO, end_E)


class _SegmentLinear(torch.autograd.Function):
    """Saves the stacked weight, no views: those would keep what ZeRO-3 gathered alive until backward."""

    @staticmethod
    def forward(ctx: Any, x_AI: Tensor, weight_EOI: Tensor, bias_EO: Tensor | None, end_E: Tensor) -> Tensor:
        ctx.save_for_backward(x_AI, weight_EOI, end_E)
        return segment_product(x_AI, weight_EOI, bias_EO, end_E)

    @staticmethod
    def backward(ctx: Any, grad_AO: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[:3]
        gradients = segment_gradients(grad_AO, *ctx.saved_tensors, list(wanted))
        return *(grad if one else None for grad, one in zip(gradients, wanted, strict=True)), None


class StackedLinear(nn.Module):
    """E linear layers of one shape: weight ``(E, out, in)``, bias ``(E, out)`` or none."""

    def __init__(self, experts: int, like: nn.Linear) -> None:
        super().__init__()
        self.experts, self.in_features, self.out_features = experts, like.in_features, like.out_features
        self.weight = nn.Parameter(torch.empty(experts, like.out_features, like.in_features))
        self.bias: nn.Parameter | None
        if like.bias is None:
            self.register_parameter("bias", None)
        else:
            self.bias = nn.Parameter(torch.empty(experts, like.out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Random values for a model that is not upcycled; each expert as ``nn.Linear`` starts."""
        bound = self.in_features**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x_AI: Tensor, end_E: Tensor) -> Tensor:
        """Rows sorted by expert, and the row at which each expert's segment ends."""
        return segment_linear(*operands(x_AI, self.weight, self.bias), end_E)

    def extra_repr(self) -> str:
        return f"experts={self.experts}, in_features={self.in_features}, out_features={self.out_features}"
