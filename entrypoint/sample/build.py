"""Write the sample as a tree that a web server can offer, and the catalogue that lists it.

``python -m entrypoint.sample.build FOLDER`` writes the tree; with ``--catalog`` instead of a folder, the
checked-in catalogue.
"""

import argparse
import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from entrypoint.sample.album import ALBUM, HERE
from entrypoint.sample.artifacts import Artifact, artifacts
from libmoe.config.errors import VolumeError

CATALOG = HERE.parent / "catalog" / "sample.toml"
HEADER = "# Written by `python -m entrypoint.sample.build --catalog`: change the sample, not this file.\n\n"


def build(root: Path) -> None:
    """Write every artifact to ``<root>/<host>/<path of its URL>``.

    The bytes are the same every time. A file appears under its name only when it is whole, and one that is
    already right is left alone, so that this may run again, or twice at once.

    Raises:
        VolumeError: ``root`` cannot be written.
    """
    for artifact in artifacts():
        target = root / artifact.url.partition("://")[2]
        try:
            _place(target, artifact.content)
        except OSError as error:
            raise VolumeError(
                f"The sample cannot be written to {root} ({error.strerror}): name another folder."
            ) from error


def catalogue() -> str:
    """The text of catalog/sample.toml, with the size and the sha256 of what ``build`` writes."""
    import tomli_w

    stages = {stage: [f"sample-{stage}-json"] for stage in ("pretrain", "pft", "sft")}
    content = {
        "catalog": {
            "name": "sample",
            "description": f"{len(ALBUM.photos)} real photographs, in the shape of the guide's datasets",
        },
        "stages": stages,
        "presets": {"tiny": {}},
        "artifact": [_entry(artifact) for artifact in artifacts()],
    }
    return HEADER + tomli_w.dumps(content)


def _entry(artifact: Artifact) -> dict[str, Any]:
    return {
        "name": artifact.name,
        "kind": artifact.kind,
        "urls": [artifact.url],
        "size": len(artifact.content),
        "sha256": hashlib.sha256(artifact.content).hexdigest(),
        "licence": artifact.licence,
        "destination": artifact.destination,
        **artifact.fields,
    }


def _place(target: Path, content: bytes) -> None:
    if target.is_file() and target.read_bytes() == content:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=target.parent, prefix=".partial-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(partial).chmod(0o644)
        Path(partial).replace(target)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("folder", nargs="?", type=Path, help="write the tree to be served here")
    what.add_argument("--catalog", action="store_true", help=f"write {CATALOG.name}")
    arguments = parser.parse_args()
    if arguments.catalog:
        CATALOG.write_text(catalogue(), encoding="utf-8")
        return
    try:
        build(arguments.folder)
    except VolumeError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
