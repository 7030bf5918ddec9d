"""The programs and packages that runs use: there, and of the versions that were locked."""

import re
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata

from entrypoint.doctor.finding import Finding, fail, ok, warn
from entrypoint.prepare.transport.daemon import find_aria2c
from libmoe.config.errors import ConfigError

_NAME = re.compile(r"^[A-Za-z0-9._-]+")


def software_findings() -> list[Finding]:
    """Python, aria2c, and every package that libmoe names."""
    return [_python(), _aria2(), _packages()]


def packages() -> list[dict[str, str]]:
    """Name and version of every package of this environment, by name."""
    found = {
        dist.metadata["Name"]: {"name": dist.metadata["Name"], "version": dist.version}
        for dist in metadata.distributions()
    }
    return [found[name] for name in sorted(found, key=str.lower)]


def _python() -> Finding:
    version = sys.version.split()[0]
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        return ok("python", version)
    return fail("python", version, "Use Python 3.11 or 3.12; the locked packages are made for these.")


def _aria2() -> Finding:
    try:
        program = find_aria2c()
    except ConfigError as error:
        return fail("aria2", "there is no aria2c", str(error))
    told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30)
    first = told.stdout.partition("\n")[0]
    if told.returncode or not first.startswith("aria2 version"):
        return fail("aria2", f"{program} does not start", "Install it again: apt-get install aria2.")
    return ok("aria2", first.removeprefix("aria2 version "))


def _packages() -> Finding:
    try:
        needed = metadata.requires("libmoe") or []
    except metadata.PackageNotFoundError:
        return warn("packages", "libmoe itself is not installed", "Install it: make setup, or use the image.")
    missing = sorted(_missing(needed))
    if missing:
        return fail("packages", f"missing: {', '.join(missing)}", "Install the locked ones: make setup.")
    return ok("packages", f"all {len(packages())} are there, torch {metadata.version('torch')}")


def _missing(requirements: Iterable[str]) -> Iterable[str]:
    for requirement in requirements:
        name = _NAME.match(requirement)
        if name is None or "extra ==" in requirement:
            continue
        try:
            metadata.version(name[0])
        except metadata.PackageNotFoundError:
            yield name[0]
