"""Who computes the same experts: ours, their floor, and peers. All are modules, tokens in, tokens out."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.activations import ACT2FN
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from libmoe.config.schema import MoEConfig
from libmoe.moe import MoEMLP


@dataclass(frozen=True)
class Shape:
    """A layer: T tokens of width D to width O by way of F, k of E experts each."""

    name: str
    tokens: int
    width: int
    hidden: int
    outputs: int
    experts: int = 6
    top_k: int = 3

    def __str__(self) -> str:
        sizes = f"{self.width} -> {self.hidden} -> {self.outputs}"
        return f"{self.name}: T={self.tokens}, {sizes}, E={self.experts}, k={self.top_k}"

    def dense(self) -> nn.Sequential:
        """One expert."""
        return nn.Sequential(*self.maps())

    def maps(self) -> tuple[nn.Linear, nn.Module, nn.Linear]:
        """What an expert consists of."""
        first, second = nn.Linear(self.width, self.hidden), nn.Linear(self.hidden, self.outputs)
        return first, ACT2FN["gelu_pytorch_tanh"], second


class Floor(nn.Module):
    """The dense MLP on as many rows as all experts see together; nothing is routed, copied or summed."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.dense = shape.dense()
        self.copies = shape.top_k

    def rows(self, x_TD: Tensor) -> Tensor:
        """What it is given instead of the tokens."""
        return x_TD.repeat(self.copies, 1)

    def forward(self, x_AD: Tensor) -> Tensor:
        return self.dense(x_AD)


class Routed(nn.Module, ABC):
    """Stacked experts behind the router of ``smoe``, computed by ``_experts``."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.num_experts, self.top_k = shape.experts, shape.top_k
        self.gate = nn.Linear(shape.width, shape.experts, bias=False)
        self.act_fn = ACT2FN["gelu_pytorch_tanh"]
        ups, _, downs = zip(*(shape.maps() for _ in range(shape.experts)), strict=True)
        self.up_proj = nn.Parameter(torch.stack([up.weight.detach() for up in ups]))
        self.up_proj_bias = nn.Parameter(torch.stack([up.bias.detach() for up in ups]))
        self.down_proj = nn.Parameter(torch.stack([down.weight.detach() for down in downs]))
        self.down_proj_bias = nn.Parameter(torch.stack([down.bias.detach() for down in downs]))

    def forward(self, x_TD: Tensor) -> Tensor:
        p_TE = F.linear(x_TD.float(), self.gate.weight.float()).softmax(-1)
        weight_TK, expert_TK = p_TE.topk(self.top_k)
        weight_TK = (weight_TK / weight_TK.sum(-1, keepdim=True)).to(x_TD.dtype)
        return self._experts(x_TD, expert_TK, weight_TK)

    @abstractmethod
    def _experts(self, x_TD: Tensor, expert_TK: Tensor, weight_TK: Tensor) -> Tensor:
        """The weighted sum of each token's experts, ``(T, O)``."""


class Loop(Routed):
    """One expert after another, each on the tokens that ``torch.where`` finds for it."""

    def _experts(self, x_TD: Tensor, expert_TK: Tensor, weight_TK: Tensor) -> Tensor:
        y_TO = x_TD.new_zeros(len(x_TD), self.down_proj.shape[1])
        for e in range(self.num_experts):
            token, slot = torch.where(expert_TK == e)
            hidden = self.act_fn(F.linear(x_TD[token], self.up_proj[e], self.up_proj_bias[e]))
            out = F.linear(hidden, self.down_proj[e], self.down_proj_bias[e])
            y_TO = y_TO.index_add(0, token, out * weight_TK[token, slot, None])
        return y_TO


class Transformers(Routed):
    """A backend of transformers' own; the attributes are what its functions ask a module for."""

    has_gate, has_bias, is_transposed = False, True, False
    has_post_expert_norm, _is_expert_parallel = False, False

    def __init__(self, shape: Shape, backend: str) -> None:
        super().__init__(shape)
        self._forward = ALL_EXPERTS_FUNCTIONS[backend]
        self._shape, self._backend = shape, backend

    def obstacle(self, dtype: torch.dtype, available: int) -> str | None:
        """Why it cannot run in so many bytes: ``batched_mm`` copies weights, and gradients, for each row."""
        shape = self._shape
        if shape.width != shape.outputs:
            return "takes input and output to be of one width"
        copied = (
            2 * dtype.itemsize * shape.tokens * shape.top_k * (shape.width + shape.outputs) * shape.hidden
        )
        if self._backend == "batched_mm" and copied > 0.7 * available:
            return f"copies {copied / 2**30:.0f} GiB of weights"
        return None

    def _experts(self, x_TD: Tensor, expert_TK: Tensor, weight_TK: Tensor) -> Tensor:
        return self._forward(self, x_TD, expert_TK, weight_TK)


def ours(shape: Shape) -> nn.Module:
    """The layer with its losses, as training runs it."""
    settings = MoEConfig(name="smoe", experts=shape.experts, top_k=shape.top_k)
    return MoEMLP(shape.dense(), settings)


CONTENDERS: dict[str, Callable[[Shape], nn.Module]] = {
    "the dense MLP on the same rows (floor)": Floor,
    "libmoe": ours,
    "a loop over experts": Loop,
    "transformers grouped_mm": lambda shape: Transformers(shape, "grouped_mm"),
    "transformers batched_mm": lambda shape: Transformers(shape, "batched_mm"),
}
"""transformers' eager experts are the loop."""
FLOOR, OURS, *_ = CONTENDERS
