"""``torch.autocast`` around a layer: its experts compute as ``nn.Linear`` does, its router as without."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def operands(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """What a linear map computes with: the same, or in autocast's type where it is on (float64 stays)."""
    if not _is_on(x.device) or x.dtype == torch.float64:
        return x, weight, bias
    dtype = torch.get_autocast_dtype(x.device.type)
    return x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Each operator in the types of its inputs."""
    return torch.autocast(device.type, enabled=False) if _is_on(device) else nullcontext()


def _is_on(device: torch.device) -> bool:
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
