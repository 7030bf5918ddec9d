"""Seeds for the many independent draws of one run."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derived_seed(seed: int, name: str) -> int:
    """A seed of its own for whatever ``name`` names; 32 bits, because torch's CPU generator uses no more."""
    return zlib.crc32(f"{seed}/{name}".encode())


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draws on the CPU follow from ``seed`` alone; those after the block, and a GPU's, know nothing of it."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
