"""The transformers configurations of tower and language model."""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from libmoe.config.errors import ConfigError
from libmoe.config.schema import BackboneConfig

_NOT_ARCHITECTURE = (
    "architectures",
    "auto_map",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "_name_or_path",
)

_A_SLIP = 0.85
"""Names more alike than this differ by a letter or two; different settings of transformers do not."""


def backbone_config(settings: BackboneConfig, shipped: Mapping[str, Any]) -> PreTrainedConfig:
    """What the weights' own ``config.json`` says (such as its position scaling), then what the settings say.

    Args:
        shipped: the ``config.json`` of the weights, or of the composite model that contains the backbone;
            empty where there is none.

    Raises:
        ConfigError: the model type or a setting is unknown, or is not the weights' own.
    """
    model_type = settings.config.get("model_type")
    values = {**_own_part(shipped, model_type, settings.weights), **settings.config}
    kept = {key: value for key, value in values.items() if key not in (*_NOT_ARCHITECTURE, "model_type")}
    try:
        made = AutoConfig.for_model(model_type, **kept)
        _check_names(settings.config, AutoConfig.for_model(model_type))
        return made
    except ValueError as error:
        raise ConfigError(
            f"transformers cannot make a {model_type!r} configuration of the preset: {error}"
        ) from error


def shipped_config(folder: Path | None) -> dict[str, Any]:
    """The ``config.json`` in a folder of weights; empty where there is none."""
    path = folder / "config.json" if folder is not None else None
    return json.loads(path.read_text()) if path is not None and path.is_file() else {}


def _check_names(given: Mapping[str, Any], usual: PreTrainedConfig) -> None:
    """transformers keeps a name that it does not know, and nothing reads it: so a typing error is refused.

    Other unknown names are left over where a preset's backbone was exchanged for one of another type.
    """
    for name in given:
        meant = difflib.get_close_matches(name, usual.to_dict(), n=1, cutoff=_A_SLIP)
        if meant and not hasattr(usual, name):
            raise ConfigError(
                f"Unknown setting {name!r} of a {usual.model_type!r} configuration: "
                f"did you mean {meant[0]!r}?"
            )


def _own_part(shipped: Mapping[str, Any], model_type: str | None, weights: str | None) -> Mapping[str, Any]:
    if not shipped or shipped.get("model_type") == model_type:
        return shipped
    for key in ("vision_config", "text_config"):
        part = shipped.get(key, {})
        if part.get("model_type") == model_type:
            return part
    raise ConfigError(
        f"The weights {weights} are of model type {shipped.get('model_type')!r}, not {model_type!r}: "
        "correct the preset's model_type or weights."
    )
