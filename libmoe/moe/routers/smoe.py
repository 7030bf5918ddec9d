"""``smoe``: top-k of a softmax (Shazeer et al., arXiv:1701.06538; CuMo, arXiv:2405.05949)."""

from torch import Tensor

from libmoe.moe.routers.interface import Routing
from libmoe.moe.routers.linear import LinearRouter
from libmoe.moe.routers.registry import register_router
from libmoe.moe.routers.shares import shares


@register_router("smoe")
class SoftmaxRouter(LinearRouter):
    """g = x Wg^T, p = softmax(g); the k largest p are chosen, each weighs p over the sum of the chosen.

    Shapes: x ``(T, D)``, Wg ``(E, D)``, g and p ``(T, E)``, choice and weights ``(T, K)``.
    Upstream's balance loss counts the first slot only; ours counts all k.
    """

    def choose(self, logits_TE: Tensor) -> Routing:
        expert_TK, weight_TK = shares(logits_TE.log_softmax(-1), self.top_k)
        return Routing(expert_TK, weight_TK, logits_TE, logits_TE.softmax(-1))
