"""``smoe_plus_plus``: experts that cost nothing beside the others (MoE++, arXiv:2410.07348)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from libmoe.config.schema import MoEConfig
from libmoe.moe.routers.cheap import CheapExperts, with_cheap
from libmoe.moe.routers.interface import Routing
from libmoe.moe.routers.linear import LinearRouter
from libmoe.moe.routers.registry import register_router
from libmoe.moe.routers.shares import shares
from libmoe.moe.trace import leave_logits, previous_logits

_OFF = -10.0
_OPEN = 1000


class GatingResidual(nn.Module):
    """``Wt g_previous``: ``(T, C)`` to ``(T, C)``, in the type of the logits."""

    def __init__(self, columns: int, std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(columns, columns))
        nn.init.normal_(self.weight, std=std)

    def forward(self, previous_TC: Tensor) -> Tensor:
        return F.linear(previous_TC, self.weight.to(previous_TC.dtype))


@register_router("smoe_plus_plus")
class PlusPlusRouter(LinearRouter):
    """g = x Wg^T + Wt g_previous + b over the C = E + Z columns of E experts and Z cheap ones.

    p = softmax(g); the k largest p are chosen, each weighs p over the sum of the chosen. Column E is the zero
    expert (adds 0), E + 1 copies (adds x), the other max(E/4 - 2, 1) are constant: each adds a0 x + a1 v with
    (a0, a1) = softmax(Wc x), v and Wc its own (eqs. 3-5). g_previous are the logits of the layer before in
    the same part and forward pass (eq. 6; the first layer has none). The balance loss weighs a cheap expert
    by tau (eqs. 7-8): C * sum_c eta_c f_c P_c, eta = 1 or tau.

    So that an upcycled layer starts as the dense one, b is -10 for cheap experts at first, and rises to 0
    over the share ``moe.cheap_warmup`` of training; ``opened`` counts its thousandths. MoE++ has b = 0,
    weighs by p itself (eq. 2), and drops the tokens beyond an expert's capacity, which is left out.

    Shapes: x ``(T, D)``, Wg ``(C, D)``, Wt ``(C, C)``, v ``(Z - 2, D)``, Wc ``(Z - 2, 2, D)``, g and p ``(T,
    C)``, choice and weights ``(T, K)``. Only where the layer's output is as wide as its input; elsewhere (in
    the connector) ``smoe`` takes its place. Upstream has neither copy expert nor residual, and instead of tau
    a fixed 1.3 on column 4.
    """

    fallback = "smoe"
    opened: Tensor

    def __init__(self, width: int, settings: MoEConfig) -> None:
        self.constants = max(settings.experts // 4 - 2, 1)
        super().__init__(width, settings)
        self.tau, self.warmup = settings.tau, settings.cheap_warmup
        self.cheap = CheapExperts(width, self.constants, copies=True, std=settings.router_std)
        self.residual: GatingResidual | None = None
        self.position: int | None = None
        self.register_buffer("opened", torch.tensor(self._opened_at(0.0)))

    @property
    def columns(self) -> int:
        return self.experts + 2 + self.constants

    def join_chain(self, position: int) -> bool:
        self.position = position
        if position > 0:
            self.residual = GatingResidual(self.columns, self.std)
        return True

    def forward(self, x_TD: Tensor) -> Tensor:
        logits_TC = super().forward(x_TD)
        bias = _OFF * (1 - self.opened.to(logits_TC.dtype) / _OPEN)
        return torch.cat([logits_TC[..., : self.experts], logits_TC[..., self.experts :] + bias], -1)

    def route(self, x_TD: Tensor, sequence: int) -> Routing:
        logits_TC = self(x_TD)
        if self.position is not None:
            if self.residual is not None:
                logits_TC = logits_TC + self.residual(previous_logits(self.position))
            leave_logits(self.position, logits_TC)
        return self.choose(logits_TC)

    def choose(self, logits_TE: Tensor) -> Routing:
        column_TK, weight_TK = shares(logits_TE.log_softmax(-1), self.top_k)
        return with_cheap(self.experts, column_TK, weight_TK, logits_TE)

    def beside(self, x_TD: Tensor, routing: Routing) -> Tensor:
        assert routing.beside_TN is not None
        return self.cheap(x_TD, routing.beside_TN)

    def balance(self, routing: Routing, sequence: int) -> Tensor:
        cost_C = torch.ones_like(routing.logits_TE[0])
        cost_C[self.experts :] = self.tau
        return routing.balance(sequence, cost_C)

    def after_step(self, progress: float) -> None:
        self.opened.clamp_(min=self._opened_at(progress))

    def initial_weights(self, generator: torch.Generator) -> dict[str, Tensor]:
        """As every router's; cheap experts start closed."""
        return super().initial_weights(generator) | {"opened": torch.tensor(self._opened_at(0.0))}

    def _opened_at(self, progress: float) -> int:
        return _OPEN if progress >= self.warmup else int(_OPEN * progress / self.warmup)
