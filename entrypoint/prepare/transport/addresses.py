"""Where an artifact's URL is really asked: at its host, at a mirror, or at another endpoint of the hub."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from libmoe.config.errors import UsageError

HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Addresses:
    """How URLs are rewritten, and who may see the hub's token."""

    mirror: str | None = None
    endpoint: str | None = None
    token: str | None = None

    def __post_init__(self) -> None:
        if self.mirror and urlsplit(self.mirror).scheme not in ("http", "https", "file"):
            raise UsageError(
                f"--mirror {self.mirror!r} is not an address: it has to start with http://, https:// or file://."
            )

    def rewrite(self, url: str) -> str:
        """``https://host/path`` as ``MIRROR/host/path``; the hub's own URLs at its endpoint."""
        if self.mirror:
            return f"{self.mirror.rstrip('/')}/{url.partition('://')[2]}"
        if self.endpoint and url.startswith(HUB + "/"):
            return self.endpoint.rstrip("/") + url.removeprefix(HUB)
        return url

    def headers(self, address: str) -> dict[str, str]:
        """What goes along with a request: the token, to the hub and to nobody else."""
        if self.token and not self.mirror and _origin(address) == _origin(self.endpoint or HUB):
            return {"Authorization": f"Bearer {self.token}"}
        return {}


def on_the_web(address: str) -> bool:
    """Whether it names a host to be asked over HTTP, in a way that aria2 takes."""
    try:
        parts = urlsplit(address)
        complete = parts.port != 0 and not parts.netloc.endswith(":")
    except ValueError:  # no closing bracket, or a port that is not a number
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and complete


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
