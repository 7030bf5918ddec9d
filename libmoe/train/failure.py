"""How a rank's failure is told to the command that started it: an exit code and one sentence."""

import json
import logging
import os
from pathlib import Path

from libmoe.config.errors import LibmoeError, VolumeError

_LOG = logging.getLogger(__name__)


def report_failure(run_dir: Path, rank: int, error: BaseException) -> int:
    """Logs the error, writes ``<run_dir>/failures/rank-<rank>.json``, returns the exit code.

    The first rank to fail is the cause; the others then lose their connection to it, which says nothing, so a
    failure is written only where there is none yet.
    """
    exit_code, message = explain(error)
    if exit_code == LibmoeError.exit_code:
        _LOG.error("Rank %d failed.", rank, exc_info=error)
    else:
        _LOG.error("Rank %d ends with %d: %s", rank, exit_code, message)
    folder = run_dir / "failures"
    if not any(folder.glob("rank-*.json")):
        _write(folder / f"rank-{rank}.json", {"exit_code": exit_code, "message": message})
    return exit_code


def explain(error: BaseException) -> tuple[int, str]:
    """Exit code and sentence of any exception."""
    if isinstance(error, LibmoeError):
        return error.exit_code, _own_words(error)
    if isinstance(error, OSError) and error.filename:
        reason = f"Cannot write or read {error.filename}: {error.strerror}; check the disk and run again."
        return VolumeError.exit_code, reason
    first_line = next(iter(str(error).splitlines()), "")
    return LibmoeError.exit_code, f"Training stopped with {type(error).__name__}: {first_line}"


def _own_words(error: LibmoeError) -> str:
    """A loader process's error arrives wrapped in its traceback, whose last line holds the sentence."""
    last = str(error).strip().splitlines()[-1]
    return last.removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")


def _write(path: Path, content: dict[str, int | str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(content) + "\n")
    draft.replace(path)
