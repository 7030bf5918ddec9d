"""``smoe_sigmoidgating``: top-k of a sigmoid (sigma-MoE, arXiv:2310.10837; analysed in arXiv:2405.13997)."""

from torch import Tensor
from torch.nn import functional as F

from libmoe.moe.routers.interface import Routing
from libmoe.moe.routers.linear import LinearRouter
from libmoe.moe.routers.registry import register_router
from libmoe.moe.routers.shares import shares


@register_router("smoe_sigmoidgating")
class SigmoidRouter(LinearRouter):
    """g = x Wg^T, s = sigmoid(g); the k largest s are chosen, each weighs s over the sum of the chosen.

    An expert's score does not depend on its competitors'. sigma-MoE weighs by s itself; divided by the sum of
    the chosen, an upcycled layer starts as the dense one. The losses read p = softmax(g), as upstream's do.

    Shapes: x ``(T, D)``, Wg ``(E, D)``, g, s and p ``(T, E)``, choice and weights ``(T, K)``.
    Upstream's balance loss counts the first slot only; ours counts all k.
    """

    def choose(self, logits_TE: Tensor) -> Routing:
        expert_TK, weight_TK = shares(F.logsigmoid(logits_TE), self.top_k)
        return Routing(expert_TK, weight_TK, logits_TE, logits_TE.softmax(-1))
