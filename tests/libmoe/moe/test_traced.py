"""The layer as those who look at its operators see it: nothing waits for a device or breaks a graph."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from libmoe.moe import MoEMLP, after_step

from .algorithms import ALGORITHMS, Algorithm, gradients

MakeLayer = Callable[..., MoEMLP]
every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.name)
WAITING = {
    torch.ops.aten._local_scalar_dense,
    torch.ops.aten.item,
    torch.ops.aten.nonzero,
    torch.ops.aten.masked_select,
    torch.ops.aten.unique_consecutive,
    torch.ops.aten._unique2,
    torch.ops.aten.is_nonzero,
    torch.ops.aten.equal,
    torch.ops.aten.bincount,
}


class Waits(TorchDispatchMode):
    """Counts operators whose result the host has to see."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.total += 1
        if func.overloadpacket in WAITING:
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def trained(make_layer: MakeLayer, algorithm: Algorithm) -> MoEMLP:
    return make_layer(name=algorithm.name, **algorithm.later)


def test_waiting_is_seen() -> None:
    with Waits() as waits:
        torch.ones(2).nonzero().sum().item()
    assert len(waits.seen) == 2


@every_algorithm
def test_training_waits_for_no_device(make_layer: MakeLayer, x: Tensor, algorithm: Algorithm) -> None:
    """But for the loop over experts on the CPU, one operator; GPUs have a kernel."""
    layer = trained(make_layer, algorithm)
    with Waits() as waits:
        layer(x).square().sum().backward()
        after_step(layer, 0.5)
    assert waits.seen == []
    assert waits.total > 50


@every_algorithm
def test_shapes_alone_are_enough(make_layer: MakeLayer, x: Tensor, algorithm: Algorithm) -> None:
    """The meta device has no values to wait for, and what were made on another device would not fit."""
    layer = trained(make_layer, algorithm).to("meta")
    x = x.to("meta").requires_grad_()
    y = layer(x)
    assert y.shape == x.shape
    y.square().sum().backward()
    after_step(layer, 0.5)
    assert all(value.grad.is_meta for value in (x, *layer.parameters()))


@every_algorithm
def test_it_compiles_to_one_graph(make_layer: MakeLayer, x: Tensor, algorithm: Algorithm) -> None:
    layer = trained(make_layer, algorithm)
    layer(x).square().sum().backward()
    expected = layer(x), gradients(layer)
    layer.zero_grad()
    torch._dynamo.reset()
    y = torch.compile(layer, backend="eager", fullgraph=True, dynamic=False)(x)
    y.square().sum().backward()
    torch.testing.assert_close((y, gradients(layer)), expected)


@pytest.mark.parametrize("name", ["smoe_plus_plus", "aux_free"])
def test_a_compiled_backward_pass_is_the_same(make_layer: MakeLayer, x: Tensor, name: str) -> None:
    """Traced by AOTAutograd, auxiliary losses and counts included."""
    layer = make_layer(name=name, cheap_warmup=0.0)
    layer(x).square().sum().backward()
    after_step(layer, 0.5)
    expected = gradients(layer)
    moved = {key: value.clone() for key, value in layer.state_dict().items()}
    layer.zero_grad()
    if name == "aux_free":
        layer.router.moves.zero_()
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True, dynamic=False)
    compiled(x).square().sum().backward()
    after_step(layer, 0.5)
    torch.testing.assert_close(gradients(layer), expected)
    torch.testing.assert_close(layer.state_dict(), moved)
