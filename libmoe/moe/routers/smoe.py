"""``smoe``: top-k of a softmax (Shazeer et al., arXiv:1701.06538; CuMo, arXiv:2405.05949)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from libmoe.config.schema import MoEConfig
from libmoe.moe.routers.interface import Router, Routing, register_router


@register_router("smoe")
class SoftmaxRouter(Router):
    """g = x Wg^T, p = softmax(g); the k largest p are chosen, each weighs p over the sum of the chosen.

    Everything is computed in float32 (float64 stays float64), whatever the type of x.

    With k = 1 that weight is the constant 1, and the language loss would never reach the router. There the
    divisor counts as a constant in the backward pass: the output is still exactly one expert's, so that an
    upcycled layer starts as the dense one, and the router gets Switch's gradient,
    d log p (arXiv:2101.03961, eq. 2).
    """

    def __init__(self, width: int, settings: MoEConfig) -> None:
        super().__init__(width, settings)
        self.weight = nn.Parameter(torch.empty(settings.experts, width))  # (E, D)
        nn.init.normal_(self.weight, std=settings.router_std)

    def forward(self, x_TD: Tensor) -> Tensor:
        dtype = torch.promote_types(x_TD.dtype, torch.float32)
        return F.linear(x_TD.to(dtype), self.weight.to(dtype))

    def choose(self, logits_TE: Tensor) -> Routing:
        probability_TE = logits_TE.softmax(-1)
        chosen_TK, expert_TK = probability_TE.topk(self.top_k, dim=-1)
        divisor_T1 = chosen_TK.sum(-1, keepdim=True)
        if self.top_k == 1:
            divisor_T1 = divisor_T1.detach()
        return Routing(expert_TK, chosen_TK / divisor_T1, logits_TE, probability_TE)
