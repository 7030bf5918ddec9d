"""``xmoe``: cosine routing in few dimensions (X-MoE, arXiv:2204.09179)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from libmoe.config.schema import MoEConfig
from libmoe.moe.routers.interface import Router, Routing, register_router
from libmoe.moe.routers.shares import shares

_TEMPERATURE = 0.3
_NORM = 1.5
_SMALLEST = 1e-4
"""Reduced tokens shorter than this are divided by it, which bounds the gradient of a token of zeros."""


@register_router("xmoe")
class CosineRouter(Router):
    """g_e = cos(Wr x, m_e) / 0.3, p = softmax(g); the k largest p, each over the sum of the chosen.

    The low dimension and the unit sphere keep tokens from collapsing onto the experts' embeddings.

    Shapes: x ``(T, D)``, Wr ``reduction (R, D)`` with R = E / 2, m ``embedding (E, R)``, g and p ``(T, E)``,
    choice and weights ``(T, K)``. R is at least 2: a cosine in one dimension is a sign, which learns nothing.

    Embeddings start at norm 1.5. X-MoE rescales them to it in each step; the cosine does not change with
    their norm, and its gradient is orthogonal to them, so that rescaling (which would have to reach the
    optimizer's own copies) is left out.
    Upstream weighs by the softmax of the chosen p, which flattens them, and has a ``gate`` that nothing
    reads.
    """

    def __init__(self, width: int, settings: MoEConfig) -> None:
        super().__init__(width, settings)
        dimensions = max(2, settings.experts // 2)
        self.reduction = nn.Parameter(torch.empty(dimensions, width))
        self.embedding = nn.Parameter(torch.empty(settings.experts, dimensions))
        nn.init.normal_(self.reduction, std=settings.router_std)
        nn.init.normal_(self.embedding)

    def forward(self, x_TD: Tensor) -> Tensor:
        dtype = torch.promote_types(x_TD.dtype, torch.float32)
        reduced_TR = F.linear(x_TD.to(dtype), self.reduction.to(dtype))
        embedding_ER = F.normalize(self.embedding.to(dtype), dim=-1)
        return F.linear(F.normalize(reduced_TR, dim=-1, eps=_SMALLEST), embedding_ER) / _TEMPERATURE

    def choose(self, logits_TE: Tensor) -> Routing:
        expert_TK, weight_TK = shares(logits_TE.log_softmax(-1), self.top_k)
        return Routing(expert_TK, weight_TK, logits_TE, logits_TE.softmax(-1))

    def initial_weights(self, generator: torch.Generator) -> dict[str, Tensor]:
        """As every router's, but embeddings are uniform in direction and of norm 1.5."""
        weights = super().initial_weights(generator)
        direction = torch.empty_like(weights["embedding"]).normal_(generator=generator)
        return weights | {"embedding": _NORM * F.normalize(direction, dim=-1)}
