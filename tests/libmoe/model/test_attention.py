"""The attention that a run asks for is what its parts compute."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers.utils import is_flash_attn_2_available

from libmoe.config.errors import ConfigError
from libmoe.config.run import RunSpec, World
from libmoe.model.attention import attention_implementation
from libmoe.model.build import build_model

MakeSpec = Callable[..., RunSpec]
HAS_NONE = pytest.mark.skipif(
    is_flash_attn_2_available(), reason="flash-attn is here; its absence is what is tested"
)


def test_implementations_compute_the_same_in_both_parts(
    make_spec: MakeSpec, batch: dict[str, Tensor], tmp_path: Path
) -> None:
    logits = {}
    for name in ("sdpa", "eager"):
        model = build_model(make_spec("sft", {"model": {"attention": name}})).eval()
        parts = (model.model.vision_tower, model.model.language_model)
        assert [part.config._attn_implementation for part in parts] == [name, name]
        with torch.no_grad():
            logits[name] = model(**batch).logits
    torch.testing.assert_close(logits["sdpa"], logits["eager"], rtol=1e-4, atol=1e-5)
    model.save_pretrained(tmp_path)
    assert "eager" not in json.loads((tmp_path / "config.json").read_text()).values()


@pytest.mark.parametrize(
    ("device", "precision"), [("cpu", "bf16"), ("cuda", "fp32"), pytest.param("cuda", "bf16", marks=HAS_NONE)]
)
def test_flash_attention_where_it_cannot_be_is_told(make_spec: MakeSpec, device: str, precision: str) -> None:
    settings = {"model": {"attention": "flash_attention_2"}, "train": {"precision": precision}}
    spec = make_spec("sft", settings).model_copy(update={"world": World(device=device, processes=1)})
    with pytest.raises(ConfigError, match=r"bf16 on GPUs alone|not installed"):
        attention_implementation(spec)
