"""What ranks tell each other outside of the training step."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist


def gather(values: Sequence[float], device: torch.device) -> torch.Tensor:
    """Every rank's values, in float64 on the CPU: (ranks, values)."""
    own = torch.tensor(values, dtype=torch.float64, device=device)
    everyone = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(everyone, own)
    return torch.stack(everyone).cpu()


def gather_objects(value: Any) -> list[Any]:
    """Every rank's value, in the order of ranks; for small things and rare occasions."""
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, value)
    return everyone


def is_first() -> bool:
    """Whether this rank is the one that writes."""
    return dist.get_rank() == 0
