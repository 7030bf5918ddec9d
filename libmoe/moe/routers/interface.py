"""What a routing algorithm is: a module that sends each token to experts."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from libmoe.config.schema import MoEConfig
from libmoe.moe.losses import balance_loss


@dataclass(frozen=True)
class Routing:
    """The decision for T tokens, K slots each, among E experts. All but the integers carry gradients.

    The last axis of logits and probabilities is the algorithm's own: E unless it says otherwise.
    """

    expert_TK: Tensor
    """Chosen experts, int64 in [0, E); E in a dropped slot."""
    weight_TK: Tensor
    """What each chosen expert's output is multiplied by, of either sign; float32 or wider."""
    logits_TE: Tensor
    """Router logits g, which the z-loss reads; float32 or wider."""
    probability_TE: Tensor
    """softmax(g), which the balance loss reads; float32 or wider."""
    balanced_TK: Tensor | None = None
    """Column of ``probability_TE`` that each slot counts for in the balance loss, where that is not its
    expert. As many slots as are to be balanced."""
    dropped_TK: Tensor | None = None
    """Slots that no expert computes and that add nothing; None where the algorithm drops none."""
    rows: int | None = None
    """How many slots are not dropped, where that is known without looking at them."""
    beside_TN: Tensor | None = None
    """Weights of what the algorithm itself adds to the experts' output; see ``Router.beside``."""
    own_loss: Tensor | None = None
    """A scalar loss of the algorithm's own, with its coefficient; None where it has none."""

    def balance(self, sequence: int, cost_E: Tensor | None = None) -> Tensor:
        """See ``balance_loss``; every ``sequence`` tokens are one sequence."""
        slots_TK = self.expert_TK if self.balanced_TK is None else self.balanced_TK
        shape = (-1, sequence)
        return balance_loss(self.probability_TE.unflatten(0, shape), slots_TK.unflatten(0, shape), cost_E)


class Router(nn.Module, ABC):
    """Base of all algorithms: parameters give each token a logit for each expert, a rule chooses among them.

    The two are apart because ZeRO-3 counts the gradients that enter a module: it has to return one tensor,
    which every rank uses in every step, or ranks wait for each other for ever.
    """

    fallback: ClassVar[str | None] = None
    """The algorithm that takes its place where a layer's output is not as wide as its input; None: itself."""

    def __init__(self, width: int, settings: MoEConfig) -> None:
        super().__init__()
        self.width = width
        self.experts = settings.experts
        self.top_k = settings.top_k
        self.std = settings.router_std

    @abstractmethod
    def forward(self, x_TD: Tensor) -> Tensor:
        """Logits g ``(T, E)`` of tokens ``(T, D)``, in float32 or wider; the only use of the parameters."""

    @abstractmethod
    def choose(self, logits_TE: Tensor) -> Routing:
        """The decision that the logits lead to."""

    def route(self, x_TD: Tensor, sequence: int) -> Routing:
        """The decision for tokens ``(T, D)``; every ``sequence`` of them are one sequence."""
        return self.choose(self(x_TD))

    def beside(self, x_TD: Tensor, routing: Routing) -> Tensor | None:
        """What is added to the experts' output, ``(T, D)``; None where the algorithm adds nothing."""
        return None

    def balance(self, routing: Routing, sequence: int) -> Tensor:
        """The balance loss of a decision for at least one token, without its coefficient."""
        return routing.balance(sequence)

    def join_chain(self, position: int) -> bool:
        """Told that it is the ``position``-th of a part's layers; whether it wants to know of the others."""
        return False

    def after_step(self, progress: float) -> None:
        """Called on every rank after each optimizer step; ``progress`` is the share of training done."""

    def initial_weights(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Values to start training from, by name: N(0, std) for parameters, on the CPU in float32.

        An algorithm with buffers adds theirs.
        """
        return {
            name: torch.empty(parameter.shape, device="cpu").normal_(0.0, self.std, generator=generator)
            for name, parameter in self.named_parameters()
        }

    def extra_repr(self) -> str:
        return f"width={self.width}, experts={self.experts}, top_k={self.top_k}"
