"""LLaVA's JSON, row by row: a list of ``{"id", "image", "conversations": [{"from", "value"}]}``."""

import posixpath
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from libmoe.config.annotations import CONVERSATIONS, FROM, ID, IMAGES, ROLES, VALUE
from libmoe.config.errors import DataError

Row = dict[str, Any]
Place = Callable[[str], str]


def below(roots: Sequence[str], has: Callable[[str], bool]) -> Place:
    """Puts a root before an image: the first below which it is there, or else the first of all."""
    if len(roots) == 1:
        return lambda image: _join(roots[0], image)

    def place(image: str) -> str:
        paths = [_join(root, image) for root in roots]
        return next((path for path in paths if has(path)), paths[0])

    return place


def read_rows(file: BinaryIO, name: str, place: Place) -> Iterator[Row]:
    """The rows as the index has them, read with bounded memory.

    Args:
        name: of the file, for messages.
        place: where a row's image is on the volume.

    Raises:
        DataError: names the file, the row and what is wrong with it.
    """
    import ijson

    number = 0
    try:
        for number, row in enumerate(ijson.items(file, "item", use_float=True), start=1):
            yield _row(row, number, name, place)
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise DataError(
            f"{name} is not complete, valid JSON after row {number} ({error}): run the same command again, "
            "which fetches it again; if that fails too, its source is bad."
        ) from error
    if number == 0:
        raise DataError(f"{name} is not LLaVA's JSON: it is not a list of rows, or it is empty.")


def _row(row: Any, number: int, name: str, place: Place) -> Row:
    try:
        if not isinstance(row, dict):
            raise ValueError("it is not an object")
        return {
            ID: str(row.get("id", number)),
            IMAGES: [_image(image, place) for image in _images(row.get("image"))],
            CONVERSATIONS: _turns(row.get("conversations")),
        }
    except ValueError as error:
        called = f" (id {row['id']!r})" if isinstance(row, dict) and "id" in row else ""
        raise DataError(
            f"{name} is not LLaVA's JSON: row {number}{called}: {error}. "
            "Correct it at its source, or name another file in the catalogue."
        ) from error


def _join(root: str, image: str) -> str:
    return posixpath.normpath(posixpath.join(root, image))


def _images(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]


def _image(value: Any, place: Place) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"image {value!r} is not a path")
    path = place(value)
    if value.startswith("/") or path == ".." or path.startswith("../"):
        raise ValueError(f"image {value!r} leads outside the volume")
    return path


def _turns(value: Any) -> list[dict[str, str]]:
    if not isinstance(value, list) or not value:
        raise ValueError("conversations is missing or not a list of turns")
    return [_turn(turn) for turn in value]


def _turn(turn: Any) -> dict[str, str]:
    if not isinstance(turn, dict) or not isinstance(turn.get("value"), str):
        raise ValueError("a turn of the conversation has no text in 'value'")
    if turn.get("from") not in ROLES:
        raise ValueError(f"a turn is from {turn.get('from')!r}, not from {' or '.join(ROLES)}")
    return {FROM: turn["from"], VALUE: turn["value"]}
