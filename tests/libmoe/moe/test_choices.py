"""What is particular to one algorithm: its choice by hand, its limits, its start."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from libmoe.config.errors import ConfigError
from libmoe.config.schema import MoEConfig
from libmoe.moe import MoEMLP
from libmoe.moe.losses import balance_loss
from libmoe.moe.routers import make_router

from .algorithms import EXPERTS, NO_AUX, chosen, gradients

MakeLayer = Callable[..., MoEMLP]
LOGITS = torch.tensor([1.0, 3.0, 2.0, -1.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "logits", "experts", "weights"),
    [  # by hand: e = 2.71828, sigmoid(3) = 0.952574, sigmoid(2) = 0.880797, sigmoid(1) = 0.731059
        ("smoe", LOGITS, [1, 2], [0.731059, 0.268941]),
        ("smoe_sigmoidgating", LOGITS, [1, 2], [0.519576, 0.480424]),
        ("xmoe", LOGITS, [1, 2], [0.731059, 0.268941]),
        ("smoe_share", LOGITS[:3], [0, 2], [0.5, 0.5]),
        ("smoe_sharev3", LOGITS[:3], [0, 2], [0.5, 0.5]),
        ("smoe_share", LOGITS[:3], [0, 2, 3], [0.5, 0.365529, 0.134471]),
        ("smoe_sharev3", LOGITS[:3], [0, 2, 3], [0.5, 0.259788, 0.240212]),
    ],
)
def test_choice_by_hand(name: str, logits: Tensor, experts: list[int], weights: list[float]) -> None:
    router = make_router(8, MoEConfig(name=name, experts=EXPERTS, top_k=len(experts)))
    routing = router.choose(logits[None])
    assert routing.expert_TK.tolist() == [experts]
    assert routing.weight_TK[0].tolist() == pytest.approx(weights, abs=1e-6)


def test_ternary_choice_by_hand() -> None:
    router = make_router(8, MoEConfig(name="smoe_tcmoe", experts=3, top_k=3))
    # Columns: +0, +1, +2, -0, -1, -2, null, null, null. The sum of all exponentials cancels.
    routing = router.choose(torch.tensor([[4.0, 1.0, 0.5, 5.0, 0.5, 0.5, 4.5, 0.25, 0.25]]).double().log())
    assert routing.expert_TK.tolist() == [[0, 3, 0]]
    assert routing.dropped_TK.tolist() == [[False, True, False]]
    divisor = 5 + 4 + (4.5 + 0.25 + 0.25)
    assert routing.weight_TK[0].tolist() == pytest.approx([-5 / divisor, 0, 4 / divisor])
    assert routing.probability_TE[0].tolist() == pytest.approx([9 / 16.5, 1.5 / 16.5, 1 / 16.5])


def test_sigmoid_scores_too_small_for_float32_still_share() -> None:
    router = make_router(8, MoEConfig(name="smoe_sigmoidgating", experts=EXPERTS, top_k=2))
    routing = router.choose(torch.tensor([[-300.0, -200.0, -200.0, -300.0]]))
    assert routing.weight_TK.tolist() == [[0.5, 0.5]]


def test_shared_expert_is_everyones_and_no_part_of_the_balance(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer(name="smoe_share", top_k=2)
    assert (chosen(layer, x)[:, 0] == 0).all()
    layer(x)
    logits = layer.router(x)
    routed = balance_loss(logits.softmax(-1), logits.topk(1).indices)
    torch.testing.assert_close(layer.balance_loss, routed.detach())


@pytest.mark.parametrize("name", ["smoe_share", "smoe_sharev3"])
def test_a_shared_expert_alone_is_a_wrong_setting(make_layer: MakeLayer, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"no routed expert beside the shared one of {name}"):
        make_layer(name=name, top_k=1)


def test_cosine_router_ignores_lengths_and_starts_at_its_norm(x: Tensor) -> None:
    router = make_router(8, MoEConfig(name="xmoe", experts=6, top_k=2)).double()
    assert router.reduction.shape == (3, 8)
    initial = router.initial_weights(torch.Generator().manual_seed(0))
    torch.testing.assert_close(initial["embedding"].norm(dim=-1), torch.full((6,), 1.5))
    router.load_state_dict(initial)
    torch.testing.assert_close(router(10 * x[0]), router(x[0]))


@pytest.fixture
def uninitialised_is_nan() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)  # torch then fills what it allocates with NaN
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("uninitialised_is_nan")
def test_null_slots_reach_no_expert_and_no_gradient(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer(name="smoe_tcmoe", top_k=2, **NO_AUX)
    with torch.no_grad():
        layer.router.weight[-1] = 20 * x[0, 0]
    x.requires_grad_()
    routing = layer.router.choose(layer.router(x.flatten(0, 1)))
    assert routing.dropped_TK[0].any()
    assert not routing.dropped_TK.all()
    y = layer(x)
    assert y.isfinite().all()
    y.square().sum().backward()
    assert x.grad.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients(layer).values())


def test_leaving_experts_out_is_rewarded(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer(name="smoe_tcmoe", top_k=2)
    logits = layer.router(x.flatten(0, 1)).detach().requires_grad_()
    routing = layer.router.choose(logits)
    null = logits.softmax(-1)[:, -2:].sum(-1).mean()
    assert routing.own_loss.item() == pytest.approx(-1e-5 * null.item())
    layer.balance_coefficient = layer.z_coefficient = 0.0
    (layer(x).sum() * 1e-30).backward()
    (expected,) = torch.autograd.grad(
        layer.router.choose(layer.router(x.flatten(0, 1))).own_loss, layer.router.weight
    )
    torch.testing.assert_close(layer.router.weight.grad, expected, rtol=1e-6, atol=0)
