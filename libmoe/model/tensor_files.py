"""Files of tensors, mapped into memory: safetensors, and what ``torch.save`` wrote in older releases."""

import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from libmoe.config.errors import ConfigError, DataError

_SAFETENSORS, _BIN = "model.safetensors", "pytorch_model.bin"


def read_checkpoint(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder's safetensors, by name, mapped from disk.

    Raises:
        ConfigError: the folder holds no safetensors.
        DataError: a file is damaged.
    """
    state: dict[str, Tensor] = {}
    for name in _files(folder, _SAFETENSORS):
        if not (folder / name).is_file():
            raise ConfigError(f"{folder} has no {name}: fetch or save the model again.")
        try:
            with safe_open(folder / name, framework="pt", device="cpu") as file:
                state |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise DataError(
                f"{folder / name} is damaged ({error}): fetch or save the model again."
            ) from error
    return state


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a hub's folder: safetensors, or what older releases have instead.

    Raises:
        ConfigError: the folder holds neither.
        DataError: a file is damaged, or holds code instead of tensors.
    """
    if has_safetensors(folder) or not _has(folder, _BIN):
        return read_checkpoint(folder)
    state: dict[str, Tensor] = {}
    for name in _files(folder, _BIN):
        state |= read_bin(folder / name)
    return state


def has_weights(folder: Path) -> bool:
    """Whether ``read_weights`` finds any."""
    return has_safetensors(folder) or _has(folder, _BIN)


def has_safetensors(folder: Path) -> bool:
    """Whether a folder holds a whole model as safetensors, in one file or in shards."""
    return _has(folder, _SAFETENSORS)


def _has(folder: Path, whole: str) -> bool:
    return any((folder / f"{whole}{suffix}").is_file() for suffix in ("", ".index.json"))


def _files(folder: Path, whole: str) -> list[str]:
    """The shards that an index beside ``whole`` names, or that file itself."""
    index = folder / f"{whole}.index.json"
    if not index.is_file():
        return [whole]
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        outside = [name for name in names if Path(name).name != name]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{index} is damaged: fetch or save the model again.") from error
    if outside:
        raise DataError(f"{index} names {outside[0]}, which is not in its folder: fetch the model again.")
    return names


def read_bin(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a file that ``torch.save`` wrote; no code in it is run.

    Raises:
        ConfigError: there is no such file.
        DataError: it is damaged, or is anything but tensors by name.
    """
    if not path.is_file():
        raise ConfigError(f"{path.parent} has no {path.name}: fetch the checkpoint again.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} is not tensors alone, and reading the rest could run code: save its state dict again, "
            "or get the file as safetensors."
        ) from error
    except Exception as error:  # the unpickler stumbles over damage in any way
        raise DataError(f"{path} is damaged ({type(error).__name__}): fetch it again.") from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise DataError(f"{path} is no state dict: give a file that maps names to tensors.")
    return state
