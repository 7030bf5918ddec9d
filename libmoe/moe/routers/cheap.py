"""MoE++'s experts that cost next to nothing: zero, copy and constant (arXiv:2410.07348, eqs. 3-5)."""

import torch
from torch import Tensor, nn

from libmoe.moe.routers.interface import Routing


class CheapExperts(nn.Module):
    """What copy and constant experts add: ``w_copy x + sum_n w_n (a0_n x + a1_n v_n)``, ``(T, D)``.

    (a0_n, a1_n) = softmax(Wc_n x); v is ``value (N, D)``, Wc is ``mix (N, 2, D)``. Computed in float32 at
    least.
    """

    def __init__(self, width: int, constants: int, copies: bool, std: float) -> None:
        super().__init__()
        self.copies = copies
        self.value = nn.Parameter(torch.empty(constants, width))
        self.mix = nn.Parameter(torch.empty(constants, 2, width))
        nn.init.normal_(self.value, std=std)
        nn.init.normal_(self.mix, std=std)

    def forward(self, x_TD: Tensor, weight_TN: Tensor) -> Tensor:
        """Each token's weights of the copy expert (if there is one), then of the constant ones."""
        wide_TD, dtype = x_TD.to(weight_TN.dtype), weight_TN.dtype
        constant_TN = weight_TN[:, 1:] if self.copies else weight_TN
        alpha_TN2 = torch.einsum("td,njd->tnj", wide_TD, self.mix.to(dtype)).softmax(-1)
        part_TN2 = constant_TN.unsqueeze(-1) * alpha_TN2
        kept_T1 = part_TN2[..., 0].sum(-1, keepdim=True)
        if self.copies:
            kept_T1 = kept_T1 + weight_TN[:, :1]
        return (kept_T1 * wide_TD + part_TN2[..., 1] @ self.value.to(dtype)).to(x_TD.dtype)


def with_cheap(experts: int, column_TK: Tensor, weight_TK: Tensor, logits_TC: Tensor) -> Routing:
    """The routing of a choice among columns: experts, then the zero expert, then other cheap ones."""
    dropped_TK = column_TK >= experts
    beside_N = torch.arange(experts + 1, logits_TC.shape[1], device=logits_TC.device)
    chosen_TKN = column_TK.unsqueeze(-1) == beside_N
    return Routing(
        expert_TK=column_TK.masked_fill(dropped_TK, experts),
        weight_TK=weight_TK,
        logits_TE=logits_TC,
        probability_TE=logits_TC.softmax(-1),
        balanced_TK=column_TK,
        dropped_TK=dropped_TK,
        beside_TN=(weight_TK.unsqueeze(-1) * chosen_TKN).sum(1),
    )
