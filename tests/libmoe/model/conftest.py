"""The tiny preset with the sample's tokenizer: runs, models and inputs."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import entrypoint.sample
from libmoe.config.layers import Layer, resolve
from libmoe.config.run import RunSpec
from libmoe.model import LibmoeForConditionalGeneration
from libmoe.model.build import build_model
from tests.specs import run_spec

MakeSpec = Callable[..., RunSpec]


@pytest.fixture(scope="session")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data volume that holds the tiny preset's tokenizer."""
    data = tmp_path_factory.mktemp("data")
    tokenizer = Path(entrypoint.sample.__file__).parent / "tokenizer"
    shutil.copytree(tokenizer, data / "models" / "libmoe" / "tiny")
    return data


@pytest.fixture(scope="session")
def make_spec(volume: Path) -> MakeSpec:
    """``make_spec("sft", {"moe": {"experts": 3}}, init_from=folder)`` is a run of the tiny preset."""

    def make(
        stage: str, settings: dict[str, Any] | None = None, init_from: Path | None = None, seed: int = 42
    ) -> RunSpec:
        layer = Layer("test", {"seed": seed, **(settings or {})})
        return run_spec(resolve(stage, "tiny", [layer]).config, volume, volume / "run", init_from=init_from)

    return make


@pytest.fixture
def dense_model(make_spec: MakeSpec) -> LibmoeForConditionalGeneration:
    return build_model(make_spec("pft"))


@pytest.fixture
def moe_model(make_spec: MakeSpec) -> LibmoeForConditionalGeneration:
    """Six experts in every vision MLP and in the connector, upcycled from ``dense_model``."""
    return build_model(make_spec("sft"))


@pytest.fixture
def batch(dense_model: LibmoeForConditionalGeneration) -> dict[str, torch.Tensor]:
    """Two rows of 24 tokens, 16 of them an image's."""
    generator = torch.Generator().manual_seed(5)
    input_ids = torch.randint(20, 1000, (2, 24), generator=generator)
    input_ids[:, 2:18] = dense_model.config.image_token_id
    pixels = torch.randn(2, 3, 168, 168, generator=generator)
    mask = torch.ones_like(input_ids)
    return {"input_ids": input_ids, "pixel_values": pixels, "attention_mask": mask, "labels": input_ids}


@pytest.fixture
def photograph() -> Image.Image:
    """Colour gradients, 60 x 40."""
    rows, columns = np.mgrid[0:40, 0:60]
    return Image.fromarray(np.stack([rows * 6, columns * 4, rows + columns], -1).astype(np.uint8))
