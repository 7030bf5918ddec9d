"""Whether each host of a catalogue can be reached and gives what is promised."""

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from entrypoint import console
from entrypoint.catalog.schema import Artifact, Catalog
from entrypoint.doctor.finding import Finding, fail, ok
from entrypoint.prepare.transport.addresses import Addresses
from entrypoint.prepare.transport.retry import RefusedError, UnreachableError
from entrypoint.prepare.transport.source import Resolver
from entrypoint.prepare.transport.tool import TOOL

_AT_ONCE = 8


def network_findings(catalog: Catalog, addresses: Addresses) -> list[Finding]:
    """One per host, found by asking for the first file that the catalogue has there."""
    first: dict[str, tuple[Artifact, str]] = {}
    for artifact in catalog.artifacts:
        for download in artifact.downloads:
            for url in download.urls:
                first.setdefault(urlsplit(url).hostname or url, (download, url))
    with Resolver(addresses, TOOL) as resolver, ThreadPoolExecutor(_AT_ONCE) as pool:
        asked = {host: pool.submit(_ask, resolver, host, *file) for host, file in first.items()}
        return [finding.result() for finding in asked.values()]


def _ask(resolver: Resolver, host: str, artifact: Artifact, url: str) -> Finding:
    check = f"host {host}"
    try:
        source = resolver.resolve(artifact, url)
    except UnreachableError as error:
        return fail(check, f"{url} {error}", "Check network and proxy (https_proxy), or use --mirror.")
    except RefusedError as error:
        return fail(check, f"{url} {error}", "Set HF_TOKEN where it is needed, or use another --catalog.")
    size = "unknown size" if source.size is None else console.size(source.size)
    via = "" if source.host == host else f", answered by {source.host}"
    return ok(check, f"gives {artifact.name} ({size}){via}")
