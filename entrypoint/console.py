"""How anything reaches a person: rich on a terminal, plain lines in a log, JSON on request.

Results go to stdout; progress, logs and errors go to stderr.
"""

import json
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

_NUMBER = re.compile(r"[\d.,]+( \S+)?|-")
_LOG_WIDTH = 1000  # a row is a line, so that a log can be searched


def say(line: str) -> None:
    """A line for a person or a log."""
    print(line, file=sys.stderr, flush=True)


def result(value: Any) -> None:
    """The command's result as JSON, the only thing on stdout."""
    print(json.dumps(value, indent=2, default=str), flush=True)


def on_terminal() -> bool:
    """Whether somebody watches: bars are drawn on a terminal, a log gets lines."""
    return sys.stderr.isatty()


def width() -> int:
    """Columns that a line of a result may have."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _LOG_WIDTH


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout; columns whose cells are all numbers or sizes are right-aligned."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    cells = [[str(cell) for cell in row] for row in rows]
    drawn = Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for position, column in enumerate(columns):
        numeric = bool(cells) and all(_NUMBER.fullmatch(row[position]) for row in cells)
        drawn.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        drawn.add_row(*(_literal(cell) for cell in row))
    Console(width=width(), highlight=False).print(drawn)


def progress() -> "Progress":
    """Live bars of bytes on stderr; use as a context manager, on a terminal only."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def size(count: float) -> str:
    """Bytes for a person, in binary units.

    >>> size(19336861798)
    '18.0 GiB'
    """
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"


def _literal(cell: str) -> str:
    from rich.markup import escape

    return escape(cell)
