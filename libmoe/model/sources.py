"""Where the tensors of a dense model come from: safetensors files, mapped into memory, or a seeded start."""

import json
from collections.abc import Collection
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM

from libmoe.config.errors import ConfigError, DataError
from libmoe.config.schema import BackboneConfig, Part, RunConfig
from libmoe.model.config import LibmoeConfig
from libmoe.model.connector import Connector
from libmoe.model.skeleton import whole_modules
from libmoe.model.tower import build_tower
from libmoe.moe.seeding import derived_seed

_TOWER, _CONNECTOR, _LANGUAGE = "model.vision_tower.", "model.multi_modal_projector.", "model.language_model."


def read_checkpoint(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder's safetensors, by name, mapped from disk.

    Raises:
        ConfigError: the folder holds no safetensors.
        DataError: a file is damaged.
    """
    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.is_file():
        names = set(json.loads(index.read_text())["weight_map"].values())
    state: dict[str, Tensor] = {}
    for name in sorted(names):
        if not (folder / name).is_file():
            raise ConfigError(f"{folder} has no {name}: fetch or save the model again.")
        try:
            with safe_open(folder / name, framework="pt", device="cpu") as file:
                state |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise DataError(
                f"{folder / name} is damaged ({error}): fetch or save the model again."
            ) from error
    return state


def base_weights(
    run: RunConfig, config: LibmoeConfig, models_dir: Path, names: Collection[str]
) -> dict[str, Tensor]:
    """A dense model's first state: released weights where a part names some, else its random initialisation.

    Args:
        names: the dense model's tensors; what files hold beyond them (such as unused layers) is left out.

    Raises:
        ConfigError: a part's weights are not on the volume.
    """
    vision = _released(run.model.vision, models_dir)
    language = _released(run.model.language, models_dir)
    state = {
        **({_tower_name(k): v for k, v in vision.items()} if vision else _random("vision", config, run.seed)),
        **_random("connector", config, run.seed),
        **(
            {_language_name(k): v for k, v in language.items()}
            if language
            else _random("language", config, run.seed)
        ),
    }
    return {name: tensor for name, tensor in state.items() if name in names}


def _released(backbone: BackboneConfig, models_dir: Path) -> dict[str, Tensor] | None:
    if backbone.weights is None:
        return None
    folder = models_dir / backbone.weights
    if not folder.is_dir():
        raise ConfigError(
            f"The weights {backbone.weights} are not in {models_dir}: fetch them with `libmoe prepare`."
        )
    return read_checkpoint(folder)


def _random(part: Part, config: LibmoeConfig, seed: int) -> dict[str, Tensor]:
    """The part as its class initialises it; depends on the seed and the part alone."""
    with whole_modules(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, part))
        if part == "vision":
            return {_tower_name(k): v for k, v in build_tower(config).state_dict().items()}
        if part == "connector":
            return {_CONNECTOR + k: v for k, v in Connector(config).state_dict().items()}
        language = AutoModelForCausalLM.from_config(config.text_config)
        return {_language_name(k): v for k, v in language.state_dict().items()}


def _tower_name(name: str) -> str:
    return _TOWER + name.removeprefix("vision_model.")


def _language_name(name: str) -> str:
    return _LANGUAGE + name.removeprefix("model.") if name.startswith("model.") else name
