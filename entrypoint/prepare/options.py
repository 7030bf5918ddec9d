"""How a prepare works: what its caller may choose, and how much goes on at once."""

import os
from dataclasses import dataclass, field

from entrypoint.prepare.transport.addresses import Addresses
from entrypoint.prepare.transport.retry import Retry

FETCHED_AT_ONCE = 4
"""Artifacts on their way, those waiting to be unpacked among them: archives do not pile up on the volume."""
WHOLE_AT_ONCE = 2
"""Archives that are here: one is unpacked, one waits."""
IN_FLIGHT = FETCHED_AT_ONCE + WHOLE_AT_ONCE
"""Archives that may be beside their files."""
PICTURES_AT_ONCE = 32
"""Small files that are fetched one by one, over one connection each."""


@dataclass(frozen=True)
class Options:
    """What a caller may choose."""

    addresses: Addresses = field(default_factory=Addresses)
    connections: int = 16
    """Per file; a host's own limit in the catalogue takes precedence."""
    jobs: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Processes that unpack."""
    keep_archives: bool = False
    retry: Retry = field(default_factory=Retry)
