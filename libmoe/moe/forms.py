"""What a dense MLP computes: an equation of its linear maps, recognised by trying.

Names and shapes do not say enough: which of two maps is the gate, in which order a fused map holds them,
whether a backbone scales in between. So a miniature of the dense module is run beside each equation.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor, nn

from libmoe.config.errors import ConfigError
from libmoe.moe.seeding import seeded

Map = Callable[[Tensor], Tensor]
_IN, _HIDDEN, _OUT = 4, 6, 3


def _ungated(x: Tensor, activation: Map, first: Map, second: Map) -> Tensor:
    return second(activation(first(x)))


def _gated(x: Tensor, activation: Map, gate: Map, up: Map, down: Map) -> Tensor:
    return down(activation(gate(x)) * up(x))


def _fused(x: Tensor, activation: Map, gate_up: Map, down: Map) -> Tensor:
    gate, up = gate_up(x).chunk(2, dim=-1)
    return down(activation(gate) * up)


@dataclass(frozen=True)
class MLPForm:
    """An equation over x, the activation and the linear maps, whose last maps hidden units to outputs."""

    equation: Callable[..., Tensor]
    linears: tuple[str, ...]
    """Names of the dense module's linear maps, in the equation's order."""
    matrices: int = 1
    """How many matrices each map but the last holds, one below the other."""

    def unit_views(self, parameter: str, value: Tensor) -> list[Tensor]:
        """Views of one expert's parameter with a row for each hidden unit; none where units share it.

        Args:
            parameter: as ``fc1.weight``.
        """
        linear, _, kind = parameter.rpartition(".")
        if linear == self.linears[-1]:
            return [value.t()] if kind == "weight" else []
        return list(value.chunk(self.matrices))


def form_of(dense: nn.Module) -> MLPForm:
    """The form of a dense MLP: ungated, gated (SwiGLU, arXiv:2002.05202), or gated with a fused first map.

    Raises:
        ConfigError: it computes something else.
    """
    for form in _candidates(dense):
        if _computes(dense, form):
            return form
    raise ConfigError(
        f"{type(dense).__name__} cannot become experts: it is no MLP of two linear layers and an activation, "
        "gated or not; take its part of the model out of moe.where."
    )


def activation_of(dense: nn.Module) -> nn.Module:
    """The one child of a dense MLP that is not linear."""
    (activation,) = (child for child in dense.children() if type(child) is not nn.Linear)
    return activation


def _candidates(dense: nn.Module) -> Iterator[MLPForm]:
    """Every form whose number of maps is right."""
    names = [name for name, child in dense.named_children() if type(child) is nn.Linear]
    if len(list(dense.children())) != len(names) + 1 or list(dense.parameters(recurse=False)):
        return
    if next(activation_of(dense).parameters(), None) is not None:
        return
    for order in permutations(names):
        if len(order) == 2:
            yield MLPForm(_ungated, order)
            yield MLPForm(_fused, order, matrices=2)
        elif len(order) == 3:
            yield MLPForm(_gated, order)


def _computes(dense: nn.Module, form: MLPForm) -> bool:
    """Whether dense, its linear maps replaced by tiny ones, computes the equation, in training too."""
    generator = torch.Generator().manual_seed(0)
    *inner, last = form.linears
    tiny = {name: _TinyLinear(_IN, form.matrices * _HIDDEN, generator) for name in inner}
    tiny[last] = _TinyLinear(_HIDDEN, _OUT, generator)
    miniature = copy.copy(dense)
    miniature._modules = {**dense._modules, **tiny}
    x = _random(generator, 5, _IN)
    expected = form.equation(x, activation_of(dense), *(tiny[name] for name in form.linears))
    return all(_gives(miniature, training, x, expected) for training in (False, True))


def _gives(miniature: nn.Module, training: bool, x: Tensor, expected: Tensor) -> bool:
    miniature.training = training
    try:
        with seeded(0):  # dropout draws, which is none of the equations
            computed = type(miniature).forward(miniature, x)
    except Exception:  # whatever it stumbles over, it has another form
        return False
    return computed.shape == expected.shape and torch.allclose(computed, expected, rtol=1e-9, atol=1e-12)


class _TinyLinear(nn.Module):
    """Holds plain tensors, which ZeRO-3 does not partition, on the CPU whatever device is the default."""

    def __init__(self, width_in: int, width_out: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight, self.bias = _random(generator, width_out, width_in), _random(generator, width_out)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.t() + self.bias


def _random(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, device="cpu").double()
