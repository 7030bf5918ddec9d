"""The transformers configurations of tower and language model, and the models made of them."""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from libmoe.config.errors import ConfigError, nearest
from libmoe.config.schema import BackboneConfig
from libmoe.model.json_files import read_json

_NOT_ARCHITECTURE = (
    "architectures",
    "auto_map",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "_name_or_path",
)

_OF_THE_WEIGHTS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "num_channels",
    "image_size",
    "patch_size",
    "num_patches",
    "hidden_act",
    "tie_word_embeddings",
)
"""What weights were trained with. Other settings, such as the scaling of positions, may be chosen anew."""

_A_SLIP = 0.85
"""Names more alike than this differ by a letter or two; different settings of transformers do not."""


def backbone_config(
    settings: BackboneConfig, shipped: Mapping[str, Any], origin: str = "its weights"
) -> PreTrainedConfig:
    """What the weights' own ``config.json`` says (such as its position scaling), then what the settings say.

    Args:
        shipped: the ``config.json`` of the weights, or of the composite model that contains the backbone;
            empty where there is none.
        origin: names the weights in errors.

    Raises:
        ConfigError: the model type or a setting is unknown, has an impossible value, or is not the weights'
            own.
    """
    model_type = str(settings.config.get("model_type"))
    own = _architecture(_own_part(shipped, model_type, origin))
    made = make_config(model_type, {**own, **_architecture(settings.config)})
    _check_names(settings.config, make_config(model_type, {}))
    if shipped:
        _check_fit(settings.config, made, make_config(model_type, own), origin)
    return made


def build_backbone(config: PreTrainedConfig, part: Literal["vision", "language"]) -> PreTrainedModel:
    """transformers' model of a configuration.

    Raises:
        ConfigError: it makes none of these values.
    """
    try:
        return AutoModel.from_config(config)
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"transformers makes no {config.model_type!r} of the {part} part's configuration "
            f"({reason(error)}): correct it."
        ) from error


def shipped_config(folder: Path | None) -> dict[str, Any]:
    """The ``config.json`` in a folder of weights; empty where there is none.

    Raises:
        ConfigError: it cannot be read.
        DataError: it is damaged.
    """
    path = folder / "config.json" if folder is not None else None
    return read_json(path) if path is not None and path.is_file() else {}


def _architecture(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in (*_NOT_ARCHITECTURE, "model_type")}


def make_config(model_type: str, values: Mapping[str, Any]) -> PreTrainedConfig:
    """transformers' configuration of a type.

    Raises:
        ConfigError: there is no such type, or it does not take these values.
    """
    if model_type not in CONFIG_MAPPING:
        known = nearest(model_type, CONFIG_MAPPING)
        raise ConfigError(f"transformers has no model_type {model_type!r}: {known}")
    try:
        return AutoConfig.for_model(model_type, **values)
    except (StrictDataclassError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"transformers makes no {model_type!r} of such a configuration ({reason(error)}): correct it."
        ) from error


def reason(error: Exception) -> str:
    """The sentence of transformers' message that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    strict = isinstance(error, StrictDataclassError)  # whose last line holds the error itself
    line = lines[-1] if strict else f"{type(error).__name__}: {lines[0]}"
    return line.partition(". ")[0]


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


def _check_fit(given: Mapping[str, Any], made: PreTrainedConfig, own: PreTrainedConfig, origin: str) -> None:
    """Shapes alone may not tell: another number of heads, or another activation, leaves them as they are."""
    for name in _OF_THE_WEIGHTS:
        theirs, ours = getattr(own, name, None), getattr(made, name, None)
        if name in given and theirs is not None and theirs != ours:
            raise _other(name, theirs, ours, origin)


def _own_part(shipped: Mapping[str, Any], model_type: str, origin: str) -> Mapping[str, Any]:
    parts = [shipped, shipped.get("vision_config") or {}, shipped.get("text_config") or {}]
    for part in parts:
        if not shipped or part.get("model_type") == model_type:
            return part
    there = [str(part["model_type"]) for part in parts if "model_type" in part]
    raise _other("model_type", " and ".join(there[1:] or there), model_type, origin)


def _other(name: str, theirs: object, ours: object, origin: str) -> ConfigError:
    return ConfigError(
        f"{name} is {json.dumps(theirs)} in {origin}, but {json.dumps(ours)} in the settings: "
        "correct the settings, or choose other weights."
    )
