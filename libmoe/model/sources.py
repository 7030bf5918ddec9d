"""Where the tensors of a dense model come from: released weights, or a seeded start."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from torch import Tensor
from transformers import AutoModelForCausalLM

from libmoe.config.errors import ConfigError
from libmoe.config.schema import Part, RunConfig
from libmoe.model.config import LibmoeConfig
from libmoe.model.connector import Connector
from libmoe.model.skeleton import whole_modules
from libmoe.model.tensor_files import read_weights
from libmoe.model.tower import build_tower
from libmoe.moe.seeding import derived_seed, seeded


def base_weights(
    run: RunConfig, config: LibmoeConfig, models_dir: Path, names: Collection[str]
) -> dict[str, Tensor]:
    """A dense model's first state: released weights where a part names some, else its random initialisation.

    Args:
        names: the dense model's tensors; what files hold beyond them (such as unused layers) is left out.

    Raises:
        ConfigError: a part's weights are not on the volume.
        DataError: a file is damaged.
    """
    weights: dict[Part, str | None] = {
        "vision": run.model.vision.weights,
        "connector": None,
        "language": run.model.language.weights,
    }
    state: dict[str, Tensor] = {}
    for part, source in weights.items():
        own = _random(part, config, run.seed) if source is None else _released(models_dir, source)
        state |= {_PLACES[part](name): tensor for name, tensor in own.items()}
    return {name: tensor for name, tensor in state.items() if name in names}


def _released(models_dir: Path, weights: str) -> Mapping[str, Tensor]:
    folder = models_dir / weights
    if not folder.is_dir():
        raise ConfigError(f"The weights {weights} are not in {models_dir}: fetch them with `libmoe prepare`.")
    return read_weights(folder)


def _random(part: Part, config: LibmoeConfig, seed: int) -> dict[str, Tensor]:
    """The part as its class initialises it; depends on the seed and the part alone."""
    with whole_modules(), seeded(derived_seed(seed, part)):
        if part == "vision":
            return build_tower(config).state_dict()
        if part == "connector":
            return Connector(config).state_dict()
        return AutoModelForCausalLM.from_config(config.text_config).state_dict()


def _language_name(name: str) -> str:
    body = name.removeprefix("model.")
    return name if body == name else f"model.language_model.{body}"


_PLACES: dict[Part, Callable[[str], str]] = {
    "vision": lambda name: f"model.vision_tower.{name.removeprefix('vision_model.')}",
    "connector": lambda name: f"model.multi_modal_projector.{name}",
    "language": _language_name,
}
"""A tensor's name in the whole model, from its name in the part's own checkpoint."""
