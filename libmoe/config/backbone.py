"""What the sizes of a transformer have to be, whatever its family: said before anything is built."""

from typing import Annotated, Any

from pydantic import AfterValidator

_SIZES = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "num_channels",
    "num_patches",
    "image_size",
    "patch_size",
    "vocab_size",
    "head_dim",
)
_OPTIONAL = ("num_key_value_heads", "head_dim")
"""May be None, which is a size that follows from the others."""


def _possible(config: dict[str, Any]) -> dict[str, Any]:
    for name in _SIZES:
        value = config.get(name)
        if name in config and not (value is None and name in _OPTIONAL) and not _is_size(value):
            raise ValueError(f"{name} is a whole number from 1 on, not {value!r}")
    if not config.get("head_dim"):
        _check_divides(config, "num_attention_heads", "hidden_size")
    _check_divides(config, "num_key_value_heads", "num_attention_heads")
    for name, value in config.items():
        if name.endswith("dropout") and value is not None and not _is_probability(value):
            raise ValueError(f"{name} is a probability, 0 to 1, not {value!r}")
    if {"image_size", "patch_size"} <= config.keys() and config["patch_size"] > config["image_size"]:
        raise ValueError("patch_size is larger than image_size, which leaves no patch")
    return config


def _is_size(value: object) -> bool:
    return type(value) is int and value > 0


def _is_probability(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _check_divides(config: dict[str, Any], name: str, whole: str) -> None:
    parts, total = config.get(name), config.get(whole)
    if parts and total and total % parts:
        raise ValueError(f"{whole} is {total}, which {name} = {parts} does not divide")


Backbone = Annotated[dict[str, Any], AfterValidator(_possible)]
"""A transformers configuration; sizes that it names are possible ones."""
