"""``xmoe``: cosine routing in few dimensions (X-MoE, arXiv:2204.09179)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from libmoe.config.schema import MoEConfig
from libmoe.moe.routers.interface import Router, Routing
from libmoe.moe.routers.registry import register_router
from libmoe.moe.routers.shares import shares

TEMPERATURE = 0.3
NORM = 1.5
SMALLEST = 1e-4
"""Reduced tokens shorter than this are divided by it, which bounds the gradient of a token of zeros."""


@register_router("xmoe")
class CosineRouter(Router):
    """g_e = cos(Wr x, m_e) / 0.3, p = softmax(g); the k largest p, each over the sum of the chosen.

    The low dimension and the unit sphere keep tokens from collapsing onto the experts' embeddings. X-MoE
    learns the temperature; here it stays at 0.3, as upstream's does.

    Shapes: x ``(T, D)``, Wr ``reduction (R, D)`` with R = E / 2, m ``embedding (E, R)``, g and p ``(T, E)``,
    choice and weights ``(T, K)``. R is at least 2: a cosine in one dimension is a sign, which learns nothing.

    Embeddings start at norm 1.5. X-MoE rescales them to it in each step; the cosine does not change with
    their norm, and its gradient is orthogonal to them, so that rescaling (which would have to reach the
    optimizer's own copies) is left out.
    Upstream weighs by the softmax of the chosen p, which flattens them, and has a ``gate`` that nothing
    reads.
    """

    fewest_dimensions = 2

    def __init__(self, width: int, settings: MoEConfig) -> None:
        super().__init__(width, settings)
        dimensions = max(self.fewest_dimensions, settings.experts // 2)
        self.reduction = nn.Parameter(torch.empty(dimensions, width))
        self.embedding = nn.Parameter(torch.empty(settings.experts, dimensions))
        nn.init.normal_(self.reduction, std=settings.router_std)
        nn.init.normal_(self.embedding)

    def reduce(self, x_TD: Tensor) -> Tensor:
        """Wr x ``(T, R)``, in float32 at least."""
        dtype = torch.promote_types(x_TD.dtype, torch.float32)
        return F.linear(x_TD.to(dtype), self.reduction.to(dtype))

    def forward(self, x_TD: Tensor) -> Tensor:
        reduced_TR = self.reduce(x_TD)
        embedding_ER = F.normalize(self.embedding.to(reduced_TR.dtype), dim=-1)
        return F.linear(F.normalize(reduced_TR, dim=-1, eps=SMALLEST), embedding_ER) / TEMPERATURE

    def choose(self, logits_TE: Tensor) -> Routing:
        expert_TK, weight_TK = shares(logits_TE.log_softmax(-1), self.top_k)
        return Routing(expert_TK, weight_TK, logits_TE, logits_TE.softmax(-1))

    def initial_weights(self, generator: torch.Generator) -> dict[str, Tensor]:
        """As every router's, but embeddings are uniform in direction and of norm 1.5."""
        weights = super().initial_weights(generator)
        direction = torch.empty_like(weights["embedding"]).normal_(generator=generator)
        return weights | {"embedding": NORM * F.normalize(direction, dim=-1)}
