"""Annotations (LLaVA's JSON) to the Arrow file that loader workers map into memory."""

import itertools
import posixpath
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from entrypoint.catalog.schema import Artifact
from entrypoint.prepare.annotations.llava import Row, below, read_rows
from entrypoint.prepare.events import Emit, Progress
from entrypoint.prepare.listing import Listing
from entrypoint.volume import Volume
from libmoe.config.annotations import (
    IMAGES,
    META_ANNOTATIONS,
    META_IMAGE_ROOT,
    META_ROWS,
    META_SHA256,
    index_schema,
)
from libmoe.config.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 4096
_SAMPLE_ROWS = 1000


def is_current(artifact: Artifact, volume: Volume, sha256: str) -> bool:
    """Whether the index on the volume was made from this JSON, in this way."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(volume.index_path(artifact.name))) as source:
            metadata = pa.ipc.open_file(source).schema.metadata
    except (FileNotFoundError, pa.ArrowInvalid):
        return False
    described = _describe(artifact, sha256)
    return all((metadata or {}).get(key) == value for key, value in described.items())


def misplaced(artifact: Artifact, volume: Volume, listing: Listing) -> bool:
    """Whether images that the index has below one of its roots are now below another: they came after it."""
    if len(artifact.roots) == 1:
        return False
    for path in _sample(volume, artifact.name):
        if listing.has(path):
            continue
        images = [path.removeprefix(f"{root}/") for root in artifact.roots if path.startswith(f"{root}/")]
        places = [posixpath.join(root, image) for image in [*images, path] for root in artifact.roots]
        if any(listing.has(place) for place in places):
            return True
    return False


def image_column(volume: Volume, annotations: str) -> "pa.ChunkedArray":
    """The images of each row, as paths relative to the volume.

    Raises:
        FileNotFoundError: there is no index.
        ValueError: it is damaged.
    """
    import pyarrow as pa

    with pa.memory_map(str(volume.index_path(annotations))) as source:
        return pa.ipc.open_file(source).read_all().column(IMAGES)


def _sample(volume: Volume, annotations: str) -> Iterator[str]:
    """Images of rows all over the index."""
    column = image_column(volume, annotations)
    for row in range(0, len(column), max(1, len(column) // _SAMPLE_ROWS)):
        yield from column[row].as_py()


def ensure_index(artifact: Artifact, volume: Volume, emit: Emit) -> None:
    """Makes the index of annotations that are in place, unless it is up to date.

    Raises:
        DataError: they are not what was verified once; their receipt is dropped, so that they come again.
    """
    receipt = volume.receipt(artifact.name)
    if receipt is None:
        return
    current = is_current(artifact, volume, receipt.sha256)
    if current and not misplaced(artifact, volume, Listing(volume.root)):
        return
    path, tell = volume.path(artifact.destination), rows_done(artifact.name, emit)
    try:
        build_index(artifact, volume, path, receipt.sha256, tell)
    except DataError:
        volume.receipt_path(artifact.name).unlink()
        raise


def rows_done(name: str, emit: Emit) -> Callable[[int], None]:
    """What `build_index` tells of its progress, as events about an artifact."""
    return lambda rows: emit(Progress(name, "index", rows, None))


def build_index(
    artifact: Artifact, volume: Volume, json_path: Path, sha256: str, progress: Callable[[int], None]
) -> int:
    """Writes the index of a JSON file, whole or not at all, with bounded memory; the number of rows.

    Args:
        json_path: where the JSON is now.
        progress: called with the rows done so far.

    Raises:
        DataError: it is not LLaVA's JSON; names the row.
    """
    final = volume.index_path(artifact.name)
    final.parent.mkdir(parents=True, exist_ok=True)
    draft, whole = final.with_suffix(".draft"), final.with_suffix(".whole")
    try:
        with json_path.open("rb") as file:
            place = below(artifact.roots, Listing(volume.root).has)
            rows = read_rows(file, artifact.destination, place)
            count = _write_rows(draft, rows, progress)
        _with_metadata(draft, whole, {**_describe(artifact, sha256), META_ROWS: str(count).encode()})
        whole.replace(final)
    finally:
        draft.unlink(missing_ok=True)
        whole.unlink(missing_ok=True)
    return count


def _describe(artifact: Artifact, sha256: str) -> dict[bytes, bytes]:
    return {
        META_ANNOTATIONS: artifact.name.encode(),
        META_SHA256: sha256.encode(),
        META_IMAGE_ROOT: "\n".join(artifact.roots).encode(),
    }


def _write_rows(path: Path, rows: Iterable[Row], progress: Callable[[int], None]) -> int:
    import pyarrow as pa

    schema, count = index_schema(), 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in _batches(rows):
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
            count += len(batch)
            progress(count)
    return count


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    remaining = iter(rows)
    while batch := list(itertools.islice(remaining, _BATCH_ROWS)):
        yield batch


def _with_metadata(draft: Path, whole: Path, metadata: dict[bytes, bytes]) -> None:
    """The number of rows is known last and stands first, so the batches are copied once."""
    import pyarrow as pa

    schema = index_schema(metadata)
    with (
        pa.memory_map(str(draft)) as source,
        pa.OSFile(str(whole), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            writer.write_batch(_relabel(reader.get_batch(number), schema))


def _relabel(batch: "pa.RecordBatch", schema: "pa.Schema") -> "pa.RecordBatch":
    return batch.replace_schema_metadata(schema.metadata)
