"""What we call ourselves, to servers and in receipts."""

from importlib import metadata


def _version() -> str:
    try:
        return metadata.version("libmoe")
    except metadata.PackageNotFoundError:
        return "source"


TOOL = f"libmoe/{_version()}"
