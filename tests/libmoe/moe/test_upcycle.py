"""From a dense state to one with experts."""

import pytest
import torch
from torch import Tensor, nn
from transformers import Phi3Config, SiglipVisionConfig
from transformers.models.phi3.modeling_phi3 import Phi3MLP
from transformers.models.siglip.modeling_siglip import SiglipMLP

from libmoe.config.schema import MoEConfig
from libmoe.moe import MoEMLP, upcycle

SIZES = SiglipVisionConfig(hidden_size=8, intermediate_size=12)
SETTINGS = MoEConfig(name="smoe", experts=3, top_k=2)


def two_layers(order: tuple[str, str] = ("a", "b")) -> nn.ModuleDict:
    dense = SiglipMLP(SIZES)
    return nn.ModuleDict({name: MoEMLP(dense, SETTINGS) for name in order} | {"norm": nn.LayerNorm(8)})


def dense_state() -> dict[str, Tensor]:
    dense = SiglipMLP(SIZES)
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


def test_layers_that_have_experts_keep_them() -> None:
    dense, model = dense_state(), two_layers()
    mixed = upcycle(dense, model, seed=0)
    for name in [name for name in mixed if name.startswith("b.")]:
        del mixed[name]
    mixed |= {name: value for name, value in dense.items() if name.startswith("b.")}
    mixed["a.experts.fc1.bias"] = torch.randn(3, 12)
    again = upcycle(mixed, model, seed=1)
    assert again.keys() == dict(model.state_dict()).keys()
    for name, value in again.items():
        if name.startswith("a."):
            assert value is mixed[name]
    assert torch.equal(again["b.experts.fc1.weight"][2], dense["b.fc1.weight"])


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


def gated_layer() -> tuple[nn.ModuleDict, dict[str, Tensor]]:
    dense = Phi3MLP(Phi3Config(hidden_size=32, intermediate_size=64, num_attention_heads=2, pad_token_id=0))
    state = {f"a.{name}": value for name, value in dense.state_dict().items()}
    return nn.ModuleDict({"a": MoEMLP(dense, SETTINGS)}), state


def test_redrawn_units_differ_in_all_their_weights_and_the_others_in_none() -> None:
    model, dense = gated_layer()
    state = upcycle(dense, model, seed=0, redrawn=0.25)
    redrawn = []
    for e in range(3):
        kept_down = (state["a.experts.down_proj.weight"][e] == dense["a.down_proj.weight"]).all(0)
        kept_rows = (state["a.experts.gate_up_proj.weight"][e] == dense["a.gate_up_proj.weight"]).all(1)
        changed = (~kept_down).nonzero().flatten().tolist()
        assert len(changed) == 16
        assert (~kept_rows).nonzero().flatten().tolist() == changed + [unit + 64 for unit in changed]
        redrawn.append(changed)
    assert redrawn[0] != redrawn[1] != redrawn[2]


def test_redrawn_values_are_distributed_as_those_they_replace() -> None:
    model, dense = gated_layer()
    dense["a.gate_up_proj.weight"][:64] += 3.0  # the gate's own mean, not that of the map below it
    state = upcycle(dense, model, seed=0, redrawn=1.0)
    for rows in (slice(0, 64), slice(64, 128)):
        before, after = dense["a.gate_up_proj.weight"][rows], state["a.experts.gate_up_proj.weight"][:, rows]
        assert abs(float(after.mean() - before.mean())) < 0.05 * float(before.std())
        assert float(after.std()) == pytest.approx(float(before.std()), rel=0.05)


def test_redrawn_values_are_those_of_the_units_they_replace() -> None:
    """Not of all units: where the chosen ones are all alike, so is what is drawn."""
    model, dense = gated_layer()
    drawn = upcycle(dense, model, seed=0, redrawn=0.25)["a.experts.down_proj.weight"][0]
    chosen = (drawn != dense["a.down_proj.weight"]).any(0)
    dense["a.down_proj.weight"][:, chosen] = 5.0
    again = upcycle(dense, model, seed=0, redrawn=0.25)["a.experts.down_proj.weight"][0]
    assert (again[:, chosen] == 5.0).all()


def test_noise_is_a_share_of_each_tensors_deviation() -> None:
    model, dense = gated_layer()
    state = upcycle(dense, model, seed=0, noise=0.1)
    for name in ("gate_up_proj.weight", "down_proj.weight"):
        noise = state[f"a.experts.{name}"] - dense[f"a.{name}"]
        assert float(noise.std() / dense[f"a.{name}"].std()) == pytest.approx(0.1, rel=0.05)
        assert abs(float(torch.corrcoef(noise.flatten(1))[0, 1])) < 0.1


def test_noise_reaches_the_units_that_are_not_redrawn_too() -> None:
    model, dense = gated_layer()
    state = upcycle(dense, model, seed=0, noise=0.1, redrawn=0.25)
    assert (state["a.experts.down_proj.weight"] != dense["a.down_proj.weight"]).all()


@pytest.mark.parametrize("draw", [{"noise": 0.1}, {"redrawn": 0.5}])
def test_draws_depend_on_seed_layer_and_expert_alone(draw: dict[str, float]) -> None:
    dense = dense_state()
    dense |= {name.replace("a.", "b.", 1): dense[name] for name in dense if name.startswith("a.")}
    one = upcycle(dense, two_layers(), seed=0, **draw)
    torch.rand(7)
    turned = dict(reversed(dense.items()))
    other = upcycle(turned, two_layers(("b", "a")), seed=0, **draw)
    assert all(torch.equal(one[name], other[name]) for name in one)
    more = nn.ModuleDict({"a": MoEMLP(SiglipMLP(SIZES), SETTINGS.model_copy(update={"experts": 5}))})
    some = upcycle({name: dense[name] for name in dense if name.startswith("a.")}, more, seed=0, **draw)
    name = "a.experts.fc1.weight"
    assert torch.equal(some[name][:3], one[name])
    assert not torch.equal(one[name], one["b.experts.fc1.weight"])
    assert not torch.equal(one[name], upcycle(dense, two_layers(), seed=1, **draw)[name])


def test_the_dense_type_is_kept() -> None:
    dense = {name: value.bfloat16() for name, value in dense_state().items()}
    state = upcycle(dense, two_layers(), seed=0, noise=0.1, redrawn=0.5)
    assert state["a.experts.fc1.weight"].dtype == torch.bfloat16
