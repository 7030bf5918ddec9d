"""Layers that hear of each other: one forward pass, computed again, apart, and forgotten."""

import gc
import weakref
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from libmoe.config.errors import ConfigError
from libmoe.moe import MoEMLP, chain, remembering
from libmoe.moe import trace as trace_module

from .algorithms import gradients

MakeLayer = Callable[..., MoEMLP]
plain = partial(checkpoint, use_reentrant=False)


class Tower(nn.Module):
    """Three residual layers of MoE++, some of which are computed again in the backward pass."""

    def __init__(self, layers: list[MoEMLP]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.again: tuple[int, ...] = ()
        self.checkpoint: Callable[..., Tensor] = remembering(plain)
        chain(self)

    def forward(self, x: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers):
            step = partial(self._step, layer)
            x = self.checkpoint(step, x) if number in self.again else step(x)
        return x

    def _step(self, layer: MoEMLP, x: Tensor) -> Tensor:
        return x + layer(x)


@pytest.fixture
def tower(make_layer: MakeLayer) -> Tower:
    torch.manual_seed(2)
    tower = Tower([make_layer(name="smoe_plus_plus", cheap_warmup=0.0) for _ in range(3)]).double()
    for layer in tower.layers[1:]:
        nn.init.normal_(layer.router.residual.weight, std=0.5)
    return tower


def test_each_layer_but_the_first_has_a_residual(tower: Tower) -> None:
    assert [layer.router.residual is None for layer in tower.layers] == [True, False, False]


def test_logits_are_those_of_the_equation(tower: Tower, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for layer in tower.layers:
        route = layer.router.route
        keep = lambda *a, route=route: seen.append((a[0], route(*a))) or seen[-1][1]  # noqa: E731
        monkeypatch.setattr(layer.router, "route", keep)
    tower(x)
    previous = None
    for layer, (tokens, routing) in zip(tower.layers, seen, strict=True):
        expected = F.linear(tokens, layer.router.weight)
        if previous is not None:
            expected = expected + F.linear(previous, layer.router.residual.weight)
        torch.testing.assert_close(routing.logits_TE, expected)
        previous = routing.logits_TE


def test_gradient_reaches_the_layer_before_through_its_logits(tower: Tower, x: Tensor) -> None:
    """Against finite differences, with losses of the second layer's router alone."""
    names = ("layers.0.router.weight", "layers.1.router.weight", "layers.1.router.residual.weight")
    values = tuple(tower.get_parameter(name).detach().requires_grad_() for name in names)

    def output(*parameters: Tensor) -> Tensor:
        return torch.func.functional_call(tower, dict(zip(names, parameters, strict=True)), x[:1, :2])

    for layer in tower.layers:
        layer.balance_coefficient = layer.z_coefficient = 0.0
    assert torch.autograd.gradcheck(output, values)


@pytest.mark.parametrize("again", [(0, 1, 2), (1,), (0, 2)])
def test_computed_again_is_the_same(tower: Tower, x: Tensor, again: tuple[int, ...]) -> None:
    """Two forward passes before their backward passes, which a single place for the logits would mix up."""

    def both() -> dict[str, Tensor]:
        tower.zero_grad()
        (tower(x).square().sum() + tower(-2 * x).square().sum()).backward()
        return gradients(tower)

    expected = both()
    tower.again = again
    torch.testing.assert_close(both(), expected, rtol=0, atol=0)


def test_all_computed_again_at_once(tower: Tower, x: Tensor) -> None:
    tower(x).square().sum().backward()
    expected = gradients(tower)
    tower.zero_grad()
    plain(tower, x).square().sum().backward()
    torch.testing.assert_close(gradients(tower), expected, rtol=0, atol=0)


def test_checkpointing_that_does_not_remember_is_refused(tower: Tower, x: Tensor) -> None:
    tower.again, tower.checkpoint = (1,), plain
    y = tower(x)
    with pytest.raises(ConfigError, match="activation_checkpointing_enable"):
        y.square().sum().backward()


def test_reentrant_checkpointing_is_refused(tower: Tower, x: Tensor) -> None:
    """It would lose the gradient that goes to the layer before."""
    tower.again, tower.checkpoint = (1,), remembering(partial(checkpoint, use_reentrant=True))
    y = tower(x.requires_grad_())
    with pytest.raises(ConfigError, match="use_reentrant=False"):
        y.square().sum().backward()


def test_a_layer_apart_from_its_tower_is_refused(tower: Tower, x: Tensor) -> None:
    with pytest.raises(ConfigError, match="computed apart from the layers before it"):
        tower.layers[1](x)


def test_nothing_outlives_a_forward_pass(tower: Tower, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the collector: through C++'s graph, it would not find a cycle."""
    traces = []
    made = trace_module._Trace.__init__
    monkeypatch.setattr(
        trace_module._Trace, "__init__", lambda self: traces.append(weakref.ref(self)) or made(self)
    )
    tower.again = (0, 1, 2)
    gc.collect()
    gc.disable()
    try:
        y = tower(x)
        assert trace_module._current.get() is None
        assert traces[0]() is not None  # its layers may be computed again
        del y
        assert traces[0]() is None
        tower(x).sum().backward()
        assert traces[1]() is None
    finally:
        gc.enable()


def test_a_pass_that_fails_leaves_no_trace(tower: Tower, x: Tensor) -> None:
    with pytest.raises(RuntimeError):
        tower(x[..., :3])
    assert trace_module._current.get() is None
    tower(x)


def test_other_algorithms_need_no_trace(make_layer: MakeLayer, x: Tensor) -> None:
    tower = Tower([make_layer() for _ in range(2)])
    assert not tower._forward_pre_hooks
    tower.layers[1](x)
