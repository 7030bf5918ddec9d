"""The vision tower's own configuration, which upstream's files name and do not hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from libmoe.config.errors import ConfigError, DataError
from libmoe.config.layers import presets, resolve
from libmoe.model.backbones import make_config
from libmoe.model.json_files import read_json

MODEL_TYPES = ("siglip_vision_model", "clip_vision_model")
"""Towers that upstream has."""


@dataclass(frozen=True)
class Tower:
    """A vision tower: transformers' configuration with ``model_type``, and how it wants pixels."""

    values: Mapping[str, Any]
    image_mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    image_std: tuple[float, ...] = (0.5, 0.5, 0.5)

    def config(self) -> PreTrainedConfig:
        """The typed form.

        Raises:
            ConfigError: transformers does not take the values.
        """
        values = {key: value for key, value in self.values.items() if key != "model_type"}
        return make_config(self.values["model_type"], values)


def named_tower(name: str) -> Tower:
    """The tower of a preset whose weights have this name on the hub.

    Raises:
        ConfigError: no preset has it.
    """
    known = _preset_towers()
    if name not in known:
        raise ConfigError(
            f"The tower {name!r} is none of a preset's ({', '.join(sorted(known))}): give --tower the folder "
            "that holds its config.json."
        )
    return known[name]


def tower_in(folder: Path) -> Tower:
    """The tower whose weights a folder holds, alone or as the vision part of a whole SigLIP or CLIP.

    Raises:
        ConfigError: the folder holds no configuration of one.
        DataError: a file of it is damaged.
    """
    shipped = read_json(folder / "config.json")
    for values in (shipped, shipped.get("vision_config")):
        if isinstance(values, dict) and values.get("model_type") in MODEL_TYPES:
            return Tower(values, **_pixels(folder))
    raise ConfigError(f"{folder} has no config.json of a SigLIP or CLIP tower: check --tower.")


def tower_name(config: PreTrainedConfig) -> str:
    """The hub's name of the preset's tower that has this shape.

    Raises:
        ConfigError: no preset has it.
    """
    for name, tower in _preset_towers().items():
        if all(getattr(config, key, None) == value for key, value in tower.values.items()):
            return name
    raise ConfigError("No preset has a tower of this model's shape: name it with --tower, as google/siglip-…")


def _preset_towers() -> dict[str, Tower]:
    found = {}
    for preset in presets():
        model = resolve("pft", preset, []).config.model
        if model.vision.weights:
            found[model.vision.weights] = Tower(model.vision.config, model.image_mean, model.image_std)
    return found


def _pixels(folder: Path) -> dict[str, tuple[float, ...]]:
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return {}
    values = read_json(path)
    colours = {key: values[key] for key in ("image_mean", "image_std") if key in values}
    for key, value in colours.items():
        if not _is_colour(value) or (key == "image_std" and min(value) <= 0):
            raise DataError(f"{path} says {key} = {value!r}: write three numbers, as [0.5, 0.5, 0.5].")
    return {key: tuple(value) for key, value in colours.items()}


def _is_colour(value: object) -> bool:
    return (
        isinstance(value, list) and len(value) == 3 and all(isinstance(part, int | float) for part in value)
    )
