"""Models and settings that are measured, as layers over a preset."""

from dataclasses import dataclass
from typing import Any

from libmoe.config.layers import Layer, resolve
from libmoe.config.schema import RunConfig

COCO = (640, 480)
"""Its photographs' usual size."""


@dataclass(frozen=True)
class Shape:
    """A model at stage 3; ``words`` is the median length of what is said about an image."""

    name: str
    preset: str
    settings: dict[str, Any]
    words: int
    steps: int
    """Of a round."""
    batch: int
    micro: int
    picture: tuple[int, int]
    """Size of the photographs."""


_MID = {
    "model": {
        "vision": {
            "config": {
                "hidden_size": 256,
                "intermediate_size": 1024,
                "num_hidden_layers": 5,
                "image_size": 84,
            }
        },
        "language": {
            "config": {
                "hidden_size": 384,
                "intermediate_size": 1024,
                "num_hidden_layers": 6,
                "num_attention_heads": 6,
                "num_key_value_heads": 6,
                "max_position_embeddings": 1024,
            }
        },
    },
    "data": {"max_length": 512},
}


def cpu_shapes() -> list[Shape]:
    """The preset ``tiny``, and a model of some tens of millions of parameters."""
    small = (224, 168)
    return [
        Shape("tiny", "tiny", {}, 30, 8, 8, 4, small),
        Shape("mid-size", "tiny", _MID, 40, 3, 8, 4, small),
    ]


def gpu_shapes(language_layers: int) -> list[Shape]:
    """The guide's model with random weights, and so many of its 32 language layers."""
    settings = {
        "model": {
            "tokenizer": "libmoe/tiny",
            "vision": {"weights": None},
            "language": {"weights": None, "config": {"num_hidden_layers": language_layers}},
        },
        "data": {"workers": 8},
    }
    name = f"phi35-siglip224, {language_layers} language layers"
    return [Shape(name, "phi35-siglip224", settings, 120, 12, 32, 4, COCO)]


def run_config(shape: Shape, epochs: int, changes: dict[str, Any], annotations: str) -> RunConfig:
    """Stage 3 of a shape, as its recipe has it but for ``changes``."""
    common = {
        "data": {"annotations": annotations},
        "train": {
            "epochs": epochs,
            "global_batch_size": shape.batch,
            "micro_batch_size": shape.micro,
            "save_steps": 10 * epochs * shape.steps,
            "router_statistics_steps": 0,
        },
    }
    layers = [Layer("shape", shape.settings), Layer("benchmark", common), Layer("changes", changes)]
    return resolve("sft", shape.preset, layers).config
