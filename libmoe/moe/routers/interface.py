"""What a routing algorithm is: a module that sends each token to experts, known by a name."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from libmoe.config.errors import ConfigError, nearest
from libmoe.config.schema import MoEConfig


@dataclass(frozen=True)
class Routing:
    """The decision for T tokens, K slots each, among E experts. All but the integers carry gradients.

    The last axis of logits and probabilities is the algorithm's own: E unless it says otherwise.
    """

    expert_TK: Tensor
    """Chosen experts, int64 in [0, E); E in a dropped slot."""
    weight_TK: Tensor
    """What each chosen expert's output is multiplied by, of either sign; float32 or wider."""
    logits_TE: Tensor
    """Router logits g, which the z-loss reads; float32 or wider."""
    probability_TE: Tensor
    """softmax(g), which the balance loss reads; float32 or wider."""
    balanced_TK: Tensor | None = None
    """Column of ``probability_TE`` that each slot counts for in the balance loss, where that is not its
    expert. As many slots as are to be balanced."""
    dropped_TK: Tensor | None = None
    """Slots that no expert computes and that add nothing; None where the algorithm drops none."""
    own_loss: Tensor | None = None
    """A scalar loss of the algorithm's own, with its coefficient; None where it has none."""


class Router(nn.Module, ABC):
    """Base of all algorithms: parameters give each token a logit for each expert, a rule chooses among them.

    The two are apart because ZeRO-3 counts the gradients that enter a module: it has to return one tensor,
    which every rank uses in every step, or ranks wait for each other for ever.
    """

    def __init__(self, width: int, settings: MoEConfig) -> None:
        super().__init__()
        self.width = width
        self.experts = settings.experts
        self.top_k = settings.top_k
        self.std = settings.router_std

    @abstractmethod
    def forward(self, x_TD: Tensor) -> Tensor:
        """Logits g ``(T, E)`` of tokens ``(T, D)``, in float32 or wider; the only use of the parameters."""

    @abstractmethod
    def choose(self, logits_TE: Tensor) -> Routing:
        """The decision that the logits lead to."""

    def initial_weights(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Values to start training from, by parameter name: N(0, std) on the CPU in float32."""
        return {
            name: torch.empty(parameter.shape, device="cpu").normal_(0.0, self.std, generator=generator)
            for name, parameter in self.named_parameters()
        }

    def extra_repr(self) -> str:
        return f"width={self.width}, experts={self.experts}, top_k={self.top_k}"


_ROUTERS: dict[str, type[Router]] = {}


def register_router(name: str) -> Callable[[type[Router]], type[Router]]:
    """Class decorator that makes an algorithm selectable as ``moe.name``."""

    def add(router: type[Router]) -> type[Router]:
        _ROUTERS[name] = router
        return router

    return add


def make_router(width: int, settings: MoEConfig) -> Router:
    """The router that ``settings.name`` asks for.

    Raises:
        ConfigError: no algorithm has this name, or top_k exceeds the number of experts.
    """
    if settings.name not in _ROUTERS:
        raise ConfigError(f"Unknown moe.name {settings.name!r}: {nearest(settings.name, _ROUTERS)}")
    if settings.top_k > settings.experts:
        raise ConfigError(
            f"moe.top_k is {settings.top_k} but there are only {settings.experts} experts: "
            "lower moe.top_k or raise moe.experts."
        )
    return _ROUTERS[settings.name](width, settings)
