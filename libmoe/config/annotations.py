"""The annotation index: what `prepare` writes and a loader worker maps into memory.

An Arrow IPC file, uncompressed, one row a LLaVA row:

* ``id``: the row's own id as a string (its number where the row has none);
* ``images``: paths relative to the volume's root, empty for a row of text alone;
* ``conversations``: the turns in order, each who speaks and what is said.

The schema's metadata says which annotations these are; see the ``META_`` keys.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from libmoe.config.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

ID = "id"
IMAGES = "images"
CONVERSATIONS = "conversations"
FROM = "from"
VALUE = "value"

ROLES = ("human", "gpt")
"""Who may speak in a conversation."""

META_ANNOTATIONS = b"annotations"
"""Name of the annotation artifact."""
META_SHA256 = b"sha256"
"""Of the JSON file that was indexed."""
META_IMAGE_ROOT = b"image_root"
"""What was put before every row's image."""
META_ROWS = b"rows"
"""Number of rows, in decimal."""


def index_schema(metadata: Mapping[bytes, bytes] | None = None) -> "pa.Schema":
    """The columns of an index, with what its metadata says."""
    import pyarrow as pa

    turn = pa.struct([(FROM, pa.string()), (VALUE, pa.string())])
    columns = [(ID, pa.string()), (IMAGES, pa.list_(pa.string())), (CONVERSATIONS, pa.list_(turn))]
    return pa.schema(columns, metadata=dict(metadata) if metadata else None)


def open_index(index: Path) -> "pa.Table":
    """Maps an index into memory; what its schema's metadata says is there, too.

    Raises:
        DataError: it is missing or cannot be read.
    """
    import pyarrow as pa

    try:
        return pa.ipc.open_file(pa.memory_map(str(index))).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            f"The index {index} cannot be read ({error}): delete it and run `libmoe prepare` again."
        ) from error
