"""The registry of algorithms, and how routers start."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from libmoe.config.errors import ConfigError
from libmoe.config.schema import MoEConfig
from libmoe.moe import Router, Routing, register_router
from libmoe.moe.routers import make_router, registry


@pytest.fixture
def own_router() -> Iterator[type[Router]]:
    @register_router("first-experts")
    class FirstExperts(Router):
        """Sends every token to the first k experts."""

        def __init__(self, width: int, settings: MoEConfig) -> None:
            super().__init__(width, settings)
            self.scale = nn.Parameter(torch.ones(settings.experts))

        def forward(self, x_TD: Tensor) -> Tensor:
            return self.scale.expand(len(x_TD), -1)

        def choose(self, logits_TE: Tensor) -> Routing:
            expert_TK = torch.arange(self.top_k).expand(len(logits_TE), -1)
            return Routing(expert_TK, torch.ones(expert_TK.shape), logits_TE, logits_TE.softmax(-1))

    yield FirstExperts
    del registry._ROUTERS["first-experts", "published"]


def test_an_algorithm_from_outside_is_known_by_its_name(own_router: type[Router]) -> None:
    settings = MoEConfig(name="first-experts", experts=4, top_k=2)
    router = make_router(8, settings)
    assert isinstance(router, own_router)
    assert router.choose(router(torch.zeros(3, 8))).expert_TK.tolist() == [[0, 1]] * 3


def test_an_unknown_algorithm_is_named_with_the_nearest() -> None:
    settings = MoEConfig().model_copy(update={"name": "smo"})
    with pytest.raises(ConfigError, match=r"Unknown moe.name 'smo': did you mean 'smoe'\?"):
        make_router(8, settings)


def test_initial_weights_follow_the_standard_deviation() -> None:
    router = make_router(400, MoEConfig(name="smoe", experts=8, top_k=2, router_std=0.05))
    (weight,) = router.initial_weights(torch.Generator().manual_seed(0)).values()
    assert weight.shape == router.weight.shape
    assert weight.std().item() == pytest.approx(0.05, rel=0.05)
    assert router.weight.std().item() == pytest.approx(0.05, rel=0.05)
    assert abs(weight.mean().item()) < 0.002
