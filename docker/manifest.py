"""Prints the image's manifest: every package in it, its version and the hash of its archive.

    python3 docker/manifest.py SYSTEM REPORTS

SYSTEM is what packages.py printed, REPORTS a folder with what pip reported of each installation. Run by a
Python that finds the packages: older pips do not report licences.
"""

import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any


def python_packages(reports: Path) -> list[dict[str, Any]]:
    """What pip installed, by name."""
    installed = [item for path in reports.glob("*.json") for item in json.loads(path.read_text())["install"]]
    packages = []
    for item in installed:
        about = item["metadata"]
        packages.append(
            {
                "kind": "python",
                "name": about["name"],
                "version": about["version"],
                "sha256": item["download_info"]["archive_info"]["hash"].removeprefix("sha256="),
                "license": metadata.metadata(about["name"])["License-Expression"],
            }
        )
    return sorted(packages, key=lambda package: package["name"].lower())


def main() -> None:
    """Joins the two kinds."""
    system = json.loads(Path(sys.argv[1]).read_text())
    python = python_packages(Path(sys.argv[2]))
    debian = [{"kind": "debian", **package} for package in system.pop("packages")]
    manifest = {
        "name": "libmoe",
        "version": next(package["version"] for package in python if package["name"] == "libmoe"),
        "revision": os.environ.get("REVISION", ""),
        "created": os.environ["CREATED"],
        "python": platform.python_version(),
        "system": system,
        "packages": [*python, *debian],
    }
    json.dump(manifest, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
