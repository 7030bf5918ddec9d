"""What routers do, summed up while a model computes: for training and for analysis alike.

with collect(model) as statistics:
    model(**batch)
statistics.summary()["model.multi_modal_projector"].load
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.module_tracker import ModuleTracker

from libmoe.moe.layer import moe_layers
from libmoe.moe.routers import Routing

_backward = ModuleTracker()
"""Asked only whether a backward pass is under way, in which checkpointed layers compute once more."""
_MEANS = ("tokens", "finite", "entropy", "margin", "margins", "z", "slots", "null", "dropped")


@dataclass(frozen=True)
class LayerSummary:
    """One layer over all tokens it has seen; None where no token tells.

    p are the probabilities of all columns the router chooses among, as the balance loss reads them; where
    that adds columns up (``smoe_tcmoe``), p = softmax(g), g the logits. Tokens whose logits are not finite
    count in no mean of p or g.
    """

    tokens: int
    load: list[float]
    """Share of all assignments that each expert got; of E values, sum 1."""
    top1: list[float]
    """Share of tokens whose heaviest expert it is, a shared expert aside; sum 1."""
    coactivation: list[list[float]]
    """(E, E): share of tokens that take both experts; on the diagonal, that take the expert."""
    entropy: float | None
    """Mean of -sum p ln p, in nats: 0 where routers are certain, ln(columns) where they do not choose."""
    margin: float | None
    """Mean of p_(k) - p_(k+1), the k-th largest p before the next one; k routed slots."""
    null_share: float | None
    """Share of slots that no expert computes."""
    dropped_share: float | None
    """Share of tokens that no expert computes at all."""
    z: float | None
    """Mean of logsumexp(g)^2."""


class RouterStatistics:
    """Sums per layer, on the model's device: listening never waits for it, ``summary`` costs one copy."""

    def __init__(self, model: nn.Module) -> None:
        self.experts = {path: layer.router.experts for path, layer in moe_layers(model)}
        self.ignored: frozenset[str] = frozenset()
        """Layers whose tokens do not count from now on."""
        self._sums: dict[str, Tensor] = {}
        self._device = next(model.parameters()).device

    @torch.compiler.disable
    def hear(self, path: str, routing: Routing) -> None:
        """Adds one decision of the layer at ``path``; a recomputed forward is no new one."""
        if path in self.ignored or _backward.is_bw:
            return
        new = _sums(routing, self.experts[path]).to(self._device)
        self._sums[path] = self._sums[path] + new if path in self._sums else new

    def all_reduce(self) -> None:
        """Makes every rank's sums those of all ranks; every rank calls it once, whatever it has seen."""
        flat = self._flat()
        dist.all_reduce(flat)
        self._sums = dict(zip(self.experts, flat.split(self._lengths()), strict=True))

    def summary(self) -> dict[str, LayerSummary]:
        """Path to figures of every layer, in the model's order."""
        layers = zip(self.experts.items(), self._flat().cpu().split(self._lengths()), strict=True)
        return {path: _summary(sums, experts) for (path, experts), sums in layers}

    def _flat(self) -> Tensor:
        """The sums of all layers, also of those that saw nothing."""
        parts = [
            self._sums.get(path, torch.zeros(length, dtype=torch.float64, device=self._device))
            for path, length in zip(self.experts, self._lengths(), strict=True)
        ]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64, device=self._device)

    def _lengths(self) -> list[int]:
        return [sum(_layout(experts)) for experts in self.experts.values()]


@contextmanager
def collect(model: nn.Module) -> Iterator[RouterStatistics]:
    """Listens to every router of ``model`` inside the block, in training and evaluation.

    Micro batches add up. The model computes what it computes without, and nothing waits for a device.
    """
    statistics = RouterStatistics(model)
    layers = [(layer, partial(statistics.hear, path)) for path, layer in moe_layers(model)]
    for layer, hear in layers:
        layer.listeners.append(hear)
    try:
        yield statistics
    finally:
        for layer, hear in layers:
            layer.listeners.remove(hear)


