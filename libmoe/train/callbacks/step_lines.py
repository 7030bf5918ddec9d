"""A file of JSON lines, each of one step, that a resumed run continues exactly."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from libmoe.config.json_lines import read_json_lines
from libmoe.config.whole_files import write_whole


class StepLines:
    """Appends to the file of the run; what lies behind ``start`` (the step resumed from) is dropped."""

    def __init__(self, path: Path, start: int) -> None:
        kept = [line for line in read_json_lines(path) if line.get("step", math.inf) <= start]
        write_whole(path, "".join(map(_line, kept)))
        self._file = path.open("a", buffering=1)

    def write(self, line: Mapping[str, Any]) -> None:
        """Adds a line, which has a ``step``; floats are written so that they read back exactly."""
        self._file.write(_line(line))

    def close(self) -> None:
        """No more lines follow."""
        self._file.close()


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, allow_nan=False) + "\n"
