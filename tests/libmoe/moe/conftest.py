"""A real dense MLP of transformers, small and in float64, and mixtures made from it."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers import SiglipVisionConfig
from transformers.models.siglip.modeling_siglip import SiglipMLP

from libmoe.config.schema import MoEConfig
from libmoe.moe import MoEMLP, upcycle

WIDTH = 8
MakeLayer = Callable[..., MoEMLP]


@pytest.fixture
def dense() -> nn.Module:
    torch.manual_seed(0)
    return SiglipMLP(SiglipVisionConfig(hidden_size=WIDTH, intermediate_size=12)).double()


@pytest.fixture
def x() -> torch.Tensor:
    """Two sequences of five tokens."""
    return torch.randn(2, 5, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def make_layer(dense: nn.Module) -> MakeLayer:
    """Layers upcycled from ``dense``; with ``distinct`` their experts then went their own way."""

    def make(distinct: bool = True, **settings: object) -> MoEMLP:
        wanted = {"name": "smoe", "experts": 4, "top_k": 2, "router_std": 0.5, **settings}
        layer = MoEMLP(dense, MoEConfig.model_validate(wanted)).double()
        model = nn.ModuleDict({"mlp": layer})
        state = upcycle({f"mlp.{name}": value for name, value in dense.state_dict().items()}, model, seed=3)
        model.load_state_dict(state)
        if distinct:
            noise = torch.Generator().manual_seed(4)
            with torch.no_grad():
                for parameter in layer.experts.parameters():
                    parameter += 0.3 * torch.randn(parameter.shape, dtype=torch.float64, generator=noise)
        return layer

    return make


@pytest.fixture
def scattered(make_layer: MakeLayer) -> MakeLayer:
    """Layers whose tokens go anywhere, some way into their training."""

    def make(name: str, compat: str, top_k: int, experts: int = 6) -> MoEMLP:
        layer = make_layer(name=name, compat=compat, experts=experts, top_k=top_k, bias_update_rate=0.05)
        noise = torch.Generator().manual_seed(8)
        with torch.no_grad():
            for parameter in layer.router.parameters():
                parameter += torch.randn(parameter.shape, dtype=torch.float64, generator=noise)
            for buffer, value in (
                ("opened", torch.tensor(700)),
                ("moves", torch.tensor([2, -5, 0, 7, -1, 3])),
            ):
                if hasattr(layer.router, buffer):
                    layer.router.get_buffer(buffer).copy_(value)
        return layer

    return make
