"""Every way a command can fail, with the exit code that scripts and job specs rely on.

Torch-free, so that the command line and the training processes share one definition.
"""

import difflib
from collections.abc import Iterable

_FEW = 12
"""Names that a sentence can list."""


class LibmoeError(Exception):
    """One clear sentence for the user; ``exit_code`` is what the process ends with (70: a bug of ours)."""

    exit_code = 70


class UsageError(LibmoeError):
    """The command line asks for something that does not exist."""

    exit_code = 2


class DataError(LibmoeError):
    """Data that was found is bad: corrupt archive, wrong hash, not LLaVA's JSON, undecodable image."""

    exit_code = 65


class UnavailableError(LibmoeError):
    """A source cannot be reached or does not have the file."""

    exit_code = 69


class VolumeError(LibmoeError):
    """The volume is missing, cannot be written or is full."""

    exit_code = 73


class TryAgainError(LibmoeError):
    """Interrupted with everything saved: the same command continues."""

    exit_code = 75


class ConfigError(LibmoeError):
    """A setting is unknown, out of range or does not fit this machine or checkpoint."""

    exit_code = 78


def nearest(word: str, known: Iterable[str]) -> str:
    """The sentence that follows "unknown X": the names that may be meant, and all of them if they are few.

    >>> nearest("tinny", ["tiny", "phi35-siglip224"])
    "did you mean 'tiny'? Known: phi35-siglip224, tiny."
    """
    names = sorted(known)
    meant = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    meant = meant or [name for name in names if word and word.lower() in (name.lower(), _initials(name))]
    meant = meant or [name for name in names if word and word.lower() in name.lower()][:_FEW]
    guess = f"did you mean {' or '.join(map(repr, meant))}?"
    if len(names) > _FEW:
        return guess if meant else f"known are {', '.join(names[:_FEW])} and {len(names) - _FEW} more."
    listed = ", ".join(names)
    return f"{guess} Known: {listed}." if meant else f"known are {listed}."


def _initials(name: str) -> str:
    """``lr`` for ``learning_rate``."""
    return "".join(part[:1] for part in name.split("_"))
