"""The layer itself: a single choice, its losses, its output. Algorithms: ``test_algorithms.py``."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from libmoe.config.schema import MoEConfig
from libmoe.moe import MoEMLP, set_aux_progress, set_aux_scale
from libmoe.moe.losses import balance_loss, z_loss

from .algorithms import NO_AUX, gradients

MakeLayer = Callable[..., MoEMLP]


def expert(layer: MoEMLP, e: int, x: Tensor) -> Tensor:
    """One expert as the dense MLP it stands for."""
    fc1, fc2 = layer.experts.fc1, layer.experts.fc2
    hidden = F.gelu(F.linear(x, fc1.weight[e], fc1.bias[e]), approximate="tanh")
    return F.linear(hidden, fc2.weight[e], fc2.bias[e])


def test_single_choice_has_switch_gradient_relative_to_its_output(make_layer: MakeLayer, x: Tensor) -> None:
    layer = make_layer(top_k=1, **NO_AUX)
    layer(x).square().sum().backward()
    p, chosen = F.linear(x, layer.router.weight).softmax(-1).max(-1)
    outputs = torch.stack([expert(layer, e, x) for e in range(4)], -2).detach()
    y = outputs.gather(-2, chosen[..., None, None].expand(-1, -1, 1, 8)).squeeze(-2)
    (expected,) = torch.autograd.grad((2 * y * y).sum(-1).mul(p.log()).sum(), layer.router.weight)
    torch.testing.assert_close(layer.router.weight.grad, expected)


def test_auxiliary_gradient_is_that_of_the_weighted_sum(make_layer: MakeLayer, x: Tensor) -> None:
    """Half way through a warm-up of the coefficients, in one of four micro batches."""
    layer = make_layer(balance_coefficient=0.7, z_coefficient=0.3)
    set_aux_scale(0.25)
    set_aux_progress(MoEConfig(aux_schedule="warmup", aux_schedule_share=0.2), 0.1)
    try:
        layer(x).square().sum().backward()
    finally:
        set_aux_scale(1.0)
        set_aux_progress(MoEConfig(), 0.0)
    riding = gradients(layer)
    layer.zero_grad()
    layer.balance_coefficient = layer.z_coefficient = 0.0
    logits = layer.router(x)
    balance = balance_loss(logits.softmax(-1), logits.topk(2).indices)
    (layer(x).square().sum() + 0.125 * (0.7 * balance + 0.3 * z_loss(logits))).backward()
    torch.testing.assert_close(riding, gradients(layer), rtol=1e-12, atol=1e-14)


def test_losses_are_kept_where_the_layer_is_computed_again(make_layer: MakeLayer, x: Tensor) -> None:
    """Recomputation ends as soon as nothing more is needed."""
    layer = make_layer()
    y = checkpoint(layer, x.requires_grad_(), use_reentrant=False)
    expected = layer.balance_loss, layer.z_loss
    y.square().sum().backward()
    assert None not in expected
    assert not any(loss.requires_grad for loss in expected)
    torch.testing.assert_close((layer.balance_loss, layer.z_loss), expected)


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


def test_an_output_can_be_changed_in_place(make_layer: MakeLayer, x: Tensor) -> None:
    """As some language models add their residual."""
    layer, slope = make_layer(), torch.linspace(-1, 1, x.numel(), dtype=torch.float64).view_as(x)
    (layer(x) * slope).sum().backward()
    expected = gradients(layer)
    layer.zero_grad()
    y = layer(x)
    y *= slope
    y.sum().backward()
    torch.testing.assert_close(gradients(layer), expected)
