"""``aux_free``: a bias balances, not a loss (arXiv:2408.15664; DeepSeek-V3, arXiv:2412.19437)."""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from libmoe.config.schema import MoEConfig
from libmoe.moe.routers.interface import Routing
from libmoe.moe.routers.linear import LinearRouter
from libmoe.moe.routers.registry import register_router
from libmoe.moe.routers.shares import shares


@register_router("aux_free")
class BiasBalancedRouter(LinearRouter):
    """s = sigmoid(x Wg^T); the k largest s + b are chosen, each weighs s over the sum of the chosen.

    b has no gradient. After each optimizer step ``b_e += u sign(mean load - load_e)`` (V3, section 2.1.2),
    the load being what all ranks and micro batches of the step sent to e, u ``moe.bias_update_rate``. Kept as
    the whole number ``moves = b / u``, which no cast to bfloat16 can round. The balance loss, by default
    almost nothing (1e-4 as V3's), reads s over the sum of all s, and the choice as made, with b (eqs. 17-20,
    where eq. 18 leaves b out). DeepSeek's shared expert and groups of experts are left out.

    The load is counted in the backward pass, as the gradient of a loss of value zero: once for each forward
    pass, whatever activation checkpointing computes again, and not where the objective does not depend on
    the output.

    Shapes: x ``(T, D)``, Wg ``(E, D)``, g and s ``(T, E)``, b ``(E,)``, choice and weights ``(T, K)``.
    """

    moves: Tensor

    def __init__(self, width: int, settings: MoEConfig) -> None:
        super().__init__(width, settings)
        self.rate = settings.bias_update_rate
        self.register_buffer("moves", torch.zeros(self.experts, dtype=torch.int64))
        self._counter_E = self._new_counter(self.weight.device)

    def choose(self, logits_TE: Tensor) -> Routing:
        score_TE = logits_TE.sigmoid()
        expert_TK, weight_TK = shares(F.logsigmoid(logits_TE), self.top_k, score_TE + self.rate * self.moves)
        return Routing(
            expert_TK,
            weight_TK,
            logits_TE,
            score_TE / score_TE.sum(-1, keepdim=True),
            own_loss=self._counting(expert_TK),
        )

    def _counting(self, expert_TK: Tensor) -> Tensor:
        counter_E = self._counter_E
        if counter_E.device != expert_TK.device or counter_E.dtype != torch.float64:
            counter_E = self._counter_E = self._new_counter(expert_TK.device)
        expert_E = torch.arange(self.experts, device=expert_TK.device)
        load_E = (expert_TK.flatten().unsqueeze(-1) == expert_E).sum(0)
        return (counter_E * load_E.to(counter_E.dtype)).sum()

    def after_step(self, progress: float) -> None:
        counted_E = self._counter_E.grad
        load_E = torch.zeros(self.experts, dtype=torch.float64, device=self.moves.device)
        if counted_E is not None:
            load_E += counted_E
        if dist.is_initialized():
            dist.all_reduce(load_E)
        gap_E = load_E.mean() - load_E
        rounding = 1e-12 * load_E.mean()  # loads are counted times the losses' scale, a third say
        self.moves += gap_E.sign().masked_fill(gap_E.abs() <= rounding, 0.0).to(self.moves.dtype)
        self._counter_E.grad = None

    def initial_weights(self, generator: torch.Generator) -> dict[str, Tensor]:
        """As every linear router's; the bias starts at zero."""
        return super().initial_weights(generator) | {"moves": torch.zeros(self.experts, dtype=torch.int64)}

    def _new_counter(self, device: torch.device) -> Tensor:
        """No parameter, so that nobody but ``after_step`` sees its gradient; whole numbers up to 2^53.

        ``forward`` makes another where the model was built elsewhere: on the meta device, or by ZeRO-3, which
        gives all that is made meanwhile the model's type.
        """
        return torch.zeros(self.experts, dtype=torch.float64, device=device, requires_grad=True)
