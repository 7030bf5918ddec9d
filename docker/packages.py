"""Prints the distribution's packages on this system as JSON, each with the hash of its archive.

The hashes are those of the indexes that apt has just fetched and whose signatures it has checked; a package
that the base brought and that the distribution no longer offers has none.
"""

import json
import platform
import subprocess
import sys
from collections.abc import Iterator

FIELDS = ("Package", "Version", "Architecture")


def output(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def installed() -> list[tuple[str, ...]]:
    """Name, version and architecture."""
    form = "${Package}\t${Version}\t${Architecture}\t${db:Status-Status}\n"
    rows = (line.split("\t") for line in output("dpkg-query", "--show", "--showformat", form).splitlines())
    return sorted(tuple(row[:3]) for row in rows if row[3] == "installed")


def offered() -> Iterator[tuple[tuple[str, ...], str]]:
    """Name, version and architecture, and the SHA-256, of every package in apt's indexes."""
    indexes = output("apt-get", "indextargets", "--format", "$(FILENAME)", "Created-By: Packages").split()
    if not indexes:
        sys.exit("packages.py: apt has no indexes; run apt-get update first.")
    for paragraph in output("/usr/lib/apt/apt-helper", "cat-file", *indexes).split("\n\n"):
        lines = (line.split(": ", 1) for line in paragraph.splitlines() if not line.startswith(" "))
        fields = {line[0]: line[1] for line in lines if len(line) == 2}
        if "SHA256" in fields:
            yield tuple(fields[name] for name in FIELDS), fields["SHA256"]


def main() -> None:
    """Joins both."""
    hashes = dict(offered())
    packages = [
        {"name": one[0], "version": one[1], "architecture": one[2], "sha256": hashes.get(one)}
        for one in installed()
    ]
    system = platform.freedesktop_os_release()
    json.dump({"id": system["ID"], "version": system["VERSION_ID"], "packages": packages}, sys.stdout)


if __name__ == "__main__":
    main()
