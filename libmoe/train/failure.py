"""How a rank's failure is told to the command that started it: an exit code, a cause and one sentence."""

import errno
import logging
import re
import shutil
from pathlib import Path

from libmoe.config.errors import ConfigError, LibmoeError, TryAgainError, VolumeError
from libmoe.config.rank_failure import Cause, RankFailure

_LOG = logging.getLogger(__name__)
_FULL = re.compile(r"No space left on device|Disk quota exceeded|inline_container|os error (?:28|122)")
_NO_PEER = re.compile(r"Connection (?:closed|reset) by peer|Broken pipe|Timed out waiting|Gloo|NCCL|TCPStore")
_NO_MEMORY = re.compile(r"can't allocate memory|Cannot allocate memory|CUDA out of memory")

_LOADER_SIGNAL = re.compile(r"DataLoader worker \(pid \d+\) is killed by signal: ([\w ]+)")

_ROOM = 1 << 20
"""With fewer bytes free, whatever failed, failed for that."""


def report_failure(run_dir: Path, rank: int, error: BaseException) -> int:
    """Logs the error, leaves a `RankFailure` in the run folder, returns the exit code."""
    failure = explain(error)
    if failure.exit_code == LibmoeError.exit_code and shutil.disk_usage(run_dir).free < _ROOM:
        failure = RankFailure(Cause.FAILED, VolumeError.exit_code, _full_sentence(error))
    if failure.exit_code == LibmoeError.exit_code:
        _LOG.error("Rank %d failed.", rank, exc_info=error)
    else:
        ends = (rank, failure.exit_code, failure.message)
        _LOG.error("Rank %d ends with %d: %s", *ends, exc_info=_unexpected(error))
    try:
        failure.write(run_dir, rank)
    except OSError:  # a full disk: the exit code has to say it
        _LOG.exception("The failure of rank %d could not be written.", rank)
    return failure.exit_code


def explain(error: BaseException) -> RankFailure:
    """What any exception means to the one who started the run."""
    if isinstance(error, LibmoeError):
        cause = Cause.INTERRUPTED if isinstance(error, TryAgainError) else Cause.FAILED
        return RankFailure(cause, error.exit_code, _own_words(error))
    first_line = next(iter(str(error).splitlines()), "")
    if _no_memory(error):
        return RankFailure(Cause.FAILED, ConfigError.exit_code, _memory_sentence(error, first_line))
    if _full(error):
        return RankFailure(Cause.FAILED, VolumeError.exit_code, _full_sentence(error))
    if isinstance(error, OSError) and error.filename:
        reason = f"Cannot write or read {error.filename}: {error.strerror}; check the disk and run again."
        return RankFailure(Cause.FAILED, VolumeError.exit_code, reason)
    if _is(error, "DistError") or (isinstance(error, RuntimeError) and _NO_PEER.search(str(error))):
        sentence = f"The connection to another rank was lost ({first_line}): it ended, or the network failed"
        return RankFailure(
            Cause.LOST_RANK, TryAgainError.exit_code, f"{sentence}; the same command continues."
        )
    loader = _signal_of_loader(error)
    if loader is not None:
        return _loader_ended(loader)
    sentence = f"Training stopped with {type(error).__name__}: {first_line}"
    return RankFailure(Cause.FAILED, LibmoeError.exit_code, sentence)


def _loader_ended(by: str) -> RankFailure:
    """What it means that a loader process was ended by a signal, which torch calls ``by``."""
    if by == "Terminated":
        sentence = "A loader was told to end; the same command continues."
        return RankFailure(Cause.LOST_RANK, TryAgainError.exit_code, sentence)
    if by == "Bus error":
        sentence = "Shared memory is too small for what the loaders hand over: give the container more with"
        remedy = "--shm-size=16g, or set data.workers=0."
        return RankFailure(Cause.FAILED, ConfigError.exit_code, f"{sentence} {remedy}")
    sentence = f"A loader process was ended by a signal ({by}): memory ran out (lower data.workers)"
    rest = "or somebody ended it; the same command continues from the last checkpoint."
    return RankFailure(Cause.KILLED, TryAgainError.exit_code, f"{sentence}, {rest}")


def _no_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or _is(error, "OutOfMemoryError"):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(str(error)))


def _signal_of_loader(error: BaseException) -> str | None:
    """The signal that ended a loader process, as torch calls it in the error or in what it wraps."""
    told: BaseException | None = error
    while told is not None:
        if found := _LOADER_SIGNAL.search(str(told)):
            return found[1]
        told = told.__cause__
    return None


def _memory_sentence(error: BaseException, first_line: str) -> str:
    on_gpu = _is(error, "OutOfMemoryError") or "CUDA" in first_line
    where = "The GPU" if on_gpu else "This machine"
    offload = ", set train.zero.offload_optimizer=true" if on_gpu else ", offload less"
    return (
        f"{where} ran out of memory ({first_line or type(error).__name__}): "
        "lower train.micro_batch_size (accumulation makes up for it), set train.activation_checkpointing=true"
        f"{offload}, or use more ranks with train.zero.stage=3."
    )


def _full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return bool(_FULL.search(str(error)))


def _full_sentence(error: BaseException) -> str:
    where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
    return (
        f"The disk of the run folder is full{where}: make room, or keep fewer checkpoints with "
        "train.save_total_limit; the same command continues from the last checkpoint that is whole."
    )


def _is(error: BaseException, name: str) -> bool:
    """Whether it is one of torch's, which takes seconds to import and may not be there yet."""
    return any(base.__name__ == name and base.__module__.startswith("torch") for base in type(error).__mro__)


def _unexpected(error: BaseException) -> BaseException | None:
    """What deserves its traceback in the log: all that is not one of our own sentences."""
    return None if isinstance(error, LibmoeError) else error


def _own_words(error: LibmoeError) -> str:
    """A loader process's error arrives wrapped in its traceback, whose last line holds the sentence."""
    last = str(error).strip().splitlines()[-1]
    return last.removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")
