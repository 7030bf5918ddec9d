"""Asks a URL what it would give, without following it to a place that must not see our token."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from entrypoint.catalog.schema import Artifact
from entrypoint.prepare.transport.addresses import Addresses
from entrypoint.prepare.transport.answers import (
    check,
    is_distrust,
    linked_facts,
    next_hop,
    rest_of,
    total_size,
)
from entrypoint.prepare.transport.proxies import through
from entrypoint.prepare.transport.retry import RefusedError, UnreachableError

if TYPE_CHECKING:
    import httpx

_HOPS = 6
_NO_HEAD = (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)


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
    private: bool = False
    """Given only with the token, which aria2 must not have: we fetch it ourselves."""

    @property
    def in_order(self) -> bool:
        """Whether its bytes come one after the other, so that those that are there are its beginning."""
        return self.private or self.location.startswith("file:")

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
        self._client = httpx.Client(
            timeout=httpx.Timeout(30, connect=10),
            limits=httpx.Limits(max_keepalive_connections=0),  # an idle connection counts at the host too
            headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
        )

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
        return replace(source, sha256=source.sha256 or artifact.sha256)

    def read(self, source: Source, path: Path, tell: Callable[[int, int], None]) -> None:
        """Fetches a private source to ``path``, continuing what is there.

        Args:
            tell: called with bytes done and bytes in all (0: unknown); may raise to end it.

        Raises:
            RefusedError: it is not given any more.
            UnreachableError: the connection failed; what came is kept.
        """
        have = path.stat().st_size if path.exists() else 0
        if source.size is not None and have >= source.size:
            return
        headers = {**self._addresses.headers(source.location), **rest_of(have, source.etag)}
        with (
            self._transport(source.location),
            self._client.stream("GET", source.location, headers=headers) as response,
        ):
            check(response)
            if response.is_redirect:
                raise UnreachableError("has moved meanwhile")
            goes_on = response.status_code == HTTPStatus.PARTIAL_CONTENT
            with path.open("ab" if goes_on else "wb", buffering=0) as out:
                for chunk in response.iter_raw():
                    out.write(chunk)
                    tell(out.tell(), source.size or 0)

    def _ask(self, url: str, address: str) -> Source:
        location = address
        linked: dict[str, str | None] = {}
        for _ in range(_HOPS):
            response = self._head(location)
            linked = {**linked_facts(response), **linked}
            if not response.has_redirect_location:
                break
            location = next_hop(location, response.headers["Location"])
            if linked.get("size") and not self._addresses.headers(location):
                return self._source(url, address, location, linked)
        else:
            raise RefusedError(f"redirects more than {_HOPS} times")
        check(response)
        headers = response.headers
        size = linked.get("size") or total_size(response)
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
            private=bool(self._addresses.headers(location)),
        )

    def _head(self, location: str) -> "httpx.Response":
        headers = self._addresses.headers(location)
        with self._transport(location):
            response = self._client.head(location, headers=headers)
            if response.status_code in (*_NO_HEAD, HTTPStatus.FORBIDDEN):
                ranged = {**headers, "Range": "bytes=0-0"}
                with self._client.stream("GET", location, headers=ranged) as response:
                    pass
        return response

    @contextlib.contextmanager
    def _transport(self, location: str) -> Iterator[None]:
        import httpx

        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            if is_distrust(error):
                raise RefusedError(
                    f"has a certificate that is not trusted ({error}); if it is your network's own, "
                    "name its authority in SSL_CERT_FILE"
                ) from error
            raise UnreachableError(
                f"cannot be reached{through(location)} ({error})", answered=False
            ) from error
        except httpx.ProxyError as error:
            raise RefusedError(f"cannot be reached{through(location)}, which answers {error}") from error
        except httpx.TransportError as error:
            raise UnreachableError(f"dropped the connection ({error})") from error
        except httpx.InvalidURL as error:
            raise RefusedError(f"is not a valid address ({error})") from error


def _local(url: str, address: str) -> Source:
    path = Path(unquote(urlsplit(address).path))
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise RefusedError(f"is not there ({path})") from error
    except OSError as error:
        raise RefusedError(f"cannot be read ({os.strerror(error.errno or 0).lower()})") from error
    return Source(url, "file", address, status.st_size, etag=str(status.st_mtime_ns))
