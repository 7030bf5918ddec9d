"""What the tests need to know of each algorithm beyond its name: four experts, float64."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from libmoe.moe import MoEMLP

EXPERTS = 4
NO_AUX = {"balance_coefficient": 0.0, "z_coefficient": 0.0}


@dataclass(frozen=True)
class Algorithm:
    """How its parameters relate to experts, how it starts, and what it needs to go elsewhere."""

    name: str
    order: tuple[int, ...] = (2, 0, 3, 1)
    """A permutation of experts that it may not notice."""
    rows: dict[str, Callable[[Tensor], Tensor]] = field(
        default_factory=lambda: {"weight": lambda order: order}
    )
    """Router parameter -> its first rows in the order that goes with an order of experts."""
    fewest: int = 1
    """The smallest k."""
    start: dict[str, float] = field(default_factory=dict)
    """Settings with which it starts as the dense layer."""
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


SHARED = {"order": (0, 3, 1, 2), "rows": {"weight": lambda order: order[1:] - 1}, "fewest": 2}
ALGORITHMS = [
    Algorithm("smoe"),
    Algorithm("smoe_sigmoidgating"),
    Algorithm("xmoe", rows={"embedding": lambda order: order}),
    Algorithm("smoe_share", **SHARED),
    Algorithm("smoe_sharev3", **SHARED),
    Algorithm(
        "smoe_tcmoe",
        rows={"weight": lambda order: torch.cat([order, EXPERTS + order])},
        start={"router_std": 0.05},
        start_error=5e-5,
        stir=0.7,
    ),
    Algorithm("smoe_plus_plus", stir=0.7, later={"cheap_warmup": 0.0}),
    Algorithm(
        "aux_free",
        rows={"weight": lambda order: order, "moves": lambda order: order},
        later={"bias_update_rate": 0.05},
        moves=(2, -1, 0, 3),
    ),
    Algorithm("expert_choice", competing=True),
]


def gradients(layer: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad.clone() for name, parameter in layer.named_parameters()}


def chosen(layer: MoEMLP, x: Tensor) -> Tensor:
    return layer.router.route(x.flatten(0, 1), x.shape[1]).expert_TK
