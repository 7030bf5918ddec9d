"""Settings come in layers; a later layer wins, and every value remembers which layer it came from."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from libmoe.config.checks import check
from libmoe.config.errors import ConfigError, nearest
from libmoe.config.schema import RunConfig


@dataclass(frozen=True)
class Layer:
    """A partial, nested set of settings and the words that name its origin to a person."""

    origin: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Resolved:
    """A complete configuration; ``provenance`` maps each dotted key to its layer's origin."""

    config: RunConfig
    provenance: dict[str, str]

    def flat(self) -> dict[str, Any]:
        """Dotted key to value."""
        return flatten(self.config.model_dump(mode="json"))


def presets() -> list[str]:
    """Names of the presets that the package ships."""
    folder = resources.files("libmoe.config") / "presets"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml"))


def resolve(stage: str, preset: str, overrides: list[Layer]) -> Resolved:
    """Layers the stage's recipe, the preset and the overrides into one configuration.

    Raises:
        ConfigError: the preset or a setting is unknown, a value is out of range, or settings cannot go
            together; names the nearest, or what to change.
    """
    if preset not in presets():
        raise ConfigError(f"Unknown preset {preset!r}: {nearest(preset, presets())}")
    layers = [_packaged("recipe", "recipes", stage), *_preset_layers(preset, stage), *overrides]
    merged: dict[str, Any] = {"stage": stage, "preset": preset}
    provenance: dict[str, str] = {"stage": "command line", "preset": "command line"}
    for layer in layers:
        _check_keys(layer.values, RunConfig, layer.origin)
        _check_chosen(layer, stage=stage, preset=preset)
        _merge(merged, layer, layer.values, provenance, "")
    try:
        config = RunConfig.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_first_problem(error, provenance)) from error
    check(config)
    for key in flatten(config.model_dump(mode="json")):
        provenance.setdefault(key, "default")
    return Resolved(config, dict(sorted(provenance.items())))


def read_toml_layer(path: Path, origin: str) -> Layer:
    """A user's settings file.

    Raises:
        ConfigError: the file is missing or is not TOML.
    """
    try:
        return Layer(origin, tomllib.loads(path.read_text()))
    except OSError as error:
        raise ConfigError(f"Cannot read the settings file {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The settings file {path} is not valid TOML: {error}.") from error


def assignment_layer(assignment: str, given_by: str = "--set") -> Layer:
    """``train.learning_rate=1e-4`` to a layer; the value is TOML, or else a plain string.

    Raises:
        ConfigError: there is no ``=`` or no key.
    """
    key, separator, text = assignment.partition("=")
    if not separator or not key.strip():
        raise ConfigError(
            f"{given_by} wants key=value, as in --set train.learning_rate=1e-4; got {assignment!r}."
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    nested: Any = value
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return Layer(f"{given_by} {key.strip()}", nested)


def _packaged(kind: str, folder: str, name: str) -> Layer:
    text = (resources.files("libmoe.config") / folder / f"{name}.toml").read_text()
    return Layer(f"{kind} {name}", tomllib.loads(text))


def _preset_layers(preset: str, stage: str) -> list[Layer]:
    """A preset's common part, then what it says of this stage."""
    layer = _packaged("preset", "presets", preset)
    values = dict(layer.values)
    stages = values.pop("stages", {})
    return [Layer(layer.origin, values), Layer(layer.origin, stages.get(stage, {}))]


def _check_keys(values: Mapping[str, Any], model: type[BaseModel], origin: str, prefix: str = "") -> None:
    for key, value in values.items():
        if key not in model.model_fields:
            raise ConfigError(f"Unknown setting {prefix + key!r} ({origin}): {_meant(key, model)}")
        inner = _submodel(model.model_fields[key].annotation)
        if inner is None:
            continue
        if not isinstance(value, Mapping):
            raise ConfigError(f"Setting {prefix + key!r} ({origin}) holds several settings; set one of them.")
        _check_keys(value, inner, origin, f"{prefix}{key}.")


def _meant(key: str, model: type[BaseModel]) -> str:
    """Advice about a name that ``model`` does not have: another part of the settings may."""
    elsewhere = [name for name in _names(RunConfig) if name.rpartition(".")[2] == key]
    if elsewhere:
        return f"did you mean {' or '.join(map(repr, elsewhere))}?"
    return nearest(key, model.model_fields)


def _names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for key, field in model.model_fields.items():
        inner = _submodel(field.annotation)
        if inner is None:
            yield prefix + key
        else:
            yield from _names(inner, f"{prefix}{key}.")


def _check_chosen(layer: Layer, **chosen: str) -> None:
    """What decides which files are read cannot be said in one of them."""
    for key, value in chosen.items():
        if layer.values.get(key, value) != value:
            raise ConfigError(
                f"Setting {key!r} ({layer.origin}) is {layer.values[key]!r}, but {value} was chosen: "
                f"give it with --{key}."
            )


def _submodel(annotation: Any) -> type[BaseModel] | None:
    candidates = [annotation, *get_args(annotation)]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _merge(
    into: dict[str, Any],
    layer: Layer,
    values: Mapping[str, Any],
    provenance: dict[str, str],
    prefix: str,
) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping):
            _merge(into.setdefault(key, {}), layer, value, provenance, f"{prefix}{key}.")
        else:
            into[key] = value
            provenance[prefix + key] = layer.origin


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings to dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _first_problem(error: ValidationError, provenance: Mapping[str, str]) -> str:
    problem = error.errors()[0]
    parts = [str(part) for part in problem["loc"]]
    key = ".".join(parts)
    if problem["type"] == "missing":
        return f"Setting {key!r} has no value: give it with --set {key}=... or in --config."
    message = problem["msg"].removeprefix("Value error, ")
    if isinstance(problem["input"], Mapping):  # settings that do not fit each other
        return f"Setting {key!r} is wrong: {message}."
    whole = ".".join(part for part in parts if not part.isdigit())  # an entry of a list came with the list
    came_from = f" (from {provenance[whole]})" if whole in provenance else ""
    return f"Setting {key!r}{came_from} is wrong: {message}; got {problem['input']!r}."
