"""``expert_choice``: experts choose tokens (Zhou et al., arXiv:2202.09368)."""

import torch
from torch import Tensor

from libmoe.moe.routers.interface import Routing
from libmoe.moe.routers.linear import LinearRouter
from libmoe.moe.routers.registry import register_router


@register_router("expert_choice")
class ExpertChoiceRouter(LinearRouter):
    """p = softmax(x Wg^T); in each sequence of S tokens, every expert takes the C tokens with the largest
    p_e.

    C = ceil(k S / E), so that k experts take a token on average. A token's outputs weigh p over the sum of
    the experts that took it, which the paper leaves as it is: so an upcycled layer starts as the dense one
    for every token that is taken (as in sparse upcycling, arXiv:2212.05055, section 3.1). Where one expert
    took a token, the divisor counts as a constant in the backward pass, as in ``shares``.

    A token that no expert takes gets zero, and passes the layer by its residual connection alone; in the
    connector, which has none, it becomes a vector of zeros. As tokens compete, one of them changes what
    others of its sequence get. Loads are equal by construction, and the balance loss is the constant 1. A
    token's choice depends on later ones, so it is refused in the language model.

    Shapes: x ``(T, D)``, Wg ``(E, D)``, g and p ``(T, E)``; choice and weights ``(T, E)``, a slot an expert,
    those not taken dropped. Dispatch holds T * E slots, while experts compute B * E * C rows.
    """

    def route(self, x_TD: Tensor, sequence: int) -> Routing:
        return self._choose(self(x_TD), sequence)

    def choose(self, logits_TE: Tensor) -> Routing:
        """All tokens as one sequence."""
        return self._choose(logits_TE, len(logits_TE))

    def _choose(self, logits_TE: Tensor, sequence: int) -> Routing:
        log_p_TE = logits_TE.log_softmax(-1)
        capacity = -(-self.top_k * sequence // self.experts)
        shape_BSE = (len(logits_TE) // max(sequence, 1), sequence, self.experts)
        taken_BCE = log_p_TE.detach().view(shape_BSE).topk(capacity, dim=1).indices
        taken_BSE = torch.zeros(shape_BSE, dtype=torch.bool, device=logits_TE.device)
        taken_TE = taken_BSE.scatter(1, taken_BCE, True).view_as(logits_TE)
        expert_E = torch.arange(self.experts, device=logits_TE.device)
        return Routing(
            expert_TK=torch.where(taken_TE, expert_E, self.experts),
            weight_TK=_weights(log_p_TE, taken_TE),
            logits_TE=logits_TE,
            probability_TE=log_p_TE.exp(),
            dropped_TK=~taken_TE,
            rows=taken_BCE.numel(),
        )

    def balance(self, routing: Routing, sequence: int) -> Tensor:
        return torch.ones_like(routing.logits_TE[0, 0])


def _weights(log_p_TE: Tensor, taken_TE: Tensor) -> Tensor:
    """p over the sum of the taken, zero for the others; rows without any are zero throughout."""
    p_TE = log_p_TE.exp().where(taken_TE, 0.0)
    total_T1, count_T1 = p_TE.sum(-1, keepdim=True), taken_TE.sum(-1, keepdim=True)
    total_T1 = torch.where(count_T1 == 1, total_T1.detach(), total_T1)
    return p_TE / total_T1.where(count_T1 > 0, 1.0)
