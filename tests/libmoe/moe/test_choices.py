"""What is particular to one algorithm: its choice by hand, its limits, its start."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from libmoe.config.errors import ConfigError
from libmoe.config.schema import MoEConfig
from libmoe.moe import MoEMLP, after_step, set_aux_progress
from libmoe.moe.routers import make_router
from libmoe.moe.routers.expert_choice import _weights

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


def test_null_slots_have_their_gradient_in_the_divisor() -> None:
    router = make_router(8, MoEConfig(name="smoe_tcmoe", experts=3, top_k=2))
    noise = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 8, dtype=torch.float64, generator=noise).requires_grad_()
    assert torch.autograd.gradcheck(lambda g: router.take(g.softmax(-1))[1], logits)


def test_only_experts_start_with_a_router() -> None:
    router = make_router(8, MoEConfig(name="smoe_tcmoe", experts=3, top_k=2))
    weight = router.initial_weights(torch.Generator())["weight"]
    assert weight[:3].any(-1).all()
    assert not weight[3:].any()


def test_leaving_experts_out_is_rewarded(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer(name="smoe_tcmoe", top_k=2)
    logits = layer.router(x.flatten(0, 1)).detach().requires_grad_()
    routing = layer.router.choose(logits)
    null = logits.softmax(-1)[:, -2:].sum(-1).mean()
    assert routing.own_loss.item() == pytest.approx(-1e-5 * null.item())
    layer.balance_coefficient = layer.z_coefficient = 0.0
    set_aux_progress(MoEConfig(aux_schedule="warmup"), 0.0)  # no concern of the reward's
    try:
        (layer(x).sum() * 1e-30).backward()
    finally:
        set_aux_progress(MoEConfig(), 0.0)
    (expected,) = torch.autograd.grad(
        layer.router.choose(layer.router(x.flatten(0, 1))).own_loss, layer.router.weight
    )
    torch.testing.assert_close(layer.router.weight.grad, expected, rtol=1e-6, atol=0)


def test_cheap_experts_come_in_over_their_warmup_and_stay(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer(name="smoe_plus_plus", cheap_warmup=0.5)
    shares = []
    for progress in (0.0, 0.125, 0.25, 0.5, 1.0, 0.0):  # the next stage begins where this one ended
        after_step(layer, progress)
        closed = layer.router(x)[..., 4:] - F.linear(x, layer.router.weight)[..., 4:]
        shares.append(closed.mean().item())
    assert shares == pytest.approx([-10, -7.5, -5, 0, 0, 0])
    assert layer.state_dict()["router.opened"].item() == 1000


def test_where_output_and_input_differ_there_are_no_cheap_experts() -> None:
    settings = MoEConfig(name="smoe_plus_plus")
    assert type(make_router(8, settings, out_width=8)).__name__ == "PlusPlusRouter"
    assert type(make_router(8, settings, out_width=12)).__name__ == "SoftmaxRouter"


def test_more_experts_have_more_constant_ones() -> None:
    router = make_router(8, MoEConfig(name="smoe_plus_plus", experts=16))
    assert (router.columns, router.cheap.value.shape) == (16 + 2 + 2, (2, 8))


def test_cheap_experts_compute_in_float32_at_least(x: Tensor) -> None:
    cheap = make_router(8, MoEConfig(name="smoe_plus_plus")).cheap.bfloat16()
    x_TD, weight_TN = x[0].bfloat16(), torch.tensor([[0.3, 0.7]] * 5)
    rounded, exact = cheap(x_TD, weight_TN), cheap.double()(x_TD.double(), weight_TN.double())
    assert rounded.dtype == torch.bfloat16
    once = 2**-8 + 1e-5  # half a step of bfloat16, and float32's error, which may tip the rounding
    torch.testing.assert_close(rounded.double(), exact, rtol=once, atol=0)


def test_experts_choose_by_hand() -> None:
    """Two sequences of four tokens, two experts, one expert a token on average."""
    router = make_router(8, MoEConfig(name="expert_choice", experts=2, top_k=1))
    p = torch.tensor([0.9, 0.8, 0.7, 0.4, 0.1, 0.2, 0.3, 0.6]).double()
    logits = torch.stack([p, 1 - p], -1).log().requires_grad_()
    routing = router._choose(logits, sequence=4)
    both, first, second, none = [0, 1], [0, 2], [2, 1], [2, 2]
    assert routing.expert_TK.tolist() == [first, first, second, second, second, second, first, first]
    assert none not in routing.expert_TK.tolist()
    assert both not in routing.expert_TK.tolist()
    assert routing.rows == 8
    assert (routing.weight_TK.sum(-1) == 1).all()
    routing.weight_TK.sum().backward()  # Switch's gradient: that of log p of the one expert
    expected = torch.tensor([0.1, 0.2, 0.7, 0.4] * 2)  # 1 - p
    torch.testing.assert_close(logits.grad.max(-1).values, expected.double())


def test_experts_that_share_a_token_divide_with_its_gradient() -> None:
    taken = torch.tensor([[True, True, False, True], [False, False, True, True], [False] * 4])
    logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda g: _weights(g.log_softmax(-1), taken), logits)


def test_what_no_expert_takes_becomes_zero(make_layer: MakeLayer) -> None:
    layer = make_layer(name="expert_choice", top_k=1)
    x = torch.randn(2, 20, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    missed = (chosen(layer, x) == EXPERTS).all(-1).view(2, 20)
    y = layer(x)
    assert missed.any()
    assert not y[missed].any()
    assert y[~missed].any(-1).all()
    y.square().sum().backward()
    assert all(gradient.isfinite().all() for gradient in gradients(layer).values())


def test_experts_choose_within_each_sequence(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer(name="expert_choice")
    alone = torch.cat([layer(x[:1]), layer(x[1:])])
    rows: list[int] = []
    layer.experts.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    torch.testing.assert_close(layer(x), alone)
    assert rows == [2 * 4 * 3]  # none for those that were not taken
    counts = [torch.bincount(c.flatten(), minlength=5)[:4] for c in chosen(layer, x).view(2, 5, 4)]
    assert [count.tolist() for count in counts] == [[3, 3, 3, 3]] * 2  # ceil(2 * 5 / 4)
    assert layer.balance_loss.item() == 1
