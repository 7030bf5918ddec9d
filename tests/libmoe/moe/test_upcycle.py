"""From a dense state to one with experts."""

import torch
from torch import Tensor, nn
from transformers import SiglipVisionConfig
from transformers.models.siglip.modeling_siglip import SiglipMLP

from libmoe.config.schema import MoEConfig
from libmoe.moe import MoEMLP, has_experts, upcycle

SETTINGS = MoEConfig(name="smoe", experts=3, top_k=2)


def two_layers(order: tuple[str, str] = ("a", "b")) -> nn.ModuleDict:
    dense = SiglipMLP(SiglipVisionConfig(hidden_size=8, intermediate_size=12))
    return nn.ModuleDict({name: MoEMLP(dense, SETTINGS) for name in order} | {"norm": nn.LayerNorm(8)})


def dense_state() -> dict[str, Tensor]:
    dense = SiglipMLP(SiglipVisionConfig(hidden_size=8, intermediate_size=12))
    state = {f"{layer}.{name}": value for layer in "ab" for name, value in dense.state_dict().items()}
    return state | {f"norm.{name}": value for name, value in nn.LayerNorm(8).state_dict().items()}


def test_every_expert_is_the_dense_mlp_without_a_copy() -> None:
    dense = dense_state()
    state = upcycle(dense, two_layers(), seed=0)
    stacked = state["a.experts.fc1.weight"]
    assert stacked.shape == (3, 12, 8)
    assert all(torch.equal(stacked[e], dense["a.fc1.weight"]) for e in range(3))
    assert stacked.data_ptr() == dense["a.fc1.weight"].data_ptr()
    assert stacked.stride(0) == 0


def test_the_state_fits_the_model() -> None:
    model = two_layers()
    state = upcycle(dense_state(), model, seed=0)
    assert {name: value.shape for name, value in state.items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
    assert has_experts(state, model)
    assert not has_experts(dense_state(), model)


def test_routers_depend_on_seed_and_path_alone() -> None:
    one = upcycle(dense_state(), two_layers(), seed=0)
    torch.rand(7)
    with torch.device("meta"):
        turned = two_layers(("b", "a"))
    other = upcycle(dense_state(), turned, seed=0)
    assert all(torch.equal(one[f"{layer}.router.weight"], other[f"{layer}.router.weight"]) for layer in "ab")
    assert not torch.equal(one["a.router.weight"], one["b.router.weight"])
    reseeded = upcycle(dense_state(), two_layers(), seed=1)
    assert not torch.equal(one["a.router.weight"], reseeded["a.router.weight"])
