"""What must hold for any shape, type and settings, each drawn many times."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import SiglipVisionConfig
from transformers.models.siglip.modeling_siglip import SiglipMLP

from libmoe.config.schema import MoEConfig
from libmoe.moe import MoEMLP
from libmoe.moe.routers import make_router

from .algorithms import ALGORITHMS, Algorithm

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 0.05}


every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.name)
every_type = pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: str(dtype).removeprefix("torch."))


@st.composite
def cases(draw: st.DrawFn, algorithm: Algorithm, dtype: torch.dtype) -> tuple[MoEMLP, Tensor]:
    """A layer with inputs that it accepts."""
    experts = draw(st.integers(algorithm.fewest, 9))
    top_k = draw(st.integers(algorithm.fewest, experts))
    width, hidden = draw(st.sampled_from([(4, 8), (8, 4), (6, 10)]))
    chosen: dict[str, Any] = {"name": algorithm.name, "experts": experts, "top_k": top_k, "router_std": 0.5}
    torch.manual_seed(draw(st.integers(0, 1000)))
    dense = SiglipMLP(SiglipVisionConfig(hidden_size=width, intermediate_size=hidden))
    layer = MoEMLP(dense, MoEConfig.model_validate(chosen | algorithm.later)).to(dtype)
    batch, tokens = draw(st.integers(1, 3)), draw(st.integers(1, 9))
    return layer, torch.randn(batch, tokens, width, dtype=dtype)


@every_algorithm
@every_type
@given(data=st.data())
@settings(max_examples=6, derandomize=True)
def test_shape_type_and_gradients(algorithm: Algorithm, dtype: torch.dtype, data: st.DataObject) -> None:
    layer, x = data.draw(cases(algorithm, dtype))
    y = layer(x.requires_grad_())
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    y.float().square().sum().backward()
    for gradient in (x.grad, *(parameter.grad for parameter in layer.parameters())):
        assert gradient.isfinite().all()


@every_algorithm
@every_type
@given(data=st.data())
@settings(max_examples=6, derandomize=True)
def test_a_sequence_does_not_see_the_others(
    algorithm: Algorithm, dtype: torch.dtype, data: st.DataObject
) -> None:
    """In training either; and a token sees no other, unless tokens compete."""
    layer, x = data.draw(cases(algorithm, dtype))
    tolerance = {"rtol": TOLERANCE[x.dtype], "atol": TOLERANCE[x.dtype]}
    y = layer(x)
    for b in range(len(x)):
        torch.testing.assert_close(layer(x[b : b + 1]), y[b : b + 1], **tolerance)
    if not algorithm.competing:
        torch.testing.assert_close(layer(x[:, -1:]), y[:, -1:], **tolerance)


@every_algorithm
@every_type
@given(data=st.data())
@settings(max_examples=6, derandomize=True)
def test_what_a_routing_says_fits_together(
    algorithm: Algorithm, dtype: torch.dtype, data: st.DataObject
) -> None:
    layer, x = data.draw(cases(algorithm, dtype))
    router = layer.router
    routing = router.route(x.flatten(0, 1), x.shape[1])
    assert routing.expert_TK.shape == routing.weight_TK.shape
    assert len(routing.expert_TK) == x.shape[0] * x.shape[1]
    dropped = routing.expert_TK == router.experts
    assert ((routing.expert_TK >= 0) & (routing.expert_TK <= router.experts)).all()
    if routing.dropped_TK is None:
        assert not dropped.any()
    else:
        assert torch.equal(dropped, routing.dropped_TK)
    assert routing.rows in (None, int((~dropped).sum()))
    wide = torch.promote_types(x.dtype, torch.float32)
    assert routing.weight_TK.dtype == routing.logits_TE.dtype == routing.probability_TE.dtype == wide
    assert (routing.weight_TK.abs().sum(-1) <= 1 + 1e-5).all()


@every_algorithm
@given(data=st.data())
@settings(max_examples=6, derandomize=True)
def test_a_router_starts_with_all_it_has_and_by_its_seed(algorithm: Algorithm, data: st.DataObject) -> None:
    experts = data.draw(st.integers(algorithm.fewest, 9))
    top_k = data.draw(st.integers(algorithm.fewest, experts))
    router = make_router(8, MoEConfig(name=algorithm.name, experts=experts, top_k=top_k))
    initial = router.initial_weights(torch.Generator().manual_seed(0))
    shapes = {name: value.shape for name, value in router.state_dict().items()}
    assert {name: value.shape for name, value in initial.items()} == shapes
    again = router.initial_weights(torch.Generator().manual_seed(0))
    assert all(torch.equal(again[name], value) for name, value in initial.items())
