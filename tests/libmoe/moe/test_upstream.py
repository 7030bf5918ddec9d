"""What is particular to ``compat="upstream"``; its numbers are compared in ``test_reference.py``."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from libmoe.config.errors import ConfigError
from libmoe.config.schema import MoEConfig
from libmoe.moe import MoEMLP
from libmoe.moe.routers import make_router

Scattered = Callable[..., MoEMLP]
EXPERTS = 6


def test_a_write_is_lost_where_one_expert_is_taken_twice(scattered: Scattered, x: Tensor) -> None:
    """Else the reference would not show it, and upstream's form would be the published one."""
    layer = scattered("smoe_tcmoe", "upstream", 6)
    routing = layer.router.route(x.flatten(0, 1), 5)
    lost = (routing.weight_TK == 0) & (routing.balanced_TK < 2 * EXPERTS)
    assert 0 < lost.sum() < lost.numel()


def test_leaving_experts_out_is_rewarded_too(scattered: Scattered, x: Tensor) -> None:
    published, upstream = (scattered("smoe_tcmoe", compat, 2).router for compat in ("published", "upstream"))
    rewards = [router.route(x.flatten(0, 1), 5).own_loss for router in (published, upstream)]
    assert rewards[0].item() == rewards[1].item() < 0


def test_its_balance_loss_grows_with_the_batch(scattered: Scattered, x: Tensor) -> None:
    layer = scattered("smoe_tcmoe", "upstream", 2)
    layer(x)
    once = layer.balance_loss
    layer(x.repeat(3, 1, 1))
    torch.testing.assert_close(layer.balance_loss, 3 * once)


def test_the_gradient_leaves_embeddings_at_their_norm(scattered: Scattered, x: Tensor) -> None:
    """Upstream writes them back at it, outside the graph: so they get the gradient of a plain product."""
    layer = scattered("xmoe", "upstream", 2)
    router = layer.router
    with torch.no_grad():
        router.embedding *= 1.5 / router.embedding.norm(dim=-1, keepdim=True)
    reduced = torch.nn.functional.normalize(x @ router.reduction.T, dim=-1)
    (expected,) = torch.autograd.grad((reduced @ router.embedding.T).square().sum(), router.embedding)
    (ours,) = torch.autograd.grad(router(x).square().sum(), router.embedding)
    torch.testing.assert_close(ours, expected)


def test_two_experts_are_told_apart_by_a_sign() -> None:
    """As the released checkpoints' shapes have it; published, a dimension more."""
    shapes = [
        make_router(8, MoEConfig(name="xmoe", compat=compat, experts=2, top_k=1)).embedding.shape
        for compat in ("upstream", "published")
    ]
    assert shapes == [(2, 1), (2, 2)]


def test_where_output_and_input_differ_it_is_smoe() -> None:
    settings = MoEConfig(name="smoe_plus_plus", compat="upstream")
    assert type(make_router(8, settings, out_width=12)).__name__ == "UpstreamSoftmaxRouter"


@pytest.mark.parametrize("name", ["aux_free", "expert_choice"])
def test_what_upstream_lacks_has_no_such_form(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} has no upstream form: leave moe.compat at published"):
        make_router(8, MoEConfig(name=name, compat="upstream"))
