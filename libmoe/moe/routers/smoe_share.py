"""``smoe_share``: one expert for every token beside the routed ones (DeepSeekMoE, arXiv:2401.06066)."""

import torch
from torch import Tensor

from libmoe.moe.routers.interface import Routing
from libmoe.moe.routers.linear import LinearRouter
from libmoe.moe.routers.registry import register_router
from libmoe.moe.routers.shares import shares


@register_router("smoe_share")
class SharedExpertRouter(LinearRouter):
    """Expert 0 always; of the other E - 1, the k - 1 with the largest p = softmax(x Wg^T).

    ``y = 0.5 f_0(x) + 0.5 sum_e w_e f_e(x)``, w_e = p_e over the sum of the chosen. The halves are
    upstream's, where DeepSeekMoE adds both in full: so the weights sum to one and an upcycled model starts as
    the dense one. Losses are those of the routed experts.

    Shapes: x ``(T, D)``, Wg ``(E-1, D)``, g and p ``(T, E-1)``, choice and weights ``(T, K)``, slot 0 is the
    shared expert's. Upstream's balance loss counts the first routed slot only; ours counts all.
    """

    @property
    def columns(self) -> int:
        return self.experts - 1

    def log_score(self, logits_TE: Tensor) -> Tensor:
        """Logarithm of what the routed experts are chosen and weighed by, ``(T, E-1)``."""
        return logits_TE.log_softmax(-1)

    def choose(self, logits_TE: Tensor) -> Routing:
        routed_TK, share_TK = shares(self.log_score(logits_TE), self.top_k - 1)
        shared_T1 = torch.zeros_like(routed_TK[:, :1])
        return Routing(
            expert_TK=torch.cat([shared_T1, routed_TK + 1], -1),
            weight_TK=0.5 * torch.cat([torch.ones_like(share_TK[:, :1]), share_TK], -1),
            logits_TE=logits_TE,
            probability_TE=logits_TE.softmax(-1),
            balanced_TK=routed_TK,
        )
