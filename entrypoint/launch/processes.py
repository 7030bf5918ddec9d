"""One stage's training processes: started by torchrun, signalled through it, and their end explained.

torchrun passes SIGTERM on to every rank and reaps them; a rank that fails leaves its sentence in
``<run>/failures/rank-<r>.json``.
"""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from libmoe.config.errors import LibmoeError, TryAgainError
from libmoe.config.run import RunSpec

_LOG = "log.txt"
_SAVING_SECONDS = 600
"""How long ranks that were told to stop may take to save; a second interrupt does not wait for it."""
_KILLED = re.compile(r"rank +: (\d+) .*\n +exitcode +: -(\d+)")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def train_stage(spec: RunSpec, environment: dict[str, str], say: Callable[[str], None]) -> None:
    """Runs the ranks of one stage to their end; ``say`` gets rank 0's progress lines.

    Raises:
        TryAgainError: the run was interrupted and its state saved.
        LibmoeError: a rank failed; carries the rank's own sentence and exit code.
    """
    failures = spec.run_dir / "failures"
    for old in failures.glob("rank-*.json"):
        old.unlink()
    log_path = spec.run_dir / _LOG
    with log_path.open("ab") as log:
        log_start = log.tell()
        process = subprocess.Popen(
            _command(spec),
            env=_environment(spec, environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        interrupted = _follow(process, say)
    if process.returncode == 0:
        return
    killed = _killed_rank(log_path, log_start)
    raise _explain(failures, log_path, interrupted, killed)


def _command(spec: RunSpec) -> list[str]:
    options = {
        "rdzv-backend": "c10d",
        "rdzv-endpoint": "127.0.0.1:0",
        "local-addr": "127.0.0.1",  # the host's own name may not resolve, as in a container without network
        "nproc-per-node": spec.world.processes,
        "shutdown-timeout": _SAVING_SECONDS,
    }
    given = [f"--{option}={value}" for option, value in options.items()]
    torchrun = [sys.executable, "-m", "torch.distributed.run", *given]
    return [*torchrun, "-m", "libmoe.train", str(spec.run_dir / "run.json")]


def _environment(spec: RunSpec, devices: dict[str, str]) -> dict[str, str]:
    """Ours for the processes, under what the user has set, under what the devices demand."""
    defaults = {
        "TOKENIZERS_PARALLELISM": "false",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    fixed = {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
    return {**defaults, **os.environ, **fixed, **devices}


def _follow(process: subprocess.Popen[str], say: Callable[[str], None]) -> bool:
    """Passes progress lines on until the end; a first interrupt asks the ranks to save, a second kills."""
    assert process.stdout is not None
    interrupted = False
    while True:
        try:
            for line in process.stdout:
                say(line.rstrip("\n"))
            process.wait()
            return interrupted
        except KeyboardInterrupt:
            if interrupted:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                say("Interrupted: saving a checkpoint; interrupt again to stop at once.")
                process.send_signal(signal.SIGTERM)
            interrupted = True


def _die_with_parent() -> None:
    """Runs in the child: if the command line is killed outright, torchrun is told to end its ranks."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _killed_rank(log: Path, start: int) -> str | None:
    """What torchrun says of a rank that a signal ended; the others then only lose their connection to it."""
    with log.open("rb") as file:
        file.seek(start)
        root_cause = file.read().decode(errors="replace").rpartition("Root Cause")[2]
    found = _KILLED.search(root_cause)
    return f"Rank {found[1]} was killed by signal {found[2]}" if found else None


def _explain(failures: Path, log: Path, interrupted: bool, killed: str | None) -> LibmoeError:
    """The first rank's own failure if one was written; being told to stop is not a failure."""
    if killed and not interrupted:
        return TryAgainError(
            f"{killed}: memory ran out (lower train.micro_batch_size or offload more) or somebody ended it; "
            f"the same command continues from the last checkpoint (log: {log})."
        )
    reports = [json.loads(path.read_text()) for path in sorted(failures.glob("rank-*.json"))]
    real = [report for report in reports if report["exit_code"] != TryAgainError.exit_code]
    if real:
        error = LibmoeError(f"{real[0]['message']} (log: {log})")
        error.exit_code = real[0]["exit_code"]
        return error
    if reports or interrupted:
        return TryAgainError("Training was interrupted; the same command continues from the last checkpoint.")
    return LibmoeError(
        f"The training processes ended without a word: see {log}, and report it if it is a bug."
    )
