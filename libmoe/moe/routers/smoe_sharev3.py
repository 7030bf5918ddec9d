"""``smoe_sharev3``: a shared expert, the others by sigmoid (DeepSeek-V3, arXiv:2412.19437, eqs. 12-15)."""

from torch import Tensor
from torch.nn import functional as F

from libmoe.moe.routers.registry import register_router
from libmoe.moe.routers.smoe_share import SharedExpertRouter


@register_router("smoe_sharev3")
class SigmoidSharedExpertRouter(SharedExpertRouter):
    """Expert 0 always; of the other E - 1, the k - 1 with the largest s = sigmoid(x Wg^T).

    ``y = 0.5 f_0(x) + 0.5 sum_e w_e f_e(x)``, w_e = s_e over the sum of the chosen. The halves are as
    in ``smoe_share``. The losses read p = softmax(g) of the routed experts; DeepSeek-V3's bias that balances
    without a loss is no part of this algorithm.

    Shapes: as ``smoe_share``. Upstream's balance loss counts the first routed slot only; ours counts all.
    """

    def log_score(self, logits_TE: Tensor) -> Tensor:
        return F.logsigmoid(logits_TE)