def _layout(experts: int) -> tuple[int, ...]:
    """Lengths of what ``_sums`` holds: scalars, load, top-1, co-activation."""
    return len(_MEANS), experts, experts, experts * experts


@torch.no_grad()
def _sums(routing: Routing, experts: int) -> Tensor:
    """All sums over the tokens, one after another, in float64.

    Experts that have no logit are shared ones; they take a token's first slots.
    """
    expert_TK = routing.expert_TK
    tokens, slots = expert_TK.shape
    shared = max(0, experts - routing.logits_TE.shape[-1])
    took_TKE = expert_TK.unsqueeze(-1) == torch.arange(experts, device=expert_TK.device)
    member_TE = took_TKE.any(1).double()  # which autocast leaves alone
    weight_TK = routing.weight_TK.abs()
    null_TK = routing.dropped_TK
    if null_TK is None:
        null_TK = torch.zeros_like(expert_TK, dtype=torch.bool)
    heaviest_T1 = weight_TK.masked_fill(null_TK, -1.0)[:, shared:].argmax(-1, keepdim=True)
    top1_TE = took_TKE[:, shared:].take_along_dim(heaviest_T1.unsqueeze(-1), 1).squeeze(1)
    means = _token_sums(routing, slots - shared) | {
        "tokens": null_TK.new_full((), tokens, dtype=torch.float64),
        "slots": null_TK.new_full((), tokens * slots, dtype=torch.float64),
        "null": null_TK.sum(),
        "dropped": null_TK.all(-1).sum(),
    }
    scalars = torch.stack([means[name].double() for name in _MEANS])
    counts = [took_TKE.sum((0, 1)), top1_TE.sum(0), (member_TE.T @ member_TE).flatten()]
    return torch.cat([scalars, *(count.double() for count in counts)])


def _token_sums(routing: Routing, routed: int) -> dict[str, Tensor]:
    """Sums of what p and g say of each token."""
    logits_TC, p_TC = routing.logits_TE, routing.probability_TE
    if p_TC.shape != logits_TC.shape:
        p_TC = logits_TC.softmax(-1)
    finite_T = logits_TC.isfinite().all(-1)
    logits_TC, p_TC = (one.masked_fill(~finite_T.unsqueeze(-1), 0.0) for one in (logits_TC, p_TC))
    ordered_TC = p_TC.sort(-1, descending=True).values
    has_next = routed < logits_TC.shape[-1]
    margin_T = ordered_TC[:, routed - 1] - ordered_TC[:, routed] if has_next else torch.zeros_like(finite_T)

    def over_finite(value_T: Tensor) -> Tensor:
        return (value_T * finite_T).sum(dtype=torch.float64)

    return {
        "finite": finite_T.sum(),
        "entropy": over_finite(torch.special.entr(p_TC).sum(-1)),
        "margin": over_finite(margin_T),
        "margins": finite_T.sum() * has_next,
        "z": over_finite(logits_TC.logsumexp(-1).square()),
    }


def _summary(sums: Tensor, experts: int) -> LayerSummary:
    ends = [0, *accumulate(_layout(experts))]
    scalars, load, top1, together = (sums[begin:end] for begin, end in pairwise(ends))
    total = dict(zip(_MEANS, scalars.tolist(), strict=True))

    def mean(what: str, over: str) -> float | None:
        return total[what] / total[over] if total[over] else None

    return LayerSummary(
        tokens=int(total["tokens"]),
        load=(load / load.sum().clamp(min=1)).tolist(),
        top1=(top1 / top1.sum().clamp(min=1)).tolist(),
        coactivation=(together / max(total["tokens"], 1)).view(experts, experts).tolist(),
        entropy=mean("entropy", "finite"),
        margin=mean("margin", "margins"),
        null_share=mean("null", "slots"),
        dropped_share=mean("dropped", "tokens"),
        z=mean("z", "finite"),
    )
