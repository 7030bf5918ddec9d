"""Asks a URL what it would give, without following it to a place that must not see our token."""

import contextlib
import os
import re
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from entrypoint.catalog.schema import Artifact
from entrypoint.prepare.addresses import Addresses
from entrypoint.prepare.retry import RefusedError, UnreachableError

if TYPE_CHECKING:
    import httpx

_SHA256 = re.compile(r"[0-9a-f]{64}")
_HOPS = 6
_NO_HEAD = (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
_MAY_PASS = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)


@dataclass(frozen=True)
class Source:
    """What stands behind a URL now."""

    url: str
    """As catalogued."""
    host: str
    """That answered: the catalogue's, or a mirror's."""
    location: str
    """What to fetch, without any token; may be signed and expire."""
    size: int | None = None
    sha256: str | None = None
    etag: str | None = None
    commit: str | None = None

    def same_content(self, other: "Source") -> bool:
        """Whether bytes fetched from the other can be continued from this one."""
        if self.size != other.size:
            return False
        if self.sha256 or other.sha256:
            return self.sha256 == other.sha256
        return self.url == other.url and self.etag == other.etag and self.etag is not None


class Resolver:
    """Turns an artifact's URL into a `Source`; a context manager that keeps connections open."""

    def __init__(self, addresses: Addresses, user_agent: str) -> None:
        import httpx

        self._addresses = addresses
        timeout = httpx.Timeout(30, connect=10)
        self._client = httpx.Client(timeout=timeout, headers={"User-Agent": user_agent})

    def __enter__(self) -> "Resolver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def resolve(self, artifact: Artifact, url: str) -> Source:
        """What the URL gives now, checked against what the catalogue promises.

        Raises:
            RefusedError: it does not have the file, or has another one.
            UnreachableError: it may have it later.
        """
        address = self._addresses.rewrite(url)
        source = _local(url, address) if address.startswith("file:") else self._ask(url, address)
        for what, promised, offered in (
            ("bytes", artifact.size, source.size),
            ("sha256", artifact.sha256, source.sha256),
        ):
            if promised is not None and offered is not None and promised != offered:
                raise RefusedError(
                    f"offers {what} {offered} where the catalogue promises {promised}", bad=True
                )
        return source

    def _ask(self, url: str, address: str) -> Source:
        location = address
        linked: dict[str, str | None] = {}
        for _ in range(_HOPS):
            response = self._head(location)
            linked = {**_linked(response), **linked}
            if not response.has_redirect_location:
                break
            location = urljoin(location, response.headers["Location"])
            if linked.get("size"):
                return self._source(url, address, location, linked)
        else:
            raise RefusedError(f"redirects more than {_HOPS} times")
        _check(response)
        headers = response.headers
        size = linked.get("size") or _total_size(response)
        found = {"size": size, "etag": headers.get("ETag") or headers.get("Last-Modified")}
        return self._source(url, address, location, {**found, **linked})

    def _source(self, url: str, address: str, location: str, facts: dict[str, str | None]) -> Source:
        size = facts.get("size") or ""
        return Source(
            url=url,
            host=urlsplit(address).netloc,
            location=location,
            size=int(size) if size.isdigit() else None,
            sha256=facts.get("sha256"),
            etag=facts.get("etag"),
            commit=facts.get("commit"),
        )

    def _head(self, location: str) -> "httpx.Response":
        import httpx

        headers = {**self._addresses.headers(location), "Accept-Encoding": "identity"}
        try:
            response = self._client.head(location, headers=headers)
            if response.status_code in (*_NO_HEAD, HTTPStatus.FORBIDDEN):
                ranged = {**headers, "Range": "bytes=0-0"}
                with self._client.stream("GET", location, headers=ranged) as response:
                    pass
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise UnreachableError(f"cannot be reached ({error})", answered=False) from error
        except httpx.TransportError as error:
            raise UnreachableError(f"dropped the connection ({error})") from error
        except httpx.InvalidURL as error:
            raise RefusedError(f"is no address ({error})") from error
        return response


def _check(response: "httpx.Response") -> None:
    status = HTTPStatus(response.status_code)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _MAY_PASS:
        raise UnreachableError(f"answers {status} ({status.phrase})", _retry_after(response))
    if status >= HTTPStatus.BAD_REQUEST:
        raise RefusedError(f"answers {status} ({status.phrase})")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise RefusedError("answers with a web page instead of the file")


def _linked(response: "httpx.Response") -> dict[str, str | None]:
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


def _total_size(response: "httpx.Response") -> str | None:
    if "Content-Range" in response.headers:
        return response.headers["Content-Range"].rpartition("/")[2]
    return response.headers.get("Content-Length")


def _retry_after(response: "httpx.Response") -> float | None:
    with contextlib.suppress(ValueError):
        return float(response.headers.get("Retry-After", ""))
    return None


def _local(url: str, address: str) -> Source:
    path = Path(unquote(urlsplit(address).path))
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise RefusedError(f"is not there ({path})") from error
    except OSError as error:
        raise RefusedError(f"cannot be read ({os.strerror(error.errno or 0).lower()})") from error
    return Source(url, "file", address, status.st_size, etag=str(status.st_mtime_ns))
