"""Prints the SBOM of an image, SPDX 2.3 in JSON, from its manifest on standard input.

The same manifest gives the same document: its time is the image's, its namespace the manifest's hash.
"""

import hashlib
import json
import re
import sys
from typing import Any
from urllib.parse import quote

NOTHING_SAID = {"downloadLocation": "NOASSERTION", "filesAnalyzed": False, "copyrightText": "NOASSERTION",
                "licenseConcluded": "NOASSERTION", "supplier": "NOASSERTION"}  # fmt: skip


def purl(package: dict[str, Any], system: dict[str, str]) -> str:
    """The package's address in the words of package-url."""
    name, version = quote(package["name"], safe=":"), quote(package["version"], safe=":")
    if package["kind"] == "python":
        return f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{version}"
    distro = f"{system['id']}-{system['version']}"
    return f"pkg:deb/{system['id']}/{name}@{version}?arch={package['architecture']}&distro={distro}"


def spdx_package(package: dict[str, Any], system: dict[str, str]) -> dict[str, Any]:
    """One package of the manifest in SPDX's words."""
    name = f"{package['kind']}-{package['name']}-{package.get('architecture', '')}".rstrip("-")
    locator = purl(package, system)
    reference = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": locator}
    made = {
        "SPDXID": "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", name),
        "name": package["name"],
        "versionInfo": package["version"],
        "licenseDeclared": package.get("license") or "NOASSERTION",
        "externalRefs": [reference],
    }
    if package["sha256"]:
        made["checksums"] = [{"algorithm": "SHA256", "checksumValue": package["sha256"]}]
    return made | NOTHING_SAID


def document(manifest: dict[str, Any]) -> dict[str, Any]:
    """The whole."""
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    name = f"{manifest['name']}-{manifest['version']}"
    image = {
        "SPDXID": "SPDXRef-image",
        "name": manifest["name"],
        "versionInfo": manifest["version"],
        "primaryPackagePurpose": "CONTAINER",
        "licenseDeclared": "Apache-2.0",
        "sourceInfo": f"revision {manifest['revision']}",
    } | NOTHING_SAID
    packages = [spdx_package(package, manifest["system"]) for package in manifest["packages"]]
    contains = [("SPDXRef-image", "CONTAINS", package["SPDXID"]) for package in packages]
    links = [("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image"), *contains]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://spdx.org/spdxdocs/{name}-{digest}",
        "creationInfo": {"created": manifest["created"], "creators": ["Tool: libmoe-docker-sbom.py"]},
        "packages": [image, *packages],
        "relationships": [
            {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
            for one, kind, other in links
        ],
    }


def main() -> None:
    """Standard input to standard output."""
    json.dump(document(json.load(sys.stdin)), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
