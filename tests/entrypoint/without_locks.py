"""A kernel that refuses every lock on a file, as where the file system honours none."""

import ctypes
import errno
import fcntl
import platform
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

T = TypeVar("T")
NUMBERS = {"x86_64": (73, 72), "aarch64": (32, 25)}
"""Of the system calls flock and fcntl."""
LOCKS = (fcntl.F_SETLK, fcntl.F_SETLKW, 37, 38)
"""What fcntl is called with; 37 and 38 are the locks of open file descriptions."""
SET_NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER = 38, 22, 2
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, FAIL = 0x7FFF0000, 0x00050000


def without_locks(work: Callable[[], T]) -> T:
    """Does something in a thread where locks fail with ENOLCK, also for the processes it starts."""
    if platform.machine() not in NUMBERS:
        pytest.skip(f"the numbers of {platform.machine()}'s system calls are not known here")
    with ThreadPoolExecutor(1) as pool:
        if problem := pool.submit(_refuse_locks).result():
            pytest.skip(f"no seccomp here: {problem}")
        return pool.submit(work).result()


def _refuse_locks() -> str:
    """For this thread and what it starts; the reason why not, or nothing."""
    flock, control = NUMBERS[platform.machine()]
    count = len(LOCKS)
    program = [
        (LOAD, 0, 0, 0),  # the number of the call
        (JUMP_IF_EQUAL, count + 3, 0, flock),
        (JUMP_IF_EQUAL, 0, count + 1, control),
        (LOAD, 0, 0, 24),  # its second argument
        *((JUMP_IF_EQUAL, count - number, 0, lock) for number, lock in enumerate(LOCKS)),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, FAIL | errno.ENOLCK),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    described = ctypes.c_char_p(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(SET_SECCOMP, FILTER, described, 0, 0):
        return errno.errorcode[ctypes.get_errno()]
    return ""
