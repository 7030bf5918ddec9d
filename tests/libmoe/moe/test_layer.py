"""What must hold of the layer whatever the weights: exact in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from libmoe.config.errors import ConfigError
from libmoe.config.schema import MoEConfig
from libmoe.moe import MoEMLP, set_aux_scale
from libmoe.moe.losses import balance_loss, z_loss

MakeLayer = Callable[..., MoEMLP]
NO_AUX = {"balance_coefficient": 0.0, "z_coefficient": 0.0}


def expert(layer: MoEMLP, e: int, x: Tensor) -> Tensor:
    """One expert as the dense MLP it stands for."""
    fc1, fc2 = layer.experts.fc1, layer.experts.fc2
    hidden = F.gelu(F.linear(x, fc1.weight[e], fc1.bias[e]), approximate="tanh")
    return F.linear(hidden, fc2.weight[e], fc2.bias[e])


def gradients(layer: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad.clone() for name, parameter in layer.named_parameters()}


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_upcycled_layer_is_the_dense_one(
    make_layer: MakeLayer, dense: nn.Module, x: Tensor, top_k: int
) -> None:
    layer = make_layer(distinct=False, top_k=top_k)
    torch.testing.assert_close(layer(x), dense(x), rtol=1e-14, atol=1e-15)


def test_all_experts_chosen_is_the_dense_mixture(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer(top_k=4)
    p = F.linear(x, layer.router.weight).softmax(-1)
    mixture = sum(p[..., e, None] * expert(layer, e, x) for e in range(4))
    torch.testing.assert_close(layer(x), mixture, rtol=1e-12, atol=1e-14)


def test_two_of_four_by_hand(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer()
    p = F.linear(x, layer.router.weight).softmax(-1)
    for b, t in [(0, 0), (1, 4)]:
        first, second = p[b, t].topk(2).indices.tolist()
        by_hand = p[b, t, first] * expert(layer, first, x[b, t]) + p[b, t, second] * expert(
            layer, second, x[b, t]
        )
        torch.testing.assert_close(layer(x)[b, t], by_hand / (p[b, t, first] + p[b, t, second]))


def test_permuted_tokens_permute_the_output(make_layer: MakeLayer, x: Tensor) -> None:
    layer, order = make_layer(), torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order], rtol=0, atol=1e-14)


def test_experts_permuted_with_their_router_change_nothing(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer()
    before, balance_before = layer(x), layer.balance_loss
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(parameter[order].clone())
    torch.testing.assert_close(layer(x), before, rtol=0, atol=1e-14)
    torch.testing.assert_close(layer.balance_loss, balance_before)


def test_expert_without_tokens_gets_zero_gradient(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer(**NO_AUX)
    x = x.abs()
    with torch.no_grad():
        layer.router.weight[1] = -100.0
    layer(x).square().sum().backward()
    for name, gradient in gradients(layer.experts).items():
        assert gradient.isfinite().all(), name
        assert not gradient[1].any(), name
        assert gradient[0].any() or gradient[2].any(), name


@pytest.mark.parametrize("shape", [(0, 5, 8), (1, 0, 8), (1, 1, 8), (7, 8), (2, 3, 5, 8)])
def test_any_number_of_tokens(make_layer: MakeLayer, shape: tuple[int, ...]) -> None:
    layer = make_layer()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    assert y.shape == shape
    y.sum().backward()
    assert x.grad.shape == shape
    assert all(gradient.isfinite().all() for gradient in gradients(layer).values())


def test_nan_stays_in_its_token(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer()
    clean = layer(x)
    x[0, 2] = float("nan")
    dirty = layer(x)
    assert dirty[0, 2].isnan().all()
    others = torch.ones(2, 5, dtype=torch.bool)
    others[0, 2] = False
    torch.testing.assert_close(dirty[others], clean[others], rtol=0, atol=1e-14)


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_objective_alone_trains_every_parameter(make_layer: MakeLayer, x: Tensor, top_k: int) -> None:
    layer = make_layer(top_k=top_k, experts=4, **NO_AUX)
    layer(x).square().sum().backward()
    assert all(gradient.abs().max() > 1e-6 for gradient in gradients(layer).values())


def test_single_choice_has_switch_gradient_relative_to_its_output(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer(top_k=1, **NO_AUX)
    layer(x).square().sum().backward()
    p, chosen = F.linear(x, layer.router.weight).softmax(-1).max(-1)
    outputs = torch.stack([expert(layer, e, x) for e in range(4)], -2).detach()
    y = outputs.gather(-2, chosen[..., None, None].expand(-1, -1, 1, 8)).squeeze(-2)
    (expected,) = torch.autograd.grad((2 * y * y).sum(-1).mul(p.log()).sum(), layer.router.weight)
    torch.testing.assert_close(layer.router.weight.grad, expected)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_changes_no_gradient(make_layer: MakeLayer, x: Tensor, reentrant: bool) -> None:
    layer = make_layer()
    x.requires_grad_()
    layer(x).square().sum().backward()
    expected, expected_x = gradients(layer), x.grad.clone()
    layer.zero_grad()
    x.grad = None
    checkpoint(layer, x, use_reentrant=reentrant).square().sum().backward()
    torch.testing.assert_close(gradients(layer), expected, rtol=0, atol=0)
    torch.testing.assert_close(x.grad, expected_x, rtol=0, atol=0)
    assert layer.balance_loss is not None


def test_auxiliary_gradient_is_that_of_the_weighted_sum(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer(balance_coefficient=0.7, z_coefficient=0.3)
    set_aux_scale(0.25)
    try:
        layer(x).square().sum().backward()
    finally:
        set_aux_scale(1.0)
    riding = gradients(layer)
    layer.zero_grad()
    layer.balance_coefficient = layer.z_coefficient = 0.0
    logits = layer.router(x)
    balance = balance_loss(logits.softmax(-1), logits.topk(2).indices)
    (layer(x).square().sum() + 0.25 * (0.7 * balance + 0.3 * z_loss(logits))).backward()
    torch.testing.assert_close(riding, gradients(layer), rtol=1e-12, atol=1e-14)


def test_losses_are_kept_detached(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer()
    layer(x)
    logits = layer.router(x)
    torch.testing.assert_close(
        layer.balance_loss, balance_loss(logits.softmax(-1), logits.topk(2).indices).detach()
    )
    torch.testing.assert_close(layer.z_loss, z_loss(logits).detach())
    assert not layer.balance_loss.requires_grad


def test_no_loss_where_none_is_wanted(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer(**NO_AUX)
    layer(x)
    assert layer.balance_loss is None
    assert layer.z_loss is None
    layer = make_layer()
    layer(x)
    with torch.no_grad():
        layer(x)
    assert layer.balance_loss is None
    assert layer.z_loss is None


def test_output_that_nothing_reads_has_no_auxiliary_gradient(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer()
    layer(x)[:0].sum().backward()
    assert not any(gradient.any() for gradient in gradients(layer).values())


def test_bfloat16_is_near_float64(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer(top_k=4)  # with all experts chosen, rounding cannot change the choice
    exact = layer(x)
    rounded = layer.bfloat16()(x.bfloat16())
    assert rounded.dtype == torch.bfloat16
    assert (rounded.double() - exact).abs().max() < 0.02 * exact.abs().max()


def test_more_choices_than_experts_is_a_wrong_setting(make_layer: MakeLayer) -> None:
    with pytest.raises(ConfigError, match=r"moe\.top_k is 5 but there are only 4 experts"):
        make_layer(top_k=5)


def test_only_mlps_become_experts() -> None:
    with pytest.raises(ConfigError, match="Sequential cannot become experts"):
        MoEMLP(nn.Sequential(nn.Linear(2, 2)), MoEConfig(name="smoe"))
