"""Three SGD steps of a run's model, on two ranks under ZeRO-3 or on one without DeepSpeed.

``torchrun zero3_worker.py RUN_JSON FOLDER`` writes what it built and what it trained as
``FOLDER/{built,trained}-<ranks>-<rank>.safetensors``. In the middle step rank 0 sees text alone.
"""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import TrainingArguments

from libmoe.config.run import RunSpec
from libmoe.model import LibmoeForConditionalGeneration
from libmoe.model.build import build_model
from libmoe.moe import set_aux_scale
from libmoe.train.arguments import compile_nothing

RATE = 0.05
ZERO3 = {
    "train_micro_batch_size_per_gpu": 2,
    "train_batch_size": 4,
    "gradient_clipping": 0.0,
    "zero_allow_untested_optimizer": True,
    "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0},
}


def batch(step: int, rank: int, image_token_id: int) -> dict[str, Tensor | None]:
    generator = torch.Generator().manual_seed(10 * step + rank)
    input_ids = torch.randint(20, 1000, (2, 24), generator=generator)
    pixels = torch.randn(2, 3, 168, 168, generator=generator)
    if step == 1 and rank == 0:
        return {"input_ids": input_ids, "labels": input_ids, "pixel_values": None}
    input_ids[:, 2:18] = image_token_id
    return {"input_ids": input_ids, "labels": input_ids, "pixel_values": pixels}


def save(model: LibmoeForConditionalGeneration, path: Path) -> None:
    """All parameters, gathered one by one."""
    import deepspeed

    whole = {}
    for name, parameter in model.named_parameters():
        with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
            whole[name] = parameter.detach().clone()
    save_file(whole, path)


def train_on_two(spec: RunSpec, folder: Path) -> None:
    import deepspeed

    compile_nothing()
    arguments = TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        per_device_train_batch_size=2,
        deepspeed=ZERO3,
        max_grad_norm=0.0,
    )
    rank = torch.distributed.get_rank()
    model = build_model(spec).train()
    save(model, folder / f"built-2-{rank}.safetensors")
    model.activation_checkpointing_enable({"use_reentrant": False})
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=RATE),
        config=arguments.hf_deepspeed_config.config,
    )
    for step in range(3):
        engine.backward(engine(**batch(step, rank, model.config.image_token_id)).loss)
        engine.step()
    save(model, folder / f"trained-2-{rank}.safetensors")


def train_on_one(spec: RunSpec, folder: Path) -> None:
    model = build_model(spec).train()
    save(model, folder / "built-1-0.safetensors")
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    set_aux_scale(1 / 2)
    for step in range(3):
        for rank in range(2):
            (model(**batch(step, rank, model.config.image_token_id)).loss / 2).backward()
        optimizer.step()
        optimizer.zero_grad()
    save(model, folder / "trained-1-0.safetensors")


if __name__ == "__main__":
    run, target = RunSpec.read(Path(sys.argv[1])), Path(sys.argv[2])
    (train_on_two if "WORLD_SIZE" in os.environ else train_on_one)(run, target)
