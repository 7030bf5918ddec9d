"""What is kept of an artifact that is whole and in its place."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Receipt:
    """What came of an artifact: written last, so that its presence means it is whole."""

    name: str
    kind: str
    destination: str
    url: str
    """As the catalogue names it."""
    source: str
    """The host it really came from: a mirror's, for instance."""
    revision: str | None
    commit: str | None
    """The hub's commit at that time."""
    sha256: str
    size: int
    files: int
    unpacked_size: int
    finished: str
    tool: str
