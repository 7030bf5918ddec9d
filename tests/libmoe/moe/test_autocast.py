"""Under ``torch.autocast``, as loops without DeepSpeed train: bf16 experts, a router in its own precision."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from libmoe.moe import MoEMLP

from .algorithms import ALGORITHMS, Algorithm, gradients

MakeLayer = Callable[..., MoEMLP]
every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.name)


@every_algorithm
def test_experts_compute_in_its_type_and_the_router_does_not(
    make_layer: MakeLayer, x: Tensor, algorithm: Algorithm
) -> None:
    layer = make_layer(name=algorithm.name, **algorithm.later).float()
    x = x.float()
    exact, losses = layer(x), (layer.balance_loss, layer.z_loss)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close((layer.balance_loss, layer.z_loss), losses, rtol=0, atol=0)
    torch.testing.assert_close(y.float(), exact, rtol=0.02, atol=0.02 * exact.abs().max().item())


def test_behind_a_linear_layer(make_layer: MakeLayer, x: Tensor) -> None:
    """Which hands on bf16, while the layer's parameters and their gradients are float32."""
    layer, before = make_layer().float(), nn.Linear(8, 8)
    model = nn.Sequential(before, layer)
    torch._dynamo.reset()
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x.float())
        compiled = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)(x.float())
    torch.testing.assert_close(compiled, y, rtol=0, atol=0)
    y.float().square().sum().backward()
    for gradient in (*gradients(layer).values(), before.weight.grad):
        assert gradient.dtype == torch.float32
        assert gradient.isfinite().all()


def test_float64_stays(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    torch.testing.assert_close(y, layer(x), rtol=0, atol=0)
