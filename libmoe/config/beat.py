"""What a rank tells the launcher at every turn: that it lives, and where it is."""

import json
from dataclasses import asdict, dataclass

VARIABLE = "LIBMOE_LAUNCHER"
"""Names the launcher's socket (in Linux' abstract namespace, so that nothing is written) to its ranks."""


@dataclass(frozen=True)
class Beat:
    """One sign of life. Ranks wait for each other in every step: who has the lowest count holds all up."""

    rank: int
    pid: int
    count: int
    step: int
    """The last optimizer step that was finished."""
    doing: str

    def encode(self) -> bytes:
        """As a datagram."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, datagram: bytes) -> "Beat":
        """The inverse of `encode`."""
        return cls(**json.loads(datagram))
