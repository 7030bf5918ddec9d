"""What a run was made with, for ``run.json``: versions, code, hardware."""

import hashlib
import os
import platform
from importlib import metadata
from pathlib import Path

from libmoe.config.schema import RunConfig

PACKAGES = ("libmoe", "torch", "deepspeed", "transformers", "accelerate", "tokenizers", "pillow", "numpy")


def versions() -> dict[str, str]:
    """Python and the packages whose version can change a result; packages that are absent are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def code(config: RunConfig) -> dict[str, str]:
    """Hashes of our source, of all installed packages' versions, of the settings; an image's revision."""
    installed = sorted(f"{one.metadata['Name']}=={one.version}\n" for one in metadata.distributions())
    found = {
        "source_sha256": _source_hash(),
        "packages_sha256": hashlib.sha256("".join(installed).encode()).hexdigest(),
        "settings_sha256": hashlib.sha256(config.model_dump_json().encode()).hexdigest(),
    }
    revision = os.environ.get("LIBMOE_REVISION")
    return {**found, "image_revision": revision} if revision else found


def _source_hash() -> str:
    """Covers names and contents of every module and data file that decides what a run does."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for package in ("entrypoint", "libmoe"):
        for path in sorted((root / package).rglob("*")):
            if path.suffix in (".py", ".toml"):
                digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def hardware(devices: tuple[str, ...]) -> dict[str, str]:
    """The machine in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "devices": "; ".join(devices),
        "machine": platform.machine(),
        "system": platform.system() + " " + platform.release(),
        "memory_bytes": str(memory),
    }
