"""``compat="upstream"`` against each algorithm written out token by token, slot by slot."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import exp, log

import pytest
import torch
from torch import Tensor, nn

from libmoe.config.errors import ConfigError
from libmoe.config.schema import MoEConfig
from libmoe.moe import MoEMLP
from libmoe.moe.routers import make_router

MakeLayer = Callable[..., MoEMLP]
EXPERTS = 6


@dataclass
class Token:
    """What one token does: (column, weight) of each slot in the order of choice, and what the losses read."""

    slots: list[tuple[int, float]]
    p: list[float]
    g: list[float]
    outputs: list[tuple[float, Tensor]] = field(default_factory=list)


def softmax(values: list[float]) -> list[float]:
    total = sum(exp(value) for value in values)
    return [exp(value) / total for value in values]


def best(values: list[float], k: int) -> list[int]:
    return sorted(range(len(values)), key=lambda n: -values[n])[:k]


def over_sum(values: list[float], chosen: list[int]) -> list[tuple[int, float]]:
    total = sum(values[c] for c in chosen)
    return [(c, values[c] / total) for c in chosen]


def linear(layer: MoEMLP, x: Tensor) -> list[float]:
    return (layer.router.weight @ x).tolist()


def run(layer: MoEMLP, e: int, x: Tensor) -> Tensor:
    fc1, fc2 = layer.experts.fc1, layer.experts.fc2
    hidden = nn.functional.gelu(fc1.weight[e] @ x + fc1.bias[e], approximate="tanh")
    return fc2.weight[e] @ hidden + fc2.bias[e]


def smoe(layer: MoEMLP, x: Tensor, k: int) -> Token:
    g = linear(layer, x)
    p = softmax(g)
    slots = over_sum(p, best(p, k))
    return Token(slots, p, g, [(w, run(layer, c, x)) for c, w in slots])


def smoe_sigmoidgating(layer: MoEMLP, x: Tensor, k: int) -> Token:
    g = linear(layer, x)
    s = [1 / (1 + exp(-value)) for value in g]
    slots = over_sum(s, best(s, k))
    return Token(slots, softmax(g), g, [(w, run(layer, c, x)) for c, w in slots])


def xmoe(layer: MoEMLP, x: Tensor, k: int) -> Token:
    reduced = layer.router.reduction @ x
    g = [float(reduced @ m / reduced.norm() * 1.5 / m.norm()) for m in layer.router.embedding]
    p = softmax([value / 0.3 for value in g])
    chosen = best(p, k)
    slots = list(zip(chosen, softmax([p[c] for c in chosen]), strict=True))
    return Token(slots, p, g, [(w, run(layer, c, x)) for c, w in slots])


def shared(score: Callable[[list[float]], list[float]]) -> Callable[..., Token]:
    def algorithm(layer: MoEMLP, x: Tensor, k: int) -> Token:
        g = linear(layer, x)
        s = score(g)
        slots = over_sum(s, best(s, k - 1))
        routed = [(0.5 * w, run(layer, c + 1, x)) for c, w in slots]
        return Token(slots, softmax(g), g, [(0.5, run(layer, 0, x)), *routed])

    return algorithm


def smoe_plus_plus(layer: MoEMLP, x: Tensor, k: int) -> Token:
    g = linear(layer, x)
    p = softmax(g)
    slots = over_sum(p, best(p, k))
    cheap = layer.router.cheap
    outputs = []
    for c, w in slots:
        if c < EXPERTS:
            outputs.append((w, run(layer, c, x)))
        elif c == EXPERTS + 1:
            a0, a1 = softmax((cheap.mix[0] @ x).tolist())
            outputs.append((w, a0 * x + a1 * cheap.value[0]))
    return Token(slots, p, g, outputs)


def smoe_tcmoe(layer: MoEMLP, x: Tensor, k: int) -> Token:
    g = linear(layer, x)
    p = softmax([v - (0 if c < EXPERTS else 1 if c < 2 * EXPERTS else 10) for c, v in enumerate(g)])
    chosen = best(p, k)
    total = sum(p[c] for c in chosen if c < 2 * EXPERTS) + sum(p[2 * EXPERTS :])
    slots = [(c, p[c] / total * (1 if c < EXPERTS else -1 if c < 2 * EXPERTS else 0)) for c in chosen]
    written = {c % EXPERTS: (w, run(layer, c % EXPERTS, x)) for c, w in slots}  # the last of an expert stays
    return Token(slots, p, g, list(written.values()))


def first_slot_balance(tokens: list[list[Token]]) -> float:
    """E sum_e f_e P_e of each sequence, f of the first slot; the mean over sequences."""
    columns = len(tokens[0][0].p)
    factor = [1.3 if c == 4 and columns == EXPERTS + 2 else 1.0 for c in range(columns)]
    total = 0.0
    for sequence in tokens:
        for c in range(columns):
            f = sum(token.slots[0][0] == c for token in sequence) / len(sequence)
            total += columns * factor[c] * f * sum(token.p[c] for token in sequence) / len(sequence)
    return total / len(tokens)


def growing_balance(tokens: list[list[Token]]) -> float:
    sent = [sum(c < 2 * EXPERTS for token in sequence for c, _ in token.slots) for sequence in tokens]
    total = 0.0
    for b, sequence in enumerate(tokens):
        for e in range(EXPERTS):
            to_e = sum(
                c % EXPERTS == e and c < 2 * EXPERTS for s in tokens for token in s for c, _ in token.slots
            )
            mean = sum(
                (token.p[e] + token.p[e + EXPERTS]) / sum(token.p[: 2 * EXPERTS]) for token in sequence
            )
            total += to_e / sent[b] * mean / len(sequence)
    return total / len(tokens)


REFERENCES: dict[str, Callable[..., Token]] = {
    "smoe": smoe,
    "smoe_sigmoidgating": smoe_sigmoidgating,
    "xmoe": xmoe,
    "smoe_share": shared(softmax),
    "smoe_sharev3": shared(lambda g: [1 / (1 + exp(-value)) for value in g]),
    "smoe_plus_plus": smoe_plus_plus,
    "smoe_tcmoe": smoe_tcmoe,
}


@pytest.fixture
def trained(make_layer: MakeLayer) -> Callable[[str, int], MoEMLP]:
    """A layer whose routers take any column; some tokens of ``smoe_tcmoe`` lose a write."""

    def make(name: str, top_k: int) -> MoEMLP:
        layer = make_layer(name=name, compat="upstream", experts=EXPERTS, top_k=top_k)
        noise = torch.Generator().manual_seed(8)
        with torch.no_grad():
            for parameter in layer.router.parameters():
                parameter += torch.randn(parameter.shape, dtype=torch.float64, generator=noise)
        return layer

    return make


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("top_k", [2, 3, 6])
def test_output_and_losses_are_those_of_the_reference(
    trained: Callable[[str, int], MoEMLP], x: Tensor, name: str, top_k: int
) -> None:
    layer = trained(name, top_k)
    x = torch.cat([x, x.flip(-1) * 2], 1)
    y = layer(x)
    with torch.no_grad():
        tokens = [[REFERENCES[name](layer, token, top_k) for token in sequence] for sequence in x]
    zero = torch.zeros(8, dtype=torch.float64)
    expected = torch.stack(
        [torch.stack([sum((w * out for w, out in t.outputs), zero) for t in s]) for s in tokens]
    )
    torch.testing.assert_close(y, expected)
    balance = growing_balance(tokens) if name == "smoe_tcmoe" else first_slot_balance(tokens)
    assert layer.balance_loss.item() == pytest.approx(balance)
    z = [log(sum(exp(value) for value in token.g)) ** 2 for sequence in tokens for token in sequence]
    assert layer.z_loss.item() == pytest.approx(sum(z) / len(z))


def test_a_write_is_lost_where_one_expert_is_taken_twice(
    trained: Callable[[str, int], MoEMLP], x: Tensor
) -> None:
    """Else the reference above would not show it, and upstream's form would be the published one."""
    layer = trained("smoe_tcmoe", 6)
    routing = layer.router.route(x.flatten(0, 1), 5)
    lost = (routing.weight_TK == 0) & (routing.balanced_TK < 2 * EXPERTS)
    assert 0 < lost.sum() < lost.numel()


def test_its_balance_loss_grows_with_the_batch(trained: Callable[[str, int], MoEMLP], x: Tensor) -> None:
    layer = trained("smoe_tcmoe", 2)
    layer(x)
    once = layer.balance_loss
    layer(x.repeat(3, 1, 1))
    torch.testing.assert_close(layer.balance_loss, 3 * once)


def test_where_output_and_input_differ_it_is_smoe() -> None:
    settings = MoEConfig(name="smoe_plus_plus", compat="upstream")
    assert type(make_router(8, settings, out_width=12)).__name__ == "UpstreamSoftmaxRouter"


@pytest.mark.parametrize("name", ["aux_free", "expert_choice"])
def test_what_upstream_lacks_has_no_such_form(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} has no upstream form: leave moe.compat at published"):
        make_router(8, MoEConfig(name=name, compat="upstream"))
