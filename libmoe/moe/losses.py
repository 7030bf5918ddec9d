"""Auxiliary router losses, and how they reach the gradient without being returned."""

from typing import Any

import torch
from torch import Tensor

from libmoe.config.schema import MoEConfig

_scale = 1.0
_scheduled = 1.0


def set_aux_scale(scale: float) -> None:
    """What every auxiliary gradient is multiplied by in this process.

    A trainer that averages the loss over n micro batches sets 1/n, so that auxiliary and language losses keep
    their ratio. Read in the backward pass.
    """
    global _scale
    _scale = scale


def set_aux_progress(settings: MoEConfig, progress: float) -> None:
    """Applies the coefficients' schedule at ``progress``, the share of steps done, in this process.

    To be called before each optimizer step; plain numbers on the host, so that nothing waits for a device.
    """
    global _scheduled
    share = settings.aux_schedule_share
    left = {"constant": 1.0, "warmup": progress, "decay": 1 - progress}[settings.aux_schedule]
    _scheduled = 1.0 if settings.aux_schedule == "constant" or left >= share else left / share


def aux_share() -> float:
    """What the schedule leaves of the coefficients now, in [0, 1]."""
    return _scheduled


def balance_loss(probability_BSE: Tensor, expert_BSK: Tensor, cost_E: Tensor | None = None) -> Tensor:
    """Load balance as in Switch (arXiv:2101.03961, eq. 4), of each sequence, then the mean.

    ``E * sum_e f_e P_e``: f_e is the share of a sequence's S * K assignments that went to expert e (no
    gradient), P_e the mean of its probabilities. 1 where the load is even, E where one expert gets all.

    Args:
        cost_E: what each term of the sum counts; None: 1.
    """
    experts = probability_BSE.shape[-1]
    expert_E = torch.arange(experts, device=expert_BSK.device)
    assigned_BSE = (expert_BSK.unsqueeze(-1) == expert_E).sum(-2)
    load_BE = assigned_BSE.to(probability_BSE.dtype).mean(-2) / expert_BSK.shape[-1]
    if cost_E is not None:
        load_BE = load_BE * cost_E
    return experts * (load_BE * probability_BSE.mean(-2)).sum(-1).mean()


def z_loss(logits_TE: Tensor) -> Tensor:
    """Mean of logsumexp(g)^2 (ST-MoE, arXiv:2202.08906, eq. 5): keeps the router's logits small."""
    return logits_TE.logsumexp(-1).square().mean()


def ride(y: Tensor, loss: Tensor, scheduled: bool = True) -> Tensor:
    """Returns y; on the way back its gradient passes unchanged and ``loss`` gets the gradient ``aux scale``.

    So ``d(objective + scale * loss)`` is computed by any objective that depends on y, with or without
    activation checkpointing. Where the objective does not (all of y's gradient is 0, as for the blank image
    that stands in for none), ``loss`` does not count either.

    Args:
        scheduled: the coefficients' schedule applies to it.
    """
    return _Ride.apply(y, loss, scheduled)


class _Ride(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, loss: Tensor, scheduled: bool) -> Tensor:
        ctx.loss_dtype, ctx.scheduled = loss.dtype, scheduled
        return y.detach()  # no view, which nobody could change in place

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, Tensor, None]:
        scale = _scale * _scheduled if ctx.scheduled else _scale
        return grad_y, (grad_y != 0).any().to(ctx.loss_dtype) * scale, None
