"""Auxiliary router losses, and how they reach the gradient without being returned."""

from typing import Any

import torch
from torch import Tensor

_scale = 1.0


def set_aux_scale(scale: float) -> None:
    """What every auxiliary gradient is multiplied by in this process.

    A trainer that averages the loss over n micro batches sets 1/n, so that auxiliary and language losses keep
    their ratio. Read in the backward pass.
    """
    global _scale
    _scale = scale


def balance_loss(probability_BSE: Tensor, expert_BSK: Tensor) -> Tensor:
    """Load balance as in Switch (arXiv:2101.03961, eq. 4), of each sequence, then the mean.

    ``E * sum_e f_e P_e``: f_e is the share of a sequence's S * K assignments that went to expert e (no
    gradient), P_e the mean of its probabilities. 1 where the load is even, E where one expert gets all.
    """
    experts = probability_BSE.shape[-1]
    expert_E = torch.arange(experts, device=expert_BSK.device)
    assigned_BSE = (expert_BSK.unsqueeze(-1) == expert_E).sum(-2)
    load_BE = assigned_BSE.to(probability_BSE.dtype).mean(-2) / expert_BSK.shape[-1]
    return experts * (load_BE * probability_BSE.mean(-2)).sum(-1).mean()


def z_loss(logits_TE: Tensor) -> Tensor:
    """Mean of logsumexp(g)^2 (ST-MoE, arXiv:2202.08906, eq. 5): keeps the router's logits small."""
    return logits_TE.logsumexp(-1).square().mean()


def ride(y: Tensor, loss: Tensor) -> Tensor:
    """Returns y; on the way back its gradient passes unchanged and ``loss`` gets the gradient ``aux scale``.

    So ``d(objective + scale * loss)`` is computed by any objective that depends on y, with or without
    activation checkpointing. Where the objective does not (all of y's gradient is 0, as for the blank image
    that stands in for none), ``loss`` does not count either.
    """
    return _Ride.apply(y, loss)


class _Ride(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, loss: Tensor) -> Tensor:
        ctx.loss_dtype = loss.dtype
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, Tensor]:
        return grad_y, (grad_y != 0).any().to(ctx.loss_dtype) * _scale
