"""What each routing algorithm has beside its experts, and how many of those a token takes."""

from collections.abc import Callable
from dataclasses import dataclass

from libmoe.config.counting.linear import Linear
from libmoe.config.errors import ConfigError
from libmoe.config.schema import MoEConfig


@dataclass(frozen=True)
class RouterSize:
    """The linear maps that every token goes through, and parameters that no matmul reads."""

    linears: tuple[Linear, ...]
    others: int = 0

    @property
    def parameters(self) -> int:
        """All of them."""
        return sum(linear.parameters for linear in self.linears) + self.others


@dataclass(frozen=True)
class Place:
    """Where a router is: the widths of its layer and the layer's position in its part of the model."""

    width: int
    outputs: int
    position: int


_Formula = Callable[[MoEConfig, Place], RouterSize]


def router_size(moe: MoEConfig, place: Place) -> RouterSize:
    """Of the router that ``moe`` asks for.

    Raises:
        ConfigError: a plugin's algorithm, whose parameters are not known here.
    """
    if moe.name not in _FORMULAS:
        raise ConfigError(
            f"The parameters of the routing algorithm {moe.name!r} are not known before it is built: "
            "count without experts, with --set moe.name=none."
        )
    return _FORMULAS[moe.name](moe, place)


def _columns(count: Callable[[MoEConfig], int]) -> _Formula:
    """Logits of so many columns, by one linear map."""

    def formula(moe: MoEConfig, place: Place) -> RouterSize:
        return RouterSize((Linear(place.width, count(moe)),))

    return formula


def _cosine(moe: MoEConfig, place: Place) -> RouterSize:
    fewest = 1 if moe.compat == "upstream" else 2
    dimensions = max(fewest, moe.experts // 2)
    return RouterSize((Linear(place.width, dimensions), Linear(dimensions, moe.experts)))


def _plus_plus(moe: MoEConfig, place: Place) -> RouterSize:
    """Cheap experts are the router's; where input and output differ in width, ``smoe`` takes its place."""
    if place.width != place.outputs:
        return RouterSize((Linear(place.width, moe.experts),))
    upstream = moe.compat == "upstream"
    constants = 1 if upstream else max(moe.experts // 4 - 2, 1)
    columns = moe.experts + constants + (1 if upstream else 2)
    residual = (Linear(columns, columns),) if place.position and not upstream else ()
    cheap = (Linear(place.width, 2 * constants), Linear(constants, place.width))
    return RouterSize((Linear(place.width, columns), *residual, *cheap))


_FORMULAS: dict[str, _Formula] = {
    "smoe": _columns(lambda moe: moe.experts),
    "smoe_sigmoidgating": _columns(lambda moe: moe.experts),
    "xmoe": _cosine,
    "smoe_share": _columns(lambda moe: moe.experts - 1),
    "smoe_sharev3": _columns(lambda moe: moe.experts - 1),
    "smoe_plus_plus": _plus_plus,
    "smoe_tcmoe": _columns(lambda moe: 2 * moe.experts + moe.top_k),
    "aux_free": _columns(lambda moe: moe.experts),
    "expert_choice": _columns(lambda moe: moe.experts),
}
