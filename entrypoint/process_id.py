"""Which process, on which machine, in which container: enough to tell whether it still runs."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessId:
    """A process for good: its number alone is given again, its start time is not."""

    host: str
    place: str
    """The boot and the process namespace: only there does the number mean anything."""
    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> "ProcessId":
        """A process that runs here."""
        return cls(socket.gethostname(), _place(), pid, _started(pid) or "")

    @classmethod
    def me(cls) -> "ProcessId":
        """This process."""
        return cls.of(os.getpid())

    def alive(self) -> bool | None:
        """Whether it runs; None where that cannot be seen from here (another machine or container)."""
        if (self.host, self.place) != (socket.gethostname(), _place()):
            return None
        return _started(self.pid) == self.started


def _place() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {Path('/proc/self/ns/pid').readlink()}"


def is_stopped(pid: int) -> bool:
    """Whether a process stands still: a signal or a debugger has stopped it."""
    fields = _stat(pid)
    return fields is not None and fields[0] in "Tt"


def _started(pid: int) -> str | None:
    """The start time in clock ticks since boot; None where no such process is alive."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else fields[19]


def _stat(pid: int) -> list[str] | None:
    """What the kernel says of a process, from its state on (proc_pid_stat(5)); None where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
