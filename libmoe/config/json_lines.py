"""Files of JSON, an object a line, which a run appends to and a kill may cut short."""

import json
from pathlib import Path
from typing import Any


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects, in order; without lines that are damaged, and empty where there is no file."""
    if not path.is_file():
        return []
    read = map(_object, path.read_text(errors="replace").split("\n"))  # splitlines knows more ends than JSON
    return [one for one in read if one is not None]


def _object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
