"""How the biases of ``aux_free`` move: against the load, exactly, whatever computes or builds the layer."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from libmoe.config.schema import MoEConfig
from libmoe.moe import MoEMLP, after_step, set_aux_scale
from libmoe.moe.routers import make_router

from .algorithms import EXPERTS, chosen

MakeLayer = Callable[..., MoEMLP]


def test_a_bias_changes_the_choice_alone() -> None:
    router = make_router(8, MoEConfig(name="aux_free", experts=EXPERTS, top_k=2, bias_update_rate=0.01))
    router.moves.copy_(torch.tensor([20, -20, 0, 0]))
    routing = router.choose(torch.tensor([[1.0, 3.0, 2.0, -1.0]]))  # sigmoids 0.731, 0.953, 0.881, 0.269
    assert routing.expert_TK.tolist() == [[0, 2]]
    assert routing.weight_TK[0].tolist() == pytest.approx([0.453551, 0.546449], abs=1e-6)


@pytest.mark.parametrize("again", [False, True])
def test_biases_move_against_the_load_of_all_micro_batches(
    make_layer: MakeLayer, x: Tensor, again: bool
) -> None:
    """However often activation checkpointing computes the layer; what nothing depends on does not count."""
    layer, load = make_layer(name="aux_free"), torch.zeros(EXPERTS)
    for tokens in (x, -x, 0.5 * x):
        load += torch.bincount(chosen(layer, tokens).flatten(), minlength=EXPERTS)
        tokens.requires_grad_()
        y = checkpoint(layer, tokens, use_reentrant=False) if again else layer(tokens)
        y.square().sum().backward()
    (layer(3 * x) * 0).sum().backward()
    with torch.no_grad():
        layer(3 * x)
    assert layer.router._counter_E.grad.tolist() == load.tolist()
    after_step(layer, 0.1)
    assert layer.router.moves.tolist() == (load.mean() - load).sign().tolist()
    after_step(layer, 0.2)
    assert layer.router.moves.tolist() == (load.mean() - load).sign().tolist()


def test_an_expert_with_the_mean_load_keeps_its_bias(make_layer: MakeLayer) -> None:
    """However many micro batches share a step, though a third of a load is a rounded number."""
    layer = make_layer(name="aux_free", top_k=1)
    with torch.no_grad():
        layer.router.weight.copy_(torch.eye(4, 8))
    set_aux_scale(1 / 3)
    try:
        for experts in ([1, 2, 0, 1], [1, 1, 1, 3], [0, 0, 2, 3]):
            layer(torch.eye(8, dtype=torch.float64)[experts]).square().sum().backward()
    finally:
        set_aux_scale(1.0)
    after_step(layer, 0.1)
    assert layer.router.moves.tolist() == [0, -1, 1, 1]  # loads 3, 5, 2, 2


def test_a_layer_that_was_built_without_values_counts(dense: nn.Module, x: Tensor) -> None:
    settings = MoEConfig(name="aux_free", experts=EXPERTS, top_k=2)
    with torch.device("meta"):
        layer = MoEMLP(dense, settings).double()
    layer.load_state_dict(MoEMLP(dense, settings).double().state_dict(), assign=True)
    layer(x).square().sum().backward()
    after_step(layer, 0.1)
    assert layer.router.moves.any()


def test_counts_stay_whole_in_a_model_of_bfloat16(make_layer: MakeLayer) -> None:
    """While ZeRO-3 builds a model, all that is made has the model's type."""
    layer = make_layer(name="aux_free", top_k=1)
    with torch.no_grad():
        layer.router.weight.copy_(torch.eye(4, 8))
    layer.router._counter_E = torch.zeros(4, dtype=torch.bfloat16, requires_grad=True)
    experts = torch.arange(4).repeat_interleave(torch.tensor([257, 256, 256, 255]))
    layer(torch.eye(8, dtype=torch.float64)[experts]).square().sum().backward()
    after_step(layer, 0.1)
    assert layer.router.moves.tolist() == [-1, 0, 0, 1]


def test_biases_balance_without_a_loss(make_layer: MakeLayer) -> None:
    layer = make_layer(name="aux_free", balance_coefficient=0.0, z_coefficient=0.0, bias_update_rate=0.02)
    with torch.no_grad():
        layer.router.weight[0] += 0.3 * layer.router.weight.abs().max()
    x = torch.randn(1, 400, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) + 0.7

    def worst() -> float:
        return torch.bincount(chosen(layer, x).flatten(), minlength=EXPERTS).max().item() / 200

    before = worst()
    for step in range(60):
        layer(x).sum().backward()
        after_step(layer, step / 60)
    assert before > 1.4
    assert worst() < 1.1


def test_biases_are_saved_exactly_in_any_type(make_layer: MakeLayer) -> None:
    layer = make_layer(name="aux_free")
    layer.router.moves.copy_(torch.tensor([1001, -999, 3, 0]))
    assert layer.bfloat16().state_dict()["router.moves"].tolist() == [1001, -999, 3, 0]
