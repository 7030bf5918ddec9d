"""Files of one JSON object each, as configurations of models are."""

import json
from pathlib import Path

from libmoe.config.errors import ConfigError, DataError


def read_json(path: Path) -> dict:
    """A JSON object.

    Raises:
        ConfigError: there is no such file, or it cannot be read.
        DataError: it is something else.
    """
    if not path.is_file():
        raise ConfigError(f"There is no {path}: give the folder of a checkpoint.")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged: fetch it again.") from error
