"""What the tests need to know of each algorithm beyond its name: four experts, float64."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from libmoe.moe import MoEMLP

EXPERTS = 4
NO_AUX = {"balance_coefficient": 0.0, "z_coefficient": 0.0}
Mixture = Callable[[MoEMLP, Tensor], Tensor]


@dataclass(frozen=True)
class Algorithm:
    """How its parameters relate to experts, and what it computes where it chooses all of them."""

    name: str
    mixture: Mixture
    """Weights ``(..., E)`` of the experts at k = E, written from the parameters as the paper does."""
    order: tuple[int, ...] = (2, 0, 3, 1)
    """A permutation of experts that it may not notice."""
    rows: dict[str, Callable[[Tensor], Tensor]] = field(
        default_factory=lambda: {"weight": lambda order: order}
    )
    """Router parameter -> its first rows in the order that goes with an order of experts."""
    fewest: int = 1
    """The smallest k."""
    start: dict[str, float] = field(default_factory=dict)
    """Settings with which it starts as the dense layer and chooses all experts at k = E."""
    start_error: float = 1e-14
    """How far, relatively, its start is from the dense layer."""
    stir: float = 0.0
    """Noise on the router that leads it away from its start, where it chooses what it does not at first."""
    later: dict[str, float] = field(default_factory=dict)
    """Settings of a layer that is some way into its training."""
    moves: tuple[int, ...] | None = None
    """What its buffer of that name then holds."""
    competing: bool = False
    """Tokens of a sequence compete, so that some get nothing and each depends on the others."""


def softmax(layer: MoEMLP, x: Tensor) -> Tensor:
    return F.linear(x, layer.router.weight).softmax(-1)


def sigmoid(layer: MoEMLP, x: Tensor) -> Tensor:
    score = F.linear(x, layer.router.weight).sigmoid()
    return score / score.sum(-1, keepdim=True)


def cosine(layer: MoEMLP, x: Tensor) -> Tensor:
    reduced = F.linear(x, layer.router.reduction).unsqueeze(-2)
    return (F.cosine_similarity(reduced, layer.router.embedding, dim=-1) / 0.3).softmax(-1)


def half_shared(routed: Mixture) -> Mixture:
    def mixture(layer: MoEMLP, x: Tensor) -> Tensor:
        weights = routed(layer, x)
        return 0.5 * torch.cat([torch.ones_like(weights[..., :1]), weights], -1)

    return mixture


def ternary(layer: MoEMLP, x: Tensor) -> Tensor:
    p = layer.router(x).softmax(-1)
    positive, null = p[..., :EXPERTS], p[..., 2 * EXPERTS :]
    return positive / (positive.sum(-1, keepdim=True) + null.sum(-1, keepdim=True))


def among_experts(layer: MoEMLP, x: Tensor) -> Tensor:
    return layer.router(x)[..., :EXPERTS].softmax(-1)


SHARED = {"order": (0, 3, 1, 2), "rows": {"weight": lambda order: order[1:] - 1}, "fewest": 2}
ALGORITHMS = [
    Algorithm("smoe", softmax),
    Algorithm("smoe_sigmoidgating", sigmoid),
    Algorithm("xmoe", cosine, rows={"embedding": lambda order: order}),
    Algorithm("smoe_share", half_shared(softmax), **SHARED),
    Algorithm("smoe_sharev3", half_shared(sigmoid), **SHARED),
    Algorithm(
        "smoe_tcmoe",
        ternary,
        rows={"weight": lambda order: torch.cat([order, EXPERTS + order])},
        start={"router_std": 0.05},
        start_error=5e-5,
        stir=0.7,
    ),
    Algorithm("smoe_plus_plus", among_experts, stir=0.7, later={"cheap_warmup": 0.0}),
    Algorithm(
        "aux_free",
        sigmoid,
        rows={"weight": lambda order: order, "moves": lambda order: order},
        later={"bias_update_rate": 0.05},
        moves=(2, -1, 0, 3),
    ),
    Algorithm("expert_choice", softmax, competing=True),
]


def gradients(layer: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad.clone() for name, parameter in layer.named_parameters()}


def chosen(layer: MoEMLP, x: Tensor) -> Tensor:
    return layer.router.route(x.flatten(0, 1), x.shape[1]).expert_TK
