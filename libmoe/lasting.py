"""Blocks that make what a process keeps to its end, such as the libraries that it imports."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def lasting() -> Iterator[None]:
    """The garbage collector lets this block work, and never looks through what was made until its end.

    While torch, DeepSpeed and transformers are imported it would take a fifth of the time, to find next to
    nothing; later it would look through their 650,000 objects again, and touch the pages that forked data
    workers share.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
