"""One rank that takes two steps of ``tiny`` under DeepSpeed and prints, by type, the bytes of all tensors."""

import gc
import json
import sys

import deepspeed
import torch
import torch.distributed as dist

from libmoe.config.layers import assignment_layer, resolve
from libmoe.model import LibmoeForConditionalGeneration
from libmoe.model.build import model_config
from libmoe.train.arguments import compile_nothing


def storages() -> dict[int, tuple[str, int]]:
    """Address to type and size of whatever tensors are alive."""
    found = {}
    for tensor in [held for held in gc.get_objects() if issubclass(type(held), torch.Tensor)]:
        for one in (tensor, tensor.grad if tensor.is_leaf else None):
            if one is not None:
                storage = one.untyped_storage()
                found[storage.data_ptr()] = (str(one.dtype).removeprefix("torch."), storage.nbytes())
    return found


def main() -> None:
    run = resolve("sft", "tiny", [assignment_layer(setting) for setting in sys.argv[2:]]).config
    zero, dtype = run.train.zero, torch.bfloat16 if run.train.precision == "bf16" else torch.float32
    compile_nothing()
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=0, world_size=1)
    before = storages()
    model = LibmoeForConditionalGeneration(model_config(run, image_token_id=3)).to(dtype)
    model.set_trainable(run.train.trainable)
    settings = {
        "train_micro_batch_size_per_gpu": 1,
        "bf16": {"enabled": dtype == torch.bfloat16},
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {
            "stage": zero.stage,
            "reduce_bucket_size": 1000,
            "offload_optimizer": {"device": "cpu" if zero.offload_optimizer else "none"},
            "offload_param": {"device": "cpu" if zero.offload_parameters else "none"},
        },
    }
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    engine, *_ = deepspeed.initialize(model=model, optimizer=torch.optim.AdamW(learning), config=settings)
    ids = torch.full((1, 40), 30)
    ids[:, :16] = 3
    for _ in range(2):
        engine.backward(
            engine(input_ids=ids, pixel_values=torch.randn(1, 3, 168, 168, dtype=dtype), labels=ids).loss
        )
        engine.step()
    gc.collect()
    bytes_of: dict[str, int] = {}
    for address, (kind, count) in storages().items():
        if address not in before:
            bytes_of[kind] = bytes_of.get(kind, 0) + count
    print(json.dumps(bytes_of))


if __name__ == "__main__":
    main()
