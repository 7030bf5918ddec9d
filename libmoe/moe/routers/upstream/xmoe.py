"""Upstream's ``xmoe``."""

from torch import Tensor
from torch.nn import functional as F

from libmoe.moe.routers.interface import Routing
from libmoe.moe.routers.registry import register_router
from libmoe.moe.routers.upstream.first_slot import first_slot
from libmoe.moe.routers.xmoe import NORM, SMALLEST, TEMPERATURE, CosineRouter


@register_router("xmoe", compat="upstream")
class UpstreamCosineRouter(CosineRouter):
    """g_e = Wr x / |Wr x| . m_e with |m_e| held at 1.5, p = softmax(g / 0.3); chosen by p, weighed by
    softmax(p).

    So logits are 1.5 times the cosine, the z-loss reads them before the temperature, and the weights are
    flatter than the p they come from. The embeddings' norm is a constant in the backward pass; upstream
    writes them back at that norm. R = E / 2 may be 1. Balance by the first slot.
    """

    fewest_dimensions = 1

    def forward(self, x_TD: Tensor) -> Tensor:
        reduced_TR = self.reduce(x_TD)
        embedding_ER = self.embedding.to(reduced_TR.dtype)
        held_ER = embedding_ER * (NORM / embedding_ER.norm(dim=-1, keepdim=True)).detach()
        return F.linear(F.normalize(reduced_TR, dim=-1, eps=SMALLEST), held_ER)

    def choose(self, logits_TE: Tensor) -> Routing:
        probability_TE = (logits_TE / TEMPERATURE).softmax(-1)
        chosen_TK, expert_TK = probability_TE.topk(self.top_k, dim=-1)
        return first_slot(Routing(expert_TK, chosen_TK.softmax(-1), logits_TE, probability_TE))
