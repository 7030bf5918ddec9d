"""Reads what a server answers: its status, the headers that describe a file, where it redirects to."""

import contextlib
import re
import ssl
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from entrypoint.prepare.transport.addresses import on_the_web
from entrypoint.prepare.transport.retry import RefusedError, UnreachableError

if TYPE_CHECKING:
    import httpx

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAY_PASS = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)


def check(response: "httpx.Response") -> None:
    """Whether it is the file.

    Raises:
        RefusedError, UnreachableError: it is not, for good or for now.
    """
    status = HTTPStatus(response.status_code)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _MAY_PASS:
        raise UnreachableError(f"answers {status} ({status.phrase})", _retry_after(response))
    if status >= HTTPStatus.BAD_REQUEST:
        raise RefusedError(f"answers {status} ({status.phrase})")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise RefusedError("answers with a web page instead of the file")


def linked_facts(response: "httpx.Response") -> dict[str, str | None]:
    """What the hub says of a file that it redirects to."""
    headers = response.headers
    etag = headers.get("X-Linked-Etag", "").removeprefix("W/").strip('"')
    facts = {
        "sha256": etag if _SHA256.fullmatch(etag) else None,
        "etag": etag or None,
        "size": headers.get("X-Linked-Size"),
        "commit": headers.get("X-Repo-Commit"),
    }
    return {name: value for name, value in facts.items() if value}


def total_size(response: "httpx.Response") -> str | None:
    """Bytes of the whole file."""
    if "Content-Range" in response.headers:
        return response.headers["Content-Range"].rpartition("/")[2]
    return response.headers.get("Content-Length")


def _retry_after(response: "httpx.Response") -> float | None:
    """Seconds, which a server may also give as the time by its own clock."""
    told = response.headers.get("Retry-After", "")
    with contextlib.suppress(ValueError):
        return float(told)
    with contextlib.suppress(ValueError, TypeError):
        server_now = parsedate_to_datetime(response.headers.get("Date", ""))
        return (parsedate_to_datetime(told) - server_now).total_seconds()
    return None


def next_hop(location: str, told: str) -> str:
    """Where a redirect leads; never off the web, where it could name this machine's own files."""
    try:
        hop = urljoin(location, told)
    except ValueError:
        hop = told
    if not on_the_web(hop):
        raise RefusedError(f"redirects to {told!r}, which is not an address on the web")
    return hop


def rest_of(have: int, etag: str | None) -> dict[str, str]:
    """The headers that ask for what comes after the bytes that are there, if they are still the same."""
    if not have or not etag:
        return {}
    return {"Range": f"bytes={have}-", "If-Range": etag if etag.startswith('"') else f'"{etag}"'}


def is_distrust(error: BaseException | None) -> bool:
    """Whether a connection failed for the other side's certificate."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None
