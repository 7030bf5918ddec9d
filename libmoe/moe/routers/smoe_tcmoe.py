"""``smoe_tcmoe``: a token takes an expert, its negative, or nothing (TC-MoE, Yan et al., ICLR 2025; no arXiv
number, openreview.net/forum?id=dsP91M4hDL)."""

import torch
from torch import Tensor

from libmoe.moe.routers.interface import Routing
from libmoe.moe.routers.linear import LinearRouter
from libmoe.moe.routers.registry import register_router

_NEGATIVE_BIAS = -1.0
_NULL_BIAS = -10.0
_NULL_REWARD = 1e-5


@register_router("smoe_tcmoe")
class TernaryRouter(LinearRouter):
    """p = softmax(x Wg^T + b) over 2E + k columns: +e (b = 0), -e (b = -1) and k null slots (b = -10).

    The k largest p are chosen; with N the sum of all null p,

        w_c = sign_c p_c / (sum of the chosen p that are not null + N),   sign = +1, -1, 0.

    A null slot costs no expert. Where a token takes both +e and -e, both count. The balance loss sees base
    experts: P_e = p_{+e} + p_{-e}, and the slots that went to either. The reward for leaving experts out is
    the loss -1e-5 mean(N).

    -e and null columns of Wg start at zero, so that an upcycled layer starts as the dense one but for N,
    which is about 5e-5, and for tokens whose k-th best +e has a logit below -1. With k = 1 the chosen p in
    the divisor counts as a constant in the backward pass, as in ``shares``.

    Shapes: x ``(T, D)``, Wg ``(2E+k, D)``, logits and p ``(T, 2E+k)``, choice and weights ``(T, K)``.
    Upstream loses a write when a token takes +e and -e, sends null slots through a real expert, and its
    balance loss grows with the batch.
    """

    @property
    def columns(self) -> int:
        return 2 * self.experts + self.top_k

    def forward(self, x_TD: Tensor) -> Tensor:
        return self.biased(super().forward(x_TD))

    def choose(self, logits_TE: Tensor) -> Routing:
        probability_TC = logits_TE.softmax(-1)
        positive_TE, negative_TE, _ = self.parts(probability_TC)
        column_TK, weight_TK = self.take(probability_TC)
        dropped_TK = column_TK >= 2 * self.experts
        return Routing(
            expert_TK=(column_TK % self.experts).masked_fill(dropped_TK, self.experts),
            weight_TK=weight_TK,
            logits_TE=logits_TE,
            probability_TE=positive_TE + negative_TE,
            dropped_TK=dropped_TK,
            own_loss=self.reward(probability_TC),
        )

    def biased(self, columns_TC: Tensor) -> Tensor:
        """x Wg^T + b."""
        positive_TE, negative_TE, null_TK = self.parts(columns_TC)
        return torch.cat([positive_TE, negative_TE + _NEGATIVE_BIAS, null_TK + _NULL_BIAS], -1)

    def take(self, probability_TC: Tensor) -> tuple[Tensor, Tensor]:
        """The chosen columns and their w, both ``(T, K)``."""
        chosen_TK, column_TK = probability_TC.topk(self.top_k, dim=-1)
        chosen_TK = chosen_TK.masked_fill(column_TK >= 2 * self.experts, 0.0)
        taken_T1 = chosen_TK.sum(-1, keepdim=True)
        if self.top_k == 1:
            taken_T1 = taken_T1.detach()
        share_TK = chosen_TK / (taken_T1 + self.parts(probability_TC)[2].sum(-1, keepdim=True))
        return column_TK, torch.where(column_TK < self.experts, share_TK, -share_TK)

    def reward(self, probability_TC: Tensor) -> Tensor:
        """The loss that rewards null slots, a scalar."""
        return -_NULL_REWARD * self.parts(probability_TC)[2].sum(-1).mean()

    def parts(self, columns_TC: Tensor) -> tuple[Tensor, ...]:
        """Columns of the experts ``(T, E)``, their negatives ``(T, E)`` and the null slots ``(T, K)``."""
        return columns_TC.split([self.experts, self.experts, self.top_k], dim=-1)

    def initial_weights(self, generator: torch.Generator) -> dict[str, Tensor]:
        """N(0, std) for the columns +e, zero for all others."""
        weights = super().initial_weights(generator)
        weights["weight"][self.experts :] = 0.0
        return weights
