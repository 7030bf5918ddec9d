"""Tiny models of upstream's, saved as upstream's code saves them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaConfig, Phi3Config, SiglipVisionConfig

from .upstream import LlavaPhi, LlavaSmollm

VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
TEXT = {
    "vocab_size": 1024,
    "hidden_size": 40,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
SCALES = [1, 3]
MOE = {
    "num_experts": 4,
    "num_selected": 3,
    "balance_loss_coef": 0.02,
    "router_z_loss_coef": 0.002,
    "std_gate": 0.03,
}

State = dict[str, Tensor]
Upstream = LlavaPhi | LlavaSmollm
MakeUpstream = Callable[..., Upstream]
SaveUpstream = Callable[..., Path]


@pytest.fixture(scope="session")
def make_upstream() -> MakeUpstream:
    """``make_upstream("xmoe")`` is upstream's model of an algorithm, of random weights; None: a dense one.

    Around a Phi-3, or a Llama whose embeddings are tied.
    """

    def make(algorithm: str | None = "smoe", tied: bool = False) -> Upstream:
        moe = (algorithm, MOE["num_experts"], MOE["num_selected"]) if algorithm else None
        torch.manual_seed(11)
        model: Upstream = LlavaPhi(Phi3Config(**TEXT, rope_theta=5000.0))
        if tied:
            model = LlavaSmollm(LlamaConfig(**TEXT, rope_theta=5000.0, tie_word_embeddings=True))
        model.attach(SiglipVisionConfig(**VISION), SCALES, moe)
        model.eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.3)
        return model

    return make


def settings(algorithm: str | None) -> dict[str, Any]:
    """Upstream's ``config.json``, with what its scripts leave in it."""
    mixed = algorithm is not None
    moe = (
        {"moe_name": algorithm, **MOE} if mixed else {"moe_name": "smoe", "num_experts": 1, "num_selected": 1}
    )
    return {
        "architectures": ["LlavaPhiForCausalLM"],
        "model_type": "llava_phi",
        **TEXT,
        "hidden_act": "silu",
        "rope_theta": 5000.0,
        "rope_scaling": None,
        "torch_dtype": "float32",
        "transformers_version": "4.43.2",
        "mm_vision_tower": "google/siglip-tiny",
        "mm_hidden_size": VISION["hidden_size"],
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_projector_type": "moe" if mixed else "mlp2x_gelu",
        "mm_patch_merge_type": "flat",
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
        "image_aspect_ratio": "pad",
        "mlp_smoe": mixed,
        "clip_smoe": mixed,
        "scales": SCALES,
        "sparse_upcycling": mixed,
        "training": True,
        "local_rank": 0,
        "topk_max": 2,
        **moe,
    }


@pytest.fixture(scope="session")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tower that upstream's settings name, as the hub has it, without weights."""
    folder = tmp_path_factory.mktemp("siglip")
    vision = {"model_type": "siglip_vision_model", **VISION}
    (folder / "config.json").write_text(json.dumps({"model_type": "siglip", "vision_config": vision}))
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.4] * 3, "image_std": [0.2] * 3})
    )
    return folder


@pytest.fixture
def save_upstream(tmp_path: Path, volume: Path) -> SaveUpstream:
    """``save_upstream(state, "xmoe")``: the folder as upstream's training leaves it, with its tokenizer."""

    def save(state: State, algorithm: str | None, **changes: Any) -> Path:
        folder = tmp_path / "upstream"
        shutil.copytree(volume / "models" / "libmoe" / "tiny", folder)
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(settings(algorithm) | changes))
        return folder

    return save
