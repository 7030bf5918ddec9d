"""Reads a catalogue: a built-in one by its name, or anybody's file."""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from entrypoint.catalog.schema import Catalog
from libmoe.config.errors import ConfigError, UsageError, nearest

DEFAULT = "guide"
_FOLDER = Path(__file__).parent
_WORDS = {
    "extra_forbidden": "is not a key of a catalogue",
    "missing": "is missing",
    "tuple_type": "must be a list",
    "model_type": "must be a table",
    "dict_type": "must be a table",
}
"""For what pydantic says in its own language."""


def load_catalog(name_or_path: str = DEFAULT) -> Catalog:
    """The catalogue of that name, or in that file.

    Raises:
        UsageError: there is no such catalogue.
        ConfigError: the file is not a catalogue; names the file and the key.
    """
    path = _locate(name_or_path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from error
    try:
        return Catalog.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first_problem(error, content)}.") from error


def _locate(name_or_path: str) -> Path:
    built_in = {path.stem: path for path in _FOLDER.glob("*.toml")}
    if name_or_path in built_in:
        return built_in[name_or_path]
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.suffix == ".toml" or "/" in name_or_path:
        raise UsageError(f"There is no catalogue file {path}: check the path given to --catalog.")
    raise UsageError(f"Unknown catalogue {name_or_path!r}: {nearest(name_or_path, built_in)}")


def _first_problem(error: ValidationError, content: dict[str, Any]) -> str:
    problem = error.errors(include_url=False)[0]
    message = _WORDS.get(problem["type"], problem["msg"].removeprefix("Value error, ").rstrip("."))
    key = _key(problem["loc"], content)
    return f"{key}: {message}" if key else message


def _key(location: tuple[int | str, ...], content: dict[str, Any]) -> str:
    """``("artifact", 3, "sha256")`` as ``artifact 'coco', key 'sha256'``."""
    if len(location) >= 2 and location[0] == "artifact" and isinstance(location[1], int):
        entry = content["artifact"][location[1]]
        name = entry.get("name") if isinstance(entry, dict) else None
        label = f"artifact {name!r}" if name else f"artifact number {location[1] + 1}"
        rest = ".".join(str(part) for part in location[2:])
        return f"{label}, key {rest!r}" if rest else label
    return f"key {'.'.join(str(part) for part in location)!r}" if location else ""
