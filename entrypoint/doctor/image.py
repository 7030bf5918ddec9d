"""What the image says of itself: the manifest and SBOM that its build wrote, and whether they still hold."""

import hashlib
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from entrypoint.doctor.finding import Finding, ok, warn

FOLDER = Path(sys.prefix) / "share" / "libmoe"


def manifest(folder: Path = FOLDER) -> dict[str, Any] | None:
    """Every package of the image with version and hash; None outside an image."""
    path = folder / "manifest.json"
    return json.loads(path.read_text()) if path.is_file() else None


def sbom(folder: Path = FOLDER) -> dict[str, Any] | None:
    """Where the image's SBOM lies and what it is; None outside an image."""
    path = folder / "sbom.spdx.json"
    if not path.is_file():
        return None
    content = path.read_bytes()
    document = json.loads(content)
    return {
        "path": str(path),
        "format": document["spdxVersion"],
        "namespace": document["documentNamespace"],
        "packages": len(document["packages"]),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def image_findings(folder: Path = FOLDER) -> list[Finding]:
    """One: whether the Python packages are still those that the image was built with."""
    told = manifest(folder)
    if told is None:
        return [ok("image", "none: this environment has no manifest and no SBOM")]
    written = {one["name"]: one["version"] for one in told["packages"] if one["kind"] == "python"}
    found = {one.metadata["Name"]: one.version for one in metadata.distributions()}
    if changed := sorted(name for name, _ in written.items() ^ found.items()):
        names = ", ".join(dict.fromkeys(changed))
        return [
            warn("image", f"packages differ from those it was built with: {names}", "Use an unchanged image.")
        ]
    revision = told["revision"][:12] or "an unknown revision"
    return [ok("image", f"libmoe {told['version']} of {revision}, {len(told['packages'])} packages as built")]
