"""Annotations without the rows that cannot be used, as a set of its own beside the original."""

import json
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath

from entrypoint.catalog.schema import Artifact
from entrypoint.digests import sha256_of
from entrypoint.prepare.annotations.index import build_index
from entrypoint.volume import Volume

SUFFIX = ".filtered"


def write_filtered(
    artifact: Artifact, volume: Volume, unusable_rows: Collection[int], tell: Callable[[int], None]
) -> tuple[str, Path]:
    """Writes ``jsons/<name>.filtered.json`` and its index, each whole or not at all.

    Args:
        unusable_rows: numbers, from 0, of the rows to leave out.
        tell: called with the rows done so far.

    Returns:
        The name under which a training finds it, and the file.
    """
    original = PurePosixPath(artifact.destination)
    kept = artifact.model_copy(
        update={
            "name": artifact.name + SUFFIX,
            "destination": str(original.with_name(original.stem + SUFFIX + original.suffix)),
        }
    )
    final = volume.path(kept.destination)
    draft = volume.annotations_draft(kept.name)
    draft.parent.mkdir(parents=True, exist_ok=True)
    try:
        _copy_rows(volume.path(artifact.destination), draft, frozenset(unusable_rows))
        build_index(kept, volume, draft, sha256_of(draft), tell)
        draft.replace(final)
    finally:
        draft.unlink(missing_ok=True)
    return kept.name, final


def _copy_rows(original: Path, copy: Path, without: frozenset[int]) -> None:
    import ijson

    with original.open("rb") as file, copy.open("w", encoding="utf-8") as out:
        separator = "[\n"
        for number, row in enumerate(ijson.items(file, "item", use_float=True)):
            if number not in without:
                out.write(separator + json.dumps(row, ensure_ascii=False))
                separator = ",\n"
        out.write("[]\n" if separator == "[\n" else "\n]\n")
