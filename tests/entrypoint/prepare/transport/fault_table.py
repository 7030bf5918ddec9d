"""The table of faults: what a source does wrong, and what must come of it."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from entrypoint.sample.hub import Answer
from libmoe.config.errors import DataError, LibmoeError, UnavailableError

from ..conftest import zipped
from . import faults
from .faults import GOOD, Fault, body, both, headers, instead

SIZE = 5 << 20
CONTENT = random.Random(1).randbytes(SIZE)
REPLACED = random.Random(2).randbytes(SIZE)
PAGE = b"<!DOCTYPE html><title>Sign in</title>"
ZIP = zipped({"a.bin": random.Random(3).randbytes(2 << 20)})

PLAIN = "/plain.example/big.bin"
ON_HUB = "/huggingface.co/org/m/resolve/main/big.bin"
REFUSED, GARBAGE, UNTRUSTED, NO_TLS = "nobody listens", "no HTTP", "untrusted", "no TLS"
SERVED: Mapping[str, bytes] = {
    PLAIN: CONTENT,
    ON_HUB: CONTENT,
    f"{GOOD}big.bin": CONTENT,
    f"{GOOD}sign-in.html": PAGE,
    f"{GOOD}page.bin": PAGE,
    f"{GOOD}replaced.bin": REPLACED,
    "/plain.example/a.zip": ZIP,
}
UNKNOWN = {"sha256": None, "size": None}


@dataclass(frozen=True)
class Case:
    """A source with a fault, perhaps one without after it, and what must happen."""

    name: str
    fault: Fault = faults.none
    expect: str = "whole"
    """``whole``: from the first source. ``next``: from the second. Else what the error says."""
    error: type[LibmoeError] | None = None
    source: str = PLAIN
    """A path at the faulty hub, or something that is no hub."""
    kind: str = "file"
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Of the catalogue's entry, other than it would say."""
    waits: int | None = None
    """Times that something was waited for, where that is certain."""
    slow_seconds: float = 20
    """After which a source that gives next to nothing is given up."""
    content: bytes = CONTENT
    """What the file holds in the end."""


def stays(
    name: str, fault: Fault, says: str, error: type[LibmoeError] = UnavailableError, **more: Any
) -> list[Case]:
    """A source that stays bad: the next is taken, or it ends in its error."""
    return [
        Case(f"{name}, and another source", fault, "next", **more),
        Case(f"{name}, alone", fault, says, error, **more),
    ]


def redirect(to: str, **more: str) -> Fault:
    return instead(Answer(302, {"Location": to, **more}))


def busy(status: int, retry_after: str, **more: str) -> Answer:
    return Answer(status, {"Retry-After": retry_after, **more})


_NOON, _A_SECOND_LATER = (formatdate(1_000_000_000 + second, usegmt=True) for second in (0, 1))
_SHORT = both(
    headers(method="GET", content_length="100000"), both(body(faults.cut(100_000)), faults.no_ranges)
)

