"""How copies of a dense MLP are set apart before they train, at the price of starting as the dense model.

Noise: W + a std(W) N(0, 1), elementwise. Redrawn units (drop-upcycling, Nakamura et al., arXiv:2502.19261):
of F hidden units each expert draws floor(r F) anew, that is their rows of the maps into the hidden layer and
their columns of the map out of it, from N(mean, std^2) of the values that they had there.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from libmoe.moe.forms import MLPForm


def diverged(
    dense: Mapping[str, Tensor], form: MLPForm, noise: float, redrawn: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """One expert's parameters, in the types of the dense MLP's; draws are made on the CPU.

    Args:
        noise: standard deviation of the noise, as a share of that of each tensor.
        redrawn: share of hidden units drawn anew.
    """
    hidden = dense[f"{form.linears[-1]}.weight"].shape[1]
    units = torch.randperm(hidden, generator=generator, device="cpu")[: int(redrawn * hidden)]
    expert = {}
    for name in sorted(dense):
        value = dense[name].to(torch.promote_types(dense[name].dtype, torch.float32), copy=True)
        scale = noise * float(value.std(correction=0))
        if len(units):
            for view in form.unit_views(name, value):
                view[units] = _normal_like(view[units], generator)
        if noise:
            value += scale * torch.empty_like(value).normal_(generator=generator)
        expert[name] = value.to(dense[name].dtype)
    return expert


def _normal_like(values: Tensor, generator: torch.Generator) -> Tensor:
    mean, std = float(values.mean()), float(values.std(correction=0))
    return torch.empty_like(values).normal_(mean, std, generator=generator)
