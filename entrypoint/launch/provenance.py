"""What a run was made with: versions and hardware for ``run.json``."""

import os
import platform
from importlib import metadata

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


def hardware(devices: tuple[str, ...]) -> dict[str, str]:
    """The machine in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "devices": "; ".join(devices),
        "machine": platform.machine(),
        "system": platform.system() + " " + platform.release(),
        "memory_bytes": str(memory),
    }
