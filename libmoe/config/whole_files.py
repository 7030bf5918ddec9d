"""Files that are there whole or not at all, whenever their writer is killed."""

import uuid
from pathlib import Path


def write_whole(path: Path, text: str) -> Path:
    """Writes beside ``path``, whose folder is there, and renames; many may do so at once, the last one wins.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    draft.write_text(text, encoding="utf-8")
    return draft.replace(path)
