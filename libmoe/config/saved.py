"""What a saved model says of itself, known without torch."""

import json
from pathlib import Path
from typing import Any

from libmoe.config.errors import ConfigError

MODEL_TYPE = "libmoe_llava"
_CONFIG = "config.json"


def has_model(folder: Path) -> bool:
    """Whether a model was saved there; a model folder gets its name when it is whole."""
    return (folder / _CONFIG).is_file()


def saved_values(folder: Path) -> dict[str, Any]:
    """The content of a saved model's config.json.

    Raises:
        ConfigError: there is none, or it is not libmoe's.
    """
    path = folder / _CONFIG
    if not has_model(folder):
        raise ConfigError(
            f"There is no checkpoint in {folder}: give the folder that holds config.json, as RUN/model."
        )
    try:
        values = dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path} is no model configuration: give a folder that libmoe saved.") from error
    if values.get("model_type") != MODEL_TYPE:
        raise ConfigError(
            f"{folder} holds a {values.get('model_type')!r} model, not {MODEL_TYPE!r}: "
            "give a folder that libmoe saved."
        )
    return values
