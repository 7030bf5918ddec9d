"""Twenty SGD steps of a model of every algorithm: on two ranks under ZeRO-2 and ZeRO-3, or on one by itself.

``torchrun algorithms_worker.py FOLDER`` reads ``FOLDER/config.json`` and leaves in ``FOLDER/<name>-<stage>``
the trained model, and what it generates in ``tokens.json``.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.integrations import HfDeepSpeedConfig

from libmoe.config.algorithms import BUILT_IN
from libmoe.config.schema import MoEConfig
from libmoe.model import LibmoeConfig, LibmoeForConditionalGeneration
from libmoe.model.skeleton import skeleton
from libmoe.model.weights import dense, expected_shapes, load
from libmoe.moe import after_step, set_aux_progress, set_aux_scale
from libmoe.train.arguments import compile_nothing

RATE = 0.05
STEPS = 20
STAGES = (2, 3)
ALSO_CHECKPOINTED = ("smoe_plus_plus", "aux_free")
"""Under ZeRO-3 too, where it takes its time; their layers hear or count something beside what they return."""


def deepspeed_config(stage: int) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": 1,
        "train_batch_size": 2,
        "gradient_clipping": 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {
            "stage": stage,
            "stage3_param_persistence_threshold": 32,  # norms and biases stay whole
            "stage3_gather_16bit_weights_on_model_save": True,
        },
    }


def build(base: dict[str, Any], name: str) -> LibmoeForConditionalGeneration:
    """Upcycled from one dense model, its routers far enough from zero to tell ranks apart."""
    config = LibmoeConfig.from_dict({**base, "moe": {**base["moe"], "name": name}})
    shapes = expected_shapes(skeleton(dense(config)))
    noise = torch.Generator().manual_seed(0)
    state = {key: 0.1 * torch.randn(shape, generator=noise) for key, shape in shapes.items()}
    return load(config, state, "The test", seed=1, dtype=torch.float32).train()


def batch(step: int, rank: int, config: LibmoeConfig) -> dict[str, Tensor | None]:
    """One row; in every seventh step rank 0 has text alone."""
    generator = torch.Generator().manual_seed(10 * step + rank)
    tokens = config.grid**2
    input_ids = torch.randint(20, 500, (1, tokens + 6), generator=generator)
    pixels = torch.randn(1, 3, config.pixels, config.pixels, generator=generator)
    if step % 7 == 3 and rank == 0:
        return {"input_ids": input_ids, "labels": input_ids, "pixel_values": None}
    input_ids[:, 2 : 2 + tokens] = config.image_token_id
    return {"input_ids": input_ids, "labels": input_ids, "pixel_values": pixels}


def generate(model: LibmoeForConditionalGeneration) -> list[int]:
    """Five tokens that follow an image."""
    question = batch(100, 0, model.config)
    del question["labels"]
    model.eval()
    with torch.no_grad():
        answer = model.generate(**question, max_new_tokens=5, min_new_tokens=5, do_sample=False)
    return answer[0].tolist()


def train_alone(base: dict[str, Any], name: str) -> LibmoeForConditionalGeneration:
    model = build(base, name)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    set_aux_scale(1 / 2)
    for step in range(STEPS):
        set_aux_progress(model.config.moe_settings, step / STEPS)
        for rank in range(2):
            (model(**batch(step, rank, model.config)).loss / 2).backward()
        optimizer.step()
        optimizer.zero_grad()
        after_step(model, (step + 1) / STEPS)
    set_aux_scale(1.0)
    set_aux_progress(MoEConfig(), 1.0)
    return model


def train_on_two(base: dict[str, Any], name: str, stage: int, folder: Path) -> None:
    import deepspeed

    settings = deepspeed_config(stage)
    active = HfDeepSpeedConfig(settings)  # while it lives, models are partitioned as it says
    rank = torch.distributed.get_rank()
    model = build(base, name)
    if stage == 2 or name in ALSO_CHECKPOINTED:
        model.activation_checkpointing_enable({"use_reentrant": False})
    engine, *_ = deepspeed.initialize(
        model=model, optimizer=torch.optim.SGD(model.parameters(), lr=RATE), config=active.config
    )
    for step in range(STEPS):
        set_aux_progress(model.config.moe_settings, step / STEPS)
        engine.backward(engine(**batch(step, rank, model.config)).loss)
        engine.step()
        after_step(model, (step + 1) / STEPS)
    tokens = generate(model)
    state = engine._zero3_consolidated_16bit_state_dict() if stage == 3 else model.state_dict()
    if rank == 0:
        model.save_pretrained(folder, state_dict=state)
        (folder / "tokens.json").write_text(json.dumps(tokens))
    engine.destroy()


def main(folder: Path) -> None:
    import deepspeed

    compile_nothing()
    deepspeed.init_distributed("gloo")
    base = json.loads((folder / "config.json").read_text())
    for stage in STAGES:
        for name in BUILT_IN:
            train_on_two(base, name, stage, folder / f"{name}-{stage}")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
