"""What must hold for any shape, type and settings, each drawn many times."""

from typing import Any

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


@st.composite
def cases(draw: st.DrawFn) -> tuple[Algorithm, MoEMLP, Tensor]:
    """A layer of any algorithm with inputs that it accepts."""
    algorithm = draw(st.sampled_from(ALGORITHMS))
    experts = draw(st.integers(max(1, algorithm.fewest), 9))
    top_k = draw(st.integers(algorithm.fewest, experts))
    width, hidden = draw(st.sampled_from([(4, 8), (8, 4), (6, 10)]))
    dtype = draw(st.sampled_from(list(TOLERANCE)))
    chosen: dict[str, Any] = {"name": algorithm.name, "experts": experts, "top_k": top_k, "router_std": 0.5}
    torch.manual_seed(draw(st.integers(0, 1000)))
    dense = SiglipMLP(SiglipVisionConfig(hidden_size=width, intermediate_size=hidden))
    layer = MoEMLP(dense, MoEConfig.model_validate(chosen | algorithm.later)).to(dtype)
    batch, tokens = draw(st.integers(0, 3)), draw(st.integers(0, 9))
    return algorithm, layer, torch.randn(batch, tokens, width, dtype=dtype)


@given(cases())
@settings(max_examples=60, derandomize=True)
def test_shape_type_and_gradients(case: tuple[Algorithm, MoEMLP, Tensor]) -> None:
    _, layer, x = case
    y = layer(x.requires_grad_())
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    y.float().square().sum().backward()
    for gradient in (x.grad, *(parameter.grad for parameter in layer.parameters())):
        assert gradient.isfinite().all()


@given(cases())
@settings(max_examples=60, derandomize=True)
def test_a_sequence_does_not_see_the_others(case: tuple[Algorithm, MoEMLP, Tensor]) -> None:
    """In training either; and a token sees no other, unless tokens compete."""
    algorithm, layer, x = case
    tolerance = {"rtol": TOLERANCE[x.dtype], "atol": TOLERANCE[x.dtype]}
    y = layer(x)
    for b in range(len(x)):
        torch.testing.assert_close(layer(x[b : b + 1]), y[b : b + 1], **tolerance)
    if not algorithm.competing and x.numel():
        torch.testing.assert_close(layer(x[:, -1:]), y[:, -1:], **tolerance)


@given(cases())
@settings(max_examples=60, derandomize=True)
def test_what_a_routing_says_fits_together(case: tuple[Algorithm, MoEMLP, Tensor]) -> None:
    _, layer, x = case
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


@given(st.integers(1, 9), st.data())
@settings(max_examples=30, derandomize=True)
def test_settings_make_a_router_or_say_why_not(experts: int, data: st.DataObject) -> None:
    algorithm = data.draw(st.sampled_from(ALGORITHMS))
    top_k = data.draw(st.integers(algorithm.fewest, max(experts, algorithm.fewest)))
    if top_k <= experts:
        router = make_router(8, MoEConfig(name=algorithm.name, experts=experts, top_k=top_k))
        initial = router.initial_weights(torch.Generator().manual_seed(0))
        assert {n: v.shape for n, v in initial.items()} == {
            n: v.shape for n, v in router.state_dict().items()
        }
        router.load_state_dict(initial)
        again = router.initial_weights(torch.Generator().manual_seed(0))
        assert all(torch.equal(again[name], value) for name, value in initial.items())
