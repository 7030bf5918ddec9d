"""Asks the hub's tree API which parts an archive was cut into, where the catalogue does not know."""

import json
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from entrypoint.catalog.schema import Artifact
from entrypoint.prepare.transport.addresses import Addresses
from entrypoint.prepare.transport.tool import TOOL
from libmoe.config.errors import DataError, UnavailableError


def with_parts(artifact: Artifact, addresses: Addresses) -> Artifact:
    """The artifact with its parts as its listing has them now; itself where there is nothing to ask.

    Raises:
        UnavailableError: the listing is not available.
        DataError: it is not a listing, or has no such parts.
    """
    if artifact.parts_listing is None:
        return artifact
    parts = [
        _part(artifact.parts_listing, entry)
        for entry in _entries(artifact.parts_listing, addresses)
        if entry.get("type") == "file" and fnmatch(Path(entry["path"]).name, artifact.parts_pattern)
    ]
    if not parts:
        raise DataError(
            f"{artifact.name}: {addresses.rewrite(artifact.parts_listing)} lists no "
            f"{artifact.parts_pattern}; name the parts in the catalogue, as `libmoe catalog freeze` does."
        )
    known = artifact.model_dump(exclude_defaults=True, exclude={"parts_listing", "parts_pattern"})
    return Artifact.model_validate({**known, "parts": parts})


def _part(listing: str, entry: dict[str, Any]) -> dict[str, Any]:
    """A file of ``/api/<repo>/tree/<revision>/<folder>`` is at ``/<repo>/resolve/<revision>/<path>``."""
    hub, _, path = listing.partition("/api/")
    repository, _, rest = path.partition("/tree/")
    revision = rest.partition("/")[0]
    repository = repository.removeprefix("models/")
    large = entry.get("lfs") or {}
    return {
        "urls": [f"{hub}/{repository}/resolve/{revision}/{quote(entry['path'])}"],
        "size": large.get("size", entry.get("size")),
        "sha256": large.get("oid"),
    }


def _entries(listing: str, addresses: Addresses) -> Iterator[dict[str, Any]]:
    """Every entry, from all pages."""
    page: str | None = addresses.rewrite(listing)
    while page:
        content, page = _page(page, addresses)
        try:
            entries = json.loads(content)
            yield from (entry for entry in entries if isinstance(entry["path"], str))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{addresses.rewrite(listing)} is not a listing from the hub ({error})."
            ) from error


def _page(address: str, addresses: Addresses) -> tuple[bytes, str | None]:
    """The content of a page and the address of the next."""
    if address.startswith("file:"):
        return _local(address), None
    import httpx

    headers = {"User-Agent": TOOL, **addresses.headers(address)}
    try:
        response = httpx.get(address, headers=headers, timeout=30, follow_redirects=True)
        response.raise_for_status()
    except httpx.HTTPError as error:
        raise UnavailableError(
            f"The list of parts {address} is not available ({error}): check the network, or use a catalogue "
            "that `libmoe catalog freeze` wrote where it is."
        ) from error
    following = response.links.get("next", {}).get("url")
    return response.content, urljoin(address, following) if following else None


def _local(address: str) -> bytes:
    path = Path(unquote(urlsplit(address).path))
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnavailableError(f"The list of parts {path} cannot be read ({error.strerror}).") from error
