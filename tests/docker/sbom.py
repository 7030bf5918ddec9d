"""The SBOM as `docker/sbom.py` makes it, and the rules of SPDX 2.3 that it must keep."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[2] / "docker/sbom.py"

MANIFEST: dict[str, Any] = {
    "name": "libmoe",
    "version": "1.2.3",
    "revision": "0123456789abcdef0123456789abcdef01234567",
    "created": "2026-01-31T12:00:00Z",
    "python": "3.12.3",
    "system": {"id": "ubuntu", "version": "24.04"},
    "packages": [
        {"kind": "python", "name": "click", "version": "8.2", "sha256": "a" * 64, "license": "BSD-3-Clause"},
        {
            "kind": "python",
            "name": "Ruamel.Yaml_x",
            "version": "1.0+cpu",
            "sha256": "b" * 64,
            "license": None,
        },
        {
            "kind": "debian",
            "name": "libstdc++6",
            "version": "2:1.0~rc",
            "architecture": "amd64",
            "sha256": None,
        },
    ],
}


def sbom(manifest: dict[str, Any]) -> dict[str, Any]:
    """Made by the script itself."""
    command = [sys.executable, SCRIPT]
    done = subprocess.run(command, input=json.dumps(manifest), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def broken_rules(document: dict[str, Any]) -> list[str]:
    """What SPDX 2.3 forbids or misses (its chapters 6 to 11), in a document of packages."""
    broken = [
        key for key in ("name", "dataLicense", "creationInfo", "documentNamespace") if key not in document
    ]
    broken += (
        [] if document["spdxVersion"] == "SPDX-2.3" and document["dataLicense"] == "CC0-1.0" else ["version"]
    )
    broken += [] if re.fullmatch(r"https://[^#]+", document["documentNamespace"]) else ["namespace"]
    broken += (
        []
        if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["creationInfo"]["created"])
        else ["time"]
    )
    broken += [
        one
        for one in document["creationInfo"]["creators"]
        if not re.match("Tool: |Person: |Organization: ", one)
    ]
    identifiers = [document["SPDXID"], *(package["SPDXID"] for package in document["packages"])]
    broken += [one for one in identifiers if not re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", one)]
    broken += [] if len(set(identifiers)) == len(identifiers) else ["an identifier twice"]
    for package in document["packages"]:
        broken += [
            f"{package['SPDXID']} {key}" for key in ("name", "downloadLocation") if not package.get(key)
        ]
        broken += [
            f"{package['SPDXID']} checksum"
            for one in package.get("checksums", [])
            if one["algorithm"] != "SHA256" or not re.fullmatch("[0-9a-f]{64}", one["checksumValue"])
        ]
    ends = {
        link[end] for link in document["relationships"] for end in ("spdxElementId", "relatedSpdxElement")
    }
    broken += [f"{one} is related to nothing" for one in set(identifiers) - ends]
    return broken + [f"{one} is nowhere" for one in ends - set(identifiers)]
