"""Upstream's ``smoe_plus_plus``."""

import torch
from torch import Tensor

from libmoe.config.schema import MoEConfig
from libmoe.moe.routers.cheap import CheapExperts, with_cheap
from libmoe.moe.routers.interface import Routing
from libmoe.moe.routers.linear import LinearRouter
from libmoe.moe.routers.registry import register_router
from libmoe.moe.routers.shares import shares
from libmoe.moe.routers.upstream.first_slot import first_slot

_FAVOURED = 4
_FACTOR = 1.3


@register_router("smoe_plus_plus", compat="upstream")
class UpstreamPlusPlusRouter(LinearRouter):
    """g = x Wg^T over E experts, a zero expert (column E) and a constant one (E + 1); p = softmax(g).

    No copy expert and no residual (its weights are in the files, but nothing reads them); cheap experts are
    on from the start, so that an upcycled layer is not the dense one. In the balance loss, by the first slot,
    column 4 counts 1.3, whatever it is. Shapes: as ``smoe_plus_plus`` with Z = 2.
    """

    fallback = "smoe"

    def __init__(self, width: int, settings: MoEConfig) -> None:
        super().__init__(width, settings)
        self.cheap = CheapExperts(width, constants=1, copies=False, std=settings.router_std)

    @property
    def columns(self) -> int:
        return self.experts + 2

    def choose(self, logits_TE: Tensor) -> Routing:
        column_TK, weight_TK = shares(logits_TE.log_softmax(-1), self.top_k)
        return first_slot(with_cheap(self.experts, column_TK, weight_TK, logits_TE))

    def beside(self, x_TD: Tensor, routing: Routing) -> Tensor:
        assert routing.beside_TN is not None
        return self.cheap(x_TD, routing.beside_TN)

    def balance(self, routing: Routing, sequence: int) -> Tensor:
        cost_C = torch.ones_like(routing.logits_TE[0])
        cost_C[_FAVOURED : _FAVOURED + 1] = _FACTOR
        return routing.balance(sequence, cost_C)
