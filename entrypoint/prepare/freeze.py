"""Asks every source what it offers now and writes that down as a catalogue: sizes, hashes, parts, commits."""

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoint.catalog.schema import Artifact, Catalog
from entrypoint.digests import sha256_of
from entrypoint.prepare.transport.addresses import HUB, Addresses
from entrypoint.prepare.transport.parts import with_parts
from entrypoint.prepare.transport.retry import RefusedError, UnreachableError
from entrypoint.prepare.transport.source import Resolver, Source
from entrypoint.prepare.transport.tool import TOOL
from libmoe.config.errors import LibmoeError, UnavailableError

_KNOWN = {"size", "sha256", "approximate_size"}
_RESOLVE = re.compile(r"/resolve/[^/]+/")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Frozen:
    """A catalogue as TOML, and the artifacts that could not be looked up, each with the reason."""

    text: str
    failures: dict[str, str]

    def require_whole(self) -> None:
        """Does nothing if every source answered.

        Raises:
            UnavailableError: some did not; they stand in the catalogue as they did.
        """
        if self.failures:
            name, reason = next(iter(self.failures.items()))
            more = f" ({len(self.failures) - 1} more are unchanged too)" if len(self.failures) > 1 else ""
            raise UnavailableError(
                f"{name} could not be looked up and is written unchanged: {reason}{more}; "
                "run the same command again when its source answers."
            )


def freeze(catalog: Catalog, addresses: Addresses, with_hash: bool, say: Callable[[str], None]) -> Frozen:
    """What the sources offer now, whatever the catalogue says of it.

    Revisions are pinned to the commit the hub names, but not if a mirror answers: its paths are as they were.

    Args:
        with_hash: fetch files whose sha256 no source reports, to compute it.
        say: is told what each artifact is.
    """
    entries: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    with Resolver(addresses, TOOL) as resolver:
        asking = _Asking(addresses, resolver, with_hash)
        for artifact in catalog.artifacts:
            try:
                found = asking.ask(artifact)
                say(f"{artifact.name}: {_words(found)}")
            except (RefusedError, UnreachableError, LibmoeError) as error:
                found, failures[artifact.name] = artifact, str(error)
                say(f"{artifact.name}: {error}")
            entries.append(_entry(found))
    return Frozen(_toml(catalog, entries), failures)


@dataclass(frozen=True)
class _Asking:
    addresses: Addresses
    resolver: Resolver
    with_hash: bool

    def ask(self, artifact: Artifact) -> Artifact:
        artifact = with_parts(artifact, self.addresses)
        if not artifact.parts:
            return _changed(artifact, self._facts(artifact))
        parts = [self._facts(download) for download in artifact.downloads]
        revision = parts[0].get("revision", artifact.revision)
        for part in parts:
            part.pop("revision", None)
        return _changed(artifact, {"parts": parts, "revision": revision})

    def _facts(self, artifact: Artifact) -> dict[str, Any]:
        """What the first URL that answers says: its size and sha256, and all URLs pinned to its commit."""
        unknown = artifact.model_copy(update=dict.fromkeys(_KNOWN))
        problem: Exception | None = None
        for url in artifact.urls:
            try:
                source = self.resolver.resolve(unknown, url)
            except (RefusedError, UnreachableError) as error:
                problem = error
                continue
            sha256 = source.sha256 or artifact.sha256 if source.size == artifact.size else source.sha256
            if sha256 is None and self.with_hash:
                sha256 = self._hash(source)
            return {"size": source.size, "sha256": sha256, **self._pinned(artifact, source.commit)}
        assert problem is not None
        raise problem

    def _hash(self, source: Source) -> str:
        with tempfile.NamedTemporaryFile() as copy:
            path = Path(copy.name)
            if source.location.startswith("file:"):
                path = Path(source.location.removeprefix("file://"))
            else:
                self.resolver.read(source, path, lambda done, total: None)
            return sha256_of(path)

    def _pinned(self, artifact: Artifact, commit: str | None) -> dict[str, Any]:
        if self.addresses.mirror or not commit or not _COMMIT.fullmatch(commit):
            return {"urls": list(artifact.urls)}
        pin = f"/resolve/{commit}/"
        urls = [
            _RESOLVE.sub(pin, url, count=1) if url == artifact.urls[0] and url.startswith(HUB) else url
            for url in artifact.urls
        ]
        return {"urls": urls, "revision": commit}


def _changed(artifact: Artifact, facts: dict[str, Any]) -> Artifact:
    known = artifact.model_dump(exclude_defaults=True, exclude=_KNOWN)
    return Artifact.model_validate(
        {**known, **{key: value for key, value in facts.items() if value is not None}}
    )


def _words(artifact: Artifact) -> str:
    downloads = artifact.downloads
    hashes = sum(download.sha256 is not None for download in downloads)
    size = artifact.expected_size
    count = f"{len(downloads)} parts, " if artifact.parts else ""
    bytes_ = "size unknown" if size is None else f"{size} bytes"
    return f"{count}{bytes_}, {hashes} of {len(downloads)} sha256 known"


def _entry(artifact: Artifact) -> dict[str, Any]:
    return _without_none(artifact.model_dump(mode="json", exclude_defaults=True))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def _toml(catalog: Catalog, entries: list[dict[str, Any]]) -> str:
    import tomli_w

    content = catalog.model_dump(mode="json", exclude={"artifacts"}, exclude_defaults=True)
    return "# Written by `libmoe catalog freeze`.\n\n" + tomli_w.dumps({**content, "artifact": entries})
