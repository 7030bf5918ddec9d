"""Which of several shares: so that several prepares can work on one volume at once."""

import re
from dataclasses import dataclass

from libmoe.config.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """Share ``number`` (from 0) of ``of`` shares."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """From ``i/n`` with i from 0, as the completion index of a Kubernetes Job counts.

        Raises:
            UsageError: it is not such a share.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if not found or not int(found[1]) < int(found[2]):
            raise UsageError(f"--shard {text!r} is not a share: give i/n with i from 0 to n-1, as in 0/4.")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def named(cls, name: str) -> "Shard | None":
        """The share that has this name; None where it is not a share's."""
        found = re.fullmatch(r"(\d+)-of-(\d+)", name)
        return cls(int(found[1]), int(found[2])) if found else None

    @property
    def name(self) -> str:
        """For a file."""
        return f"{self.number}-of-{self.of}"
