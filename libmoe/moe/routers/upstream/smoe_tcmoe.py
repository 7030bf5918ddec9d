"""Upstream's ``smoe_tcmoe``."""

import torch
from torch import Tensor

from libmoe.moe.routers.interface import Routing
from libmoe.moe.routers.linear import LinearRouter
from libmoe.moe.routers.registry import register_router
from libmoe.moe.routers.smoe_tcmoe import TernaryRouter


@register_router("smoe_tcmoe", compat="upstream")
class UpstreamTernaryRouter(TernaryRouter):
    """p and choice as ``smoe_tcmoe``; column c belongs to expert c mod E, null slots too.

    A null slot is computed by its expert and weighs 0. Of a token's slots that belong to one expert (+e, -e
    and the null slot j = e) the last alone is written, the others are lost. The z-loss reads logits without
    bias. The balance loss is ``mean_b sum_e (n_e / n_b) P_be``: n_e counts the slots that all sequences sent
    to e, n_b those that sequence b sent to any, P_be is the mean of (p_{+e} + p_{-e}) over that of all such
    columns; so it grows with the batch, and has no factor E.
    """

    def forward(self, x_TD: Tensor) -> Tensor:
        return LinearRouter.forward(self, x_TD)

    def choose(self, logits_TE: Tensor) -> Routing:
        probability_TC = self.biased(logits_TE).softmax(-1)
        column_TK, weight_TK = self.take(probability_TC)
        expert_TK = column_TK % self.experts
        same_TKK = expert_TK.unsqueeze(-1) == expert_TK.unsqueeze(-2)
        lost_TK = same_TKK.triu(1).any(-1)
        return Routing(
            expert_TK,
            weight_TK.masked_fill(lost_TK, 0.0),
            logits_TE,
            probability_TC,
            balanced_TK=column_TK,
            own_loss=self.reward(probability_TC),
        )

    def balance(self, routing: Routing, sequence: int) -> Tensor:
        assert routing.balanced_TK is not None
        column_BSK = routing.balanced_TK.unflatten(0, (-1, sequence))
        counted_BSK = column_BSK < 2 * self.experts
        expert_E = torch.arange(self.experts, device=column_BSK.device)
        sent_BSKE = (column_BSK.unsqueeze(-1) % self.experts == expert_E) & counted_BSK.unsqueeze(-1)
        sent_E, sent_B1 = sent_BSKE.sum((0, 1, 2)), counted_BSK.sum((1, 2)).clamp(min=1).unsqueeze(-1)
        positive_TE, negative_TE, _ = self.parts(routing.probability_TE)
        base_TE = positive_TE + negative_TE
        share_TE = base_TE / base_TE.sum(-1, keepdim=True)
        share_BE = share_TE.unflatten(0, (-1, sequence)).mean(1)
        return (sent_E.to(share_BE.dtype) / sent_B1 * share_BE).sum(-1).mean()
