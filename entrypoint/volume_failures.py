"""Why a volume cannot be written, in a sentence that says what to do."""

import errno
import os
from pathlib import Path

from libmoe.config.errors import VolumeError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
_FAILING = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EREMOTEIO)


def explain(error: OSError, root: Path) -> VolumeError | None:
    """What a failure says of the volume at ``root``; None where it says nothing of it."""
    place, why = error.filename or root, os.strerror(error.errno or 0).lower()
    if error.errno in _FULL:
        return full(root)
    if error.errno in _FORBIDDEN:
        return VolumeError(
            f"{place} cannot be written ({why}): give user {os.getuid()} the right to write there, "
            "mount it writable, or choose another with --data-dir."
        )
    if error.errno in _FAILING:
        return VolumeError(
            f"The volume {root} fails ({why}, {place}): look at its disk or mount it again; "
            "then the same command continues."
        )
    if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
        return VolumeError(
            f"{place} is in the way ({why}): move it, or choose another place with --data-dir."
        )
    return None


def full(root: Path) -> VolumeError:
    """The error of a volume without space left."""
    return VolumeError(
        f"The volume {root} is full: free some space or choose a larger one with --data-dir; "
        "then the same command continues."
    )