CASES = [
    Case("nothing wrong", waits=0),
    Case("nothing wrong at the hub", source=ON_HUB, waits=0),
    # ---- answers that may pass
    Case("429 with Retry-After, twice", instead(busy(429, "0.1"), 2, "HEAD"), waits=2),
    Case("429 until a date", instead(busy(429, _A_SECOND_LATER, Date=_NOON), 1, "HEAD"), waits=1),
    Case("500 on the bytes, twice", instead(Answer(500), 2, "GET")),
    Case("502 on the bytes, twice", instead(Answer(502), 2, "GET")),
    Case(
        "503 before and in the middle",
        both(instead(busy(503, "0.05"), 1, "HEAD"), instead(busy(503, "0.05"), 3, "GET")),
    ),
    Case("a signed URL is refused, once", instead(Answer(403), 1, "GET"), source=ON_HUB),
    *stays("503 for ever", instead(Answer(503)), r"answers 503 .*, 4 times in a row", waits=3),
    *stays("429 that asks for an hour", instead(busy(429, "3600")), "come back in 3600 seconds", waits=0),
    # ---- answers that stay
    *stays("404", instead(Answer(404)), "answers 404", waits=0),
    *stays("403", instead(Answer(403)), "answers 403", waits=0),
    Case("401, alone", instead(Answer(401)), r"answers 401 .*HF_TOKEN if it is gated", UnavailableError),
    # ---- connections
    Case("each connection is cut after 700,000 bytes", body(faults.cut(700_000))),
    Case("cut again and again", body(faults.cut(120_000), 12)),
    Case("reset after 300,000 bytes, 6 times", body(faults.reset(300_000), 6)),
    Case("hangs up before it answers, once", faults.hang_up(1), waits=1),
    *stays("hangs up before it answers, always", faults.hang_up(), "dropped the connection", waits=3),
    Case("stands still after 200,000 bytes, 4 times", body(faults.stall(200_000), 4), slow_seconds=1.6),
    *stays(
        "stands still for ever", body(faults.stall(0)), "gave nothing for 2 seconds", slow_seconds=1.6
    ),
    Case("crawls, and another source", body(faults.slow(10_000)), "next", slow_seconds=1.6),
    Case("crawls for a while, alone", body(faults.slow(10_000), 8), slow_seconds=1.6),
    # ---- redirects
    *stays("redirects without end", redirect("/again"), "redirects more than"),
    *stays("to this machine's files", redirect("file:///etc/passwd", **{"X-Linked-Size": "9"}), "on the web"),
    Case("redirects to no address", redirect("http://["), "next"),
    *stays("redirects to a page to sign in", redirect(f"{GOOD}sign-in.html"), "a web page instead"),
    # ---- other bytes than promised
    Case("a bit flips, once", body(faults.flip(3), 1)),
    *stays("a bit flips, always", body(faults.flip(4)), r"gave bytes with sha256 .*, twice", DataError),
    *stays("offers another length", headers(content_length="4000"), "offers bytes 4000", DataError),
    *stays("offers an empty file", instead(Answer(200)), "offers bytes 0", DataError),
    *stays("gives less than it offers", _SHORT, "gave 100000 bytes where", DataError),
    Case(
        "the hub has another file now", headers(x_linked_etag=f'"{"0" * 64}"'), "offers sha256 0000",
        DataError, ON_HUB,
    ),
    Case(
        "a page where nothing is known of the file", faults.none, "gave a web page", DataError,
        f"{GOOD}page.bin", fields=UNKNOWN,
    ),
    Case(
        "replaced while it is read", faults.replaced_while_read(f"{GOOD}replaced.bin"),
        fields=UNKNOWN, content=REPLACED,
    ),
    Case(
        "a bit flips in an archive of unknown digest", body(faults.flip(6)), "The archive big is bad",
        DataError, "/plain.example/a.zip", "archive", UNKNOWN,
    ),
    # ---- Range
    Case("ignores Range", faults.no_ranges, waits=0),
    Case("ignores Range and is cut, twice", both(body(faults.cut(1 << 20), 2), faults.no_ranges)),
    # ---- no hub at all
    Case("nobody listens, and another source", expect="next", source=REFUSED),
    Case("nobody listens, alone", faults.none, "cannot be reached", UnavailableError, REFUSED),
    Case("speaks no HTTP, and another source", expect="next", source=GARBAGE),
    Case("speaks no HTTP, alone", faults.none, "dropped the connection", UnavailableError, GARBAGE),
    Case("a certificate nobody vouches for, and another source", expect="next", source=UNTRUSTED, waits=0),
    Case("a certificate nobody vouches for, alone", faults.none, "certificate", UnavailableError, UNTRUSTED),
    Case("no TLS where it should be, and another source", expect="next", source=NO_TLS),
]  # fmt: skip
