"""SLURM's lists of hosts, as in ``gpu[01-03,07],login1``."""

import re
from collections.abc import Iterator

_BRACKETS = re.compile(r"\[([^]]*)\]")


def expand(nodelist: str) -> list[str]:
    """Every host of a list, in its order.

    >>> expand("gpu[01-03,07],login1")
    ['gpu01', 'gpu02', 'gpu03', 'gpu07', 'login1']

    Raises:
        ValueError: it is not such a list.
    """
    return [host for pattern in _split(nodelist) for host in _hosts(pattern)]


def _split(nodelist: str) -> Iterator[str]:
    """At the commas outside of brackets."""
    depth, start = 0, 0
    for position, letter in enumerate(nodelist):
        depth += (letter == "[") - (letter == "]")
        if letter == "," and not depth:
            yield nodelist[start:position]
            start = position + 1
    yield nodelist[start:]


def _hosts(pattern: str) -> Iterator[str]:
    found = _BRACKETS.search(pattern)
    if not found:
        if not pattern or set(pattern) & set("[] \t"):
            raise ValueError(f"{pattern!r} names no host")
        yield pattern
        return
    before, after = pattern[: found.start()], pattern[found.end() :]
    for part in found[1].split(","):
        for number in _numbers(part):
            yield from _hosts(f"{before}{number}{after}")


def _numbers(part: str) -> list[str]:
    first, dash, last = part.partition("-")
    if not first.isdigit() or (dash and not last.isdigit()):
        raise ValueError(f"[{part}] is not a range of hosts")
    return [str(number).zfill(len(first)) for number in range(int(first), int(last or first) + 1)]
