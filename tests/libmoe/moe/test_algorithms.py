"""What must hold of the layer whatever the algorithm: exact in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from libmoe.config.algorithms import BUILT_IN
from libmoe.moe import MoEMLP
from libmoe.moe.routers import registry

from .algorithms import ALGORITHMS, EXPERTS, NO_AUX, Algorithm, chosen, gradients

MakeLayer = Callable[..., MoEMLP]
every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.name)
every_k = pytest.mark.parametrize("top_k", [1, 2, EXPERTS])


def made(make_layer: MakeLayer, algorithm: Algorithm, **settings: object) -> MoEMLP:
    """A layer some way into its training."""
    layer = make_layer(name=algorithm.name, experts=EXPERTS, **{**algorithm.later, **settings})
    noise = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in layer.router.parameters():
            parameter += algorithm.stir * torch.randn(parameter.shape, dtype=torch.float64, generator=noise)
        if algorithm.moves is not None:
            layer.router.moves.copy_(torch.tensor(algorithm.moves))
    return layer


def test_settings_accept_exactly_the_built_in_algorithms() -> None:
    names = [algorithm.name for algorithm in ALGORITHMS]
    assert sorted(BUILT_IN) == sorted(names)
    assert {name for name, compat in registry._ROUTERS if compat == "published"} == set(names)
    upstream = {name for name, compat in registry._ROUTERS if compat == "upstream"}
    assert upstream == set(names) - {"aux_free", "expert_choice"}


@every_algorithm
@every_k
def test_upcycled_layer_is_the_dense_one(
    make_layer: MakeLayer, dense: nn.Module, x: Tensor, algorithm: Algorithm, top_k: int
) -> None:
    top_k = max(top_k, algorithm.fewest)
    layer = make_layer(name=algorithm.name, distinct=False, top_k=top_k, **algorithm.start)
    taken = (chosen(layer, x) < EXPERTS).any(-1).view(2, 5, 1)
    expected = dense(x) * taken  # only where tokens compete, some get nothing
    assert taken.all() or algorithm.competing
    torch.testing.assert_close(layer(x), expected, rtol=algorithm.start_error, atol=1e-15)


@every_algorithm
def test_permuted_tokens_permute_the_output(make_layer: MakeLayer, x: Tensor, algorithm: Algorithm) -> None:
    layer, order = made(make_layer, algorithm), torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order], rtol=0, atol=1e-14)


@every_algorithm
def test_experts_permuted_with_their_router_change_nothing(
    make_layer: MakeLayer, x: Tensor, algorithm: Algorithm
) -> None:
    layer, order = made(make_layer, algorithm), torch.tensor(algorithm.order)
    before, balance_before = layer(x), layer.balance_loss
    with torch.no_grad():
        for parameter in layer.experts.parameters():
            parameter.copy_(parameter[order].clone())
        assert not torch.allclose(layer(x), before)
        for name, rows in algorithm.rows.items():
            parameter = layer.router.state_dict()[name]
            moved = parameter[rows(order)].clone()
            parameter[: len(moved)] = moved
    torch.testing.assert_close(layer(x), before, rtol=0, atol=1e-14)
    torch.testing.assert_close(layer.balance_loss, balance_before)


@every_algorithm
def test_experts_without_tokens_get_zero_gradient(
    make_layer: MakeLayer, x: Tensor, algorithm: Algorithm
) -> None:
    layer = made(make_layer, algorithm)
    one = x[:, :1].expand(-1, 5, -1)[:1]  # all tokens are the same, so few experts get everything
    used = set(chosen(layer, one).flatten().tolist()) - {EXPERTS}
    layer(one).square().sum().backward()
    for name, gradient in gradients(layer.experts).items():
        assert gradient.isfinite().all(), name
        assert set(gradient.flatten(1).any(1).nonzero().flatten().tolist()) == used, name


@every_algorithm
@pytest.mark.parametrize("shape", [(0, 5, 8), (1, 0, 8), (1, 1, 8), (7, 8), (2, 3, 5, 8)])
def test_any_number_of_tokens(make_layer: MakeLayer, algorithm: Algorithm, shape: tuple[int, ...]) -> None:
    layer = made(make_layer, algorithm)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    assert y.shape == shape
    y.sum().backward()
    assert x.grad.shape == shape
    assert all(gradient.isfinite().all() for gradient in gradients(layer).values())


@every_algorithm
def test_a_token_of_zeros_and_a_huge_one_are_fine(make_layer: MakeLayer, algorithm: Algorithm) -> None:
    layer = made(make_layer, algorithm).float()
    x = torch.stack([torch.zeros(8), torch.full((8,), 1e4), torch.full((8,), -1e4)]).requires_grad_()
    layer(x).sum().backward()
    assert x.grad.abs().max() < 1e5
    assert all(gradient.isfinite().all() for gradient in gradients(layer).values())


@every_algorithm
def test_nan_stays_in_its_token(make_layer: MakeLayer, x: Tensor, algorithm: Algorithm) -> None:
    layer = made(make_layer, algorithm)
    clean = layer(x)
    x[0, 2] = float("nan")
    dirty = layer(x)
    assert dirty[0, 2].isnan().all()
    others = torch.ones(2, 5, dtype=torch.bool)
    others[0, :] = False if algorithm.competing else others[0, :]
    others[0, 2] = False
    torch.testing.assert_close(dirty[others], clean[others], rtol=0, atol=1e-14)


@every_algorithm
@every_k
def test_objective_alone_trains_every_parameter(
    make_layer: MakeLayer, x: Tensor, algorithm: Algorithm, top_k: int
) -> None:
    layer = made(make_layer, algorithm, top_k=max(top_k, algorithm.fewest), **NO_AUX)
    layer(x).square().sum().backward()
    assert all(gradient.abs().max() > 1e-6 for gradient in gradients(layer).values())


@pytest.mark.parametrize("algorithm", [a for a in ALGORITHMS if a.fewest == 1], ids=lambda a: a.name)
def test_a_single_choice_trains_the_router_from_the_start(
    make_layer: MakeLayer, x: Tensor, algorithm: Algorithm
) -> None:
    layer = make_layer(name=algorithm.name, top_k=1, **algorithm.start, **NO_AUX)
    layer(x).square().sum().backward()
    for name, gradient in gradients(layer.router).items():
        assert gradient.abs().max() > 0.01 or name.startswith("cheap."), name


@every_algorithm
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_changes_no_gradient(
    make_layer: MakeLayer, x: Tensor, algorithm: Algorithm, reentrant: bool
) -> None:
    layer = made(make_layer, algorithm)
    x.requires_grad_()
    layer(x).square().sum().backward()
    expected, expected_x = gradients(layer), x.grad.clone()
    layer.zero_grad()
    x.grad = None
    checkpoint(layer, x, use_reentrant=reentrant).square().sum().backward()
    torch.testing.assert_close(gradients(layer), expected, rtol=0, atol=0)
    torch.testing.assert_close(x.grad, expected_x, rtol=0, atol=0)


@every_algorithm
def test_gradients_are_those_of_the_output(make_layer: MakeLayer, x: Tensor, algorithm: Algorithm) -> None:
    layer = made(make_layer, algorithm, top_k=3, **NO_AUX)
    names, values = zip(*layer.named_parameters(), strict=True)

    def output(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), x)

    inputs = (x[:1, :3].requires_grad_(), *(value.detach().requires_grad_() for value in values))
    assert torch.autograd.gradcheck(output, inputs, fast_mode=True)


@every_algorithm
def test_repeating_the_batch_changes_no_loss(make_layer: MakeLayer, x: Tensor, algorithm: Algorithm) -> None:
    layer = made(make_layer, algorithm)
    layer(x)
    once = layer.balance_loss, layer.z_loss
    layer(x.repeat(3, 1, 1))
    torch.testing.assert_close((layer.balance_loss, layer.z_loss), once)


@pytest.mark.parametrize("algorithm", [a for a in ALGORITHMS if not a.competing], ids=lambda a: a.name)
def test_collapsed_routing_costs_more_than_even(make_layer: MakeLayer, algorithm: Algorithm) -> None:
    layer = made(make_layer, algorithm, router_std=3.0)
    tokens = torch.randn(1, 400, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    layer(tokens)
    spread = layer.balance_loss
    layer(tokens[:, :1].expand(-1, 400, -1))
    assert layer.balance_loss > 1.2 * spread


@every_algorithm
def test_bfloat16_is_near_float64(make_layer: MakeLayer, x: Tensor, algorithm: Algorithm) -> None:
    layer = made(make_layer, algorithm)
    exact, choice = layer(x), chosen(layer, x)
    layer = layer.bfloat16()
    rounded = layer(x.bfloat16())
    same = (chosen(layer, x.bfloat16()) == choice).all(-1).view(2, 5)  # rounding may tip a close decision
    assert rounded.dtype == torch.bfloat16
    assert same.sum() >= 7
    assert (rounded.double() - exact)[same].abs().max() < 0.03 * exact.abs().max()
