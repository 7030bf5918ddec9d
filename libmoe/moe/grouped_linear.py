"""A linear layer whose weights differ per segment of rows."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from libmoe.moe.dispatch import Segments


def segment_linear(x_AI: Tensor, weight_EOI: Tensor, bias_EO: Tensor | None, segments: Segments) -> Tensor:
    """``y[a] = W[e] x[a] + b[e]`` for each row a of expert e's segment: one matmul an expert.

    Reads the segment bounds on the host, which costs a synchronisation where rows are on an accelerator.
    """
    ends = segments.end_E.tolist()
    rows = x_AI.split([end - begin for begin, end in zip([0, *ends], ends, strict=False)])
    biases = [None] * len(rows) if bias_EO is None else bias_EO.unbind()
    return torch.cat(
        [F.linear(*parts) for parts in zip(rows, weight_EOI.unbind(), biases, strict=True)]
    )  # unbind: its backward stacks the experts' gradients once, indexing would add E dense ones


class StackedLinear(nn.Module):
    """E linear layers of one shape: weight ``(E, out, in)``, bias ``(E, out)`` or none."""

    def __init__(self, experts: int, like: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, like.out_features, like.in_features))
        self.bias: nn.Parameter | None
        if like.bias is None:
            self.register_parameter("bias", None)
        else:
            self.bias = nn.Parameter(torch.empty(experts, like.out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Random values for a model that is not upcycled; each expert as ``nn.Linear`` starts."""
        bound = self.weight.shape[-1] ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x_AI: Tensor, segments: Segments) -> Tensor:
        return segment_linear(x_AI, self.weight, self.bias, segments)

    def extra_repr(self) -> str:
        experts, out_features, in_features = self.weight.shape
        return f"experts={experts}, in_features={in_features}, out_features={out_features}"
