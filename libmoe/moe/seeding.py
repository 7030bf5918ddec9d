"""Seeds for the many independent draws of one run."""

import zlib


def derived_seed(seed: int, name: str) -> int:
    """A seed of its own for whatever ``name`` names; 32 bits, because torch's CPU generator uses no more."""
    return zlib.crc32(f"{seed}/{name}".encode())
