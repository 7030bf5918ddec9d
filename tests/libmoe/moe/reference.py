"""Each algorithm written out token by token, slot by slot, in numbers: published, and upstream's form."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, exp

from torch import Tensor, nn

from libmoe.moe import MoEMLP


@dataclass
class Token:
    """What one token does, and what the losses read of it."""

    columns: list[int | None]
    """What each slot counts for in the balance loss, the best first; None: for nothing."""
    p: list[float]
    g: list[float]
    outputs: list[tuple[float, Tensor]]
    """Weights, and what they weigh."""


OfToken = Callable[[MoEMLP, Tensor, int], Token]
OfSequence = Callable[[MoEMLP, Tensor, int], list[Token]]


def softmax(values: list[float]) -> list[float]:
    total = sum(exp(value) for value in values)
    return [exp(value) / total for value in values]


def sigmoid(values: list[float]) -> list[float]:
    return [1 / (1 + exp(-value)) for value in values]


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


def routed(layer: MoEMLP, x: Tensor, slots: list[tuple[int, float]], p: list[float], g: list[float]) -> Token:
    """Slots that are experts."""
    return Token([c for c, _ in slots], p, g, [(w, run(layer, c, x)) for c, w in slots])


def smoe(layer: MoEMLP, x: Tensor, k: int) -> Token:
    g = linear(layer, x)
    p = softmax(g)
    return routed(layer, x, over_sum(p, best(p, k)), p, g)


def smoe_sigmoidgating(layer: MoEMLP, x: Tensor, k: int) -> Token:
    g = linear(layer, x)
    s = sigmoid(g)
    return routed(layer, x, over_sum(s, best(s, k)), softmax(g), g)


def aux_free(layer: MoEMLP, x: Tensor, k: int) -> Token:
    g = linear(layer, x)
    s = sigmoid(g)
    biased = [value + layer.router.rate * n for value, n in zip(s, layer.router.moves.tolist(), strict=True)]
    return routed(layer, x, over_sum(s, best(biased, k)), [value / sum(s) for value in s], g)


def cosines(layer: MoEMLP, x: Tensor) -> list[float]:
    reduced = layer.router.reduction @ x
    return [float(reduced @ m / reduced.norm() / m.norm()) for m in layer.router.embedding]


def xmoe(layer: MoEMLP, x: Tensor, k: int) -> Token:
    g = [value / 0.3 for value in cosines(layer, x)]
    p = softmax(g)
    return routed(layer, x, over_sum(p, best(p, k)), p, g)


def upstream_xmoe(layer: MoEMLP, x: Tensor, k: int) -> Token:
    g = [1.5 * value for value in cosines(layer, x)]
    p = softmax([value / 0.3 for value in g])
    chosen = best(p, k)
    weights = softmax([p[c] for c in chosen])
    return routed(layer, x, list(zip(chosen, weights, strict=True)), p, g)


def half_shared(score: Callable[[list[float]], list[float]]) -> OfToken:
    def algorithm(layer: MoEMLP, x: Tensor, k: int) -> Token:
        g = linear(layer, x)
        s = score(g)
        slots = over_sum(s, best(s, k - 1))
        outputs = [(0.5 * w, run(layer, c + 1, x)) for c, w in slots]
        return Token([c for c, _ in slots], softmax(g), g, [(0.5, run(layer, 0, x)), *outputs])

    return algorithm


def with_cheap(layer: MoEMLP, x: Tensor, k: int, g: list[float], plain: list[str]) -> Token:
    """Slots that are experts or, in the columns behind them, of these kinds; behind those, constant."""
    p, cheap, experts = softmax(g), layer.router.cheap, layer.router.experts
    slots = over_sum(p, best(p, k))
    outputs = []
    for c, w in slots:
        n = c - experts - len(plain)
        if c < experts:
            outputs.append((w, run(layer, c, x)))
        elif n >= 0:
            a0, a1 = softmax((cheap.mix[n] @ x).tolist())
            outputs.append((w, a0 * x + a1 * cheap.value[n]))
        elif plain[n] == "copy":
            outputs.append((w, x))
    return Token([c for c, _ in slots], p, g, outputs)


def smoe_plus_plus(layer: MoEMLP, x: Tensor, k: int) -> Token:
    closed = -10 * (1 - layer.router.opened.item() / 1000)
    g = [value + (closed if c >= layer.router.experts else 0) for c, value in enumerate(linear(layer, x))]
    return with_cheap(layer, x, k, g, ["zero", "copy"])


def upstream_plus_plus(layer: MoEMLP, x: Tensor, k: int) -> Token:
    return with_cheap(layer, x, k, linear(layer, x), ["zero"])


def ternary(layer: MoEMLP, x: Tensor, k: int) -> tuple[list[tuple[int, float]], list[float], list[float]]:
    """Column and signed weight of each slot; the logits with bias; the probabilities of all columns."""
    experts = layer.router.experts
    biases = [0] * experts + [-1] * experts + [-10] * k
    g = [value + bias for value, bias in zip(linear(layer, x), biases, strict=True)]
    p = softmax(g)
    chosen = best(p, k)
    total = sum(p[c] for c in chosen if c < 2 * experts) + sum(p[2 * experts :])
    return [(c, p[c] / total * (1 if c < experts else -1 if c < 2 * experts else 0)) for c in chosen], g, p


def smoe_tcmoe(layer: MoEMLP, x: Tensor, k: int) -> Token:
    experts = layer.router.experts
    slots, g, p = ternary(layer, x, k)
    columns = [c % experts if c < 2 * experts else None for c, _ in slots]
    base = [p[e] + p[experts + e] for e in range(experts)]
    return Token(columns, base, g, [(w, run(layer, c % experts, x)) for c, w in slots if c < 2 * experts])


def upstream_tcmoe(layer: MoEMLP, x: Tensor, k: int) -> Token:
    experts = layer.router.experts
    slots, _, p = ternary(layer, x, k)
    written = {c % experts: (w, run(layer, c % experts, x)) for c, w in slots}  # an expert's last slot stays
    columns = [c % experts if c < 2 * experts else None for c, _ in slots]
    base = [(p[e] + p[experts + e]) / sum(p[: 2 * experts]) for e in range(experts)]
    return Token(columns, base, linear(layer, x), list(written.values()))


def expert_choice(layer: MoEMLP, x_SD: Tensor, k: int) -> list[Token]:
    experts = layer.router.experts
    g = [linear(layer, x) for x in x_SD]
    p = [softmax(row) for row in g]
    takers: list[list[int]] = [[] for _ in g]
    for e in range(experts):
        for t in best([row[e] for row in p], ceil(k * len(g) / experts)):
            takers[t].append(e)
    return [routed(layer, *each) for each in zip(x_SD, map(over_sum, p, takers), p, g, strict=True)]


def each(algorithm: OfToken) -> OfSequence:
    return lambda layer, x_SD, k: [algorithm(layer, x, k) for x in x_SD]


SAME = {
    "smoe": each(smoe),
    "smoe_sigmoidgating": each(smoe_sigmoidgating),
    "smoe_share": each(half_shared(softmax)),
    "smoe_sharev3": each(half_shared(sigmoid)),
}
REFERENCES: dict[str, dict[str, OfSequence]] = {
    "published": SAME
    | {
        "xmoe": each(xmoe),
        "smoe_plus_plus": each(smoe_plus_plus),
        "smoe_tcmoe": each(smoe_tcmoe),
        "aux_free": each(aux_free),
        "expert_choice": expert_choice,
    },
    "upstream": SAME
    | {
        "xmoe": each(upstream_xmoe),
        "smoe_plus_plus": each(upstream_plus_plus),
        "smoe_tcmoe": each(upstream_tcmoe),
    },
}


def switch_balance(sequences: list[list[Token]], cost: Callable[[int], float], slots: int | None) -> float:
    """E sum_e cost_e f_e P_e of each sequence, then the mean; f of a token's first so many slots, or all."""
    columns, total = len(sequences[0][0].p), 0.0
    for tokens in sequences:
        sent = [c for token in tokens for c in token.columns[:slots]]
        for c in range(columns):
            mean = sum(token.p[c] for token in tokens) / len(tokens)
            total += columns * cost(c) * sent.count(c) / len(sent) * mean
    return total / len(sequences)


def growing_balance(sequences: list[list[Token]]) -> float:
    """Upstream's of TC-MoE: each sequence's mean p by what all sequences sent, over what it sent itself."""
    sent = [[c for token in tokens for c in token.columns if c is not None] for tokens in sequences]
    total = 0.0
    for tokens, own in zip(sequences, sent, strict=True):
        for e in range(len(tokens[0].p)):
            mean = sum(token.p[e] for token in tokens) / len(tokens)
            total += sum(columns.count(e) for columns in sent) / len(own) * mean
    return total / len(sequences)


def balance(layer: MoEMLP, name: str, compat: str, sequences: list[list[Token]]) -> float:
    """The algorithm's balance loss."""
    if compat == "published":
        cheap = layer.router.tau if name == "smoe_plus_plus" else 1.0
        return switch_balance(sequences, lambda c: cheap if c >= layer.router.experts else 1.0, None)
    if name == "smoe_tcmoe":
        return growing_balance(sequences)
    favoured = 1.3 if name == "smoe_plus_plus" else 1.0
    return switch_balance(sequences, lambda c: favoured if c == 4 else 1.0, 1)
