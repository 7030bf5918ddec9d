"""Tokens to experts and back: a stable sort, so that every expert reads one contiguous segment of rows.

Row a of the A = T * K dispatched rows is assignment ``order_A[a]`` of the flattened ``(T, K)`` choices. Both
directions are gathers, in the backward pass too, which keeps them deterministic on every device.

Dropped slots sort behind the last expert, so that the shapes do not depend on how many there are. No expert
computes their rows, which hold anything; both directions read zero instead.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Segments:
    """Which rows belong to which expert."""

    order_A: Tensor
    inverse_A: Tensor
    """``inverse_A[t * K + j]`` is the row that holds slot j of token t."""
    end_E: Tensor
    """Row (int32) at which each expert's segment ends; it begins where the previous one ends."""
    top_k: int
    dropped_TK: Tensor | None = None

    @classmethod
    def of(
        cls, expert_TK: Tensor, experts: int, dropped_TK: Tensor | None = None, rows: int | None = None
    ) -> "Segments":
        """Sorts the assignments of ``expert_TK`` by expert; needs no host synchronisation.

        Args:
            dropped_TK: marks the slots without expert, where ``expert_TK`` holds ``experts``; None: there are
                none.
            rows: how many slots are not dropped, where the caller knows; only those then get a row.
        """
        sorted_A, order_A = expert_TK.flatten().sort(stable=True)
        inverse_A = torch.empty_like(order_A)
        inverse_A[order_A] = torch.arange(len(order_A), device=order_A.device)
        if rows is not None:
            sorted_A, order_A, inverse_A = sorted_A[:rows], order_A[:rows], inverse_A.clamp(max=rows - 1)
        expert_E = torch.arange(experts, device=expert_TK.device)
        end_E = torch.searchsorted(sorted_A, expert_E, right=True, out_int32=True)
        return cls(order_A, inverse_A, end_E, expert_TK.shape[1], dropped_TK)

    def dispatch(self, x_TD: Tensor) -> Tensor:
        """Copies each token to the rows of its K experts: ``(T, D)`` to ``(A, D)``."""
        return _Dispatch.apply(x_TD, self.order_A, self.inverse_A, self.top_k, self.dropped_TK)

    def combine(self, y_AD: Tensor, weight_TK: Tensor) -> Tensor:
        """Weighted sum of each token's K expert outputs: ``(A, D)`` to ``(T, D)``, summed in float32."""
        y_TKD = _Permute.apply(y_AD, self.inverse_A, self.order_A).view(*weight_TK.shape, y_AD.shape[-1])
        if self.dropped_TK is not None:
            y_TKD = y_TKD.masked_fill(self.dropped_TK.unsqueeze(-1), 0.0)
        return (y_TKD * weight_TK.unsqueeze(-1)).sum(1).to(y_AD.dtype)


class _Dispatch(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_TD: Tensor, order_A: Tensor, inverse_A: Tensor, top_k: int, dropped_TK: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(inverse_A, dropped_TK)
        ctx.top_k = top_k
        return x_TD.index_select(0, order_A // top_k)

    @staticmethod
    def backward(ctx: Any, grad_AD: Tensor) -> tuple[Tensor, None, None, None, None]:
        inverse_A, dropped_TK = ctx.saved_tensors
        grad_TKD = grad_AD.index_select(0, inverse_A).unflatten(0, (-1, ctx.top_k))
        if dropped_TK is not None:
            grad_TKD = grad_TKD.masked_fill(dropped_TK.unsqueeze(-1), 0.0)
        return grad_TKD.sum(1), None, None, None, None


class _Permute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_AD: Tensor, permutation_A: Tensor, inverse_A: Tensor) -> Tensor:
        ctx.save_for_backward(inverse_A)
        return x_AD.index_select(0, permutation_A)

    @staticmethod
    def backward(ctx: Any, grad_AD: Tensor) -> tuple[Tensor, None, None]:
        (inverse_A,) = ctx.saved_tensors
        return grad_AD.index_select(0, inverse_A), None, None
