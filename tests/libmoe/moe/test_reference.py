"""The layer against each algorithm written out token by token: its output, its balance loss, its z-loss."""

from collections.abc import Callable
from math import exp, log

import pytest
import torch
from torch import Tensor

from libmoe.moe import MoEMLP

from .algorithms import ALGORITHMS
from .reference import REFERENCES, Token, balance

Scattered = Callable[..., MoEMLP]
EXPERTS = 6
FEWEST = {algorithm.name: algorithm.fewest for algorithm in ALGORITHMS}
CASES = [
    (name, compat, top_k, EXPERTS)
    for compat, references in REFERENCES.items()
    for name in references
    for top_k in (1, 2, 3, EXPERTS)
    if top_k >= FEWEST[name]
] + [("smoe_plus_plus", "published", 9, 16)]  # two constant experts


def referred(layer: MoEMLP, name: str, compat: str, x: Tensor) -> list[list[Token]]:
    with torch.no_grad():
        return [REFERENCES[compat][name](layer, sequence, layer.router.top_k) for sequence in x]


@pytest.fixture
def tokens(x: Tensor) -> Tensor:
    """Two sequences of ten tokens."""
    return torch.cat([x, x.flip(-1) * 2], 1)


@pytest.mark.parametrize(("name", "compat", "top_k", "experts"), CASES)
def test_output_and_losses_are_those_of_the_reference(
    scattered: Scattered, tokens: Tensor, name: str, compat: str, top_k: int, experts: int
) -> None:
    layer = scattered(name, compat, top_k, experts)
    y = layer(tokens)
    sequences = referred(layer, name, compat, tokens)
    zero = torch.zeros(8, dtype=torch.float64)
    expected = [
        torch.stack([sum((w * part for w, part in token.outputs), zero) for token in s]) for s in sequences
    ]
    torch.testing.assert_close(y, torch.stack(expected), rtol=1e-10, atol=1e-12)
    assert layer.balance_loss.item() == pytest.approx(balance(layer, name, compat, sequences), rel=1e-12)
    z = [log(sum(exp(value) for value in token.g)) ** 2 for s in sequences for token in s]
    assert layer.z_loss.item() == pytest.approx(sum(z) / len(z), rel=1e-12)


def test_the_tokens_take_columns_of_every_kind(scattered: Scattered, tokens: Tensor) -> None:
    """Else the comparison would not show what those do."""
    for compat in REFERENCES:
        routing = scattered("smoe_plus_plus", compat, 3).router.route(tokens.flatten(0, 1), 10)
        beside = routing.beside_TN != 0
        assert beside.any(0).all()
        assert (routing.dropped_TK.sum(-1) > beside.sum(-1)).any()  # a zero expert
    routing = scattered("smoe_tcmoe", "published", 3).router.route(tokens.flatten(0, 1), 10)
    assert (routing.weight_TK > 0).any()
    assert (routing.weight_TK < 0).any()
    assert routing.dropped_TK.any()
    routing = scattered("expert_choice", "published", 1).router.route(tokens.flatten(0, 1), 10)
    assert set((~routing.dropped_TK).sum(-1).tolist()) >= {0, 1, 2}
