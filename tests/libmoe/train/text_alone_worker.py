"""Steps in which one rank has images and another text alone, in one process group for several stages.

``torchrun text_alone_worker.py FOLDER RUN_JSON…`` trains each run under its own ZeRO settings and writes what
it trained as ``FOLDER/<stage>-<rank>.safetensors``.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from libmoe.config.run import RunSpec
from libmoe.data.collator import Collator
from libmoe.data.conversation import IGNORED
from libmoe.data.dataset import Sample
from libmoe.data.layout import packed
from libmoe.model import LibmoeForConditionalGeneration
from libmoe.model.build import build_model
from libmoe.model.packed_attention import attend_within_samples
from libmoe.train.arguments import compile_nothing, training_arguments

RATE = 0.05
STEPS = [(0, 2), (1, 0), (0, 0), (2, 1)]
"""Images of either rank's batch, step by step."""
IMAGE, N_IMAGE = 6, 16


def ready(spec: RunSpec) -> LibmoeForConditionalGeneration:
    """The model as a run sets it up."""
    model = build_model(spec).train()
    model.set_trainable(spec.config.train.trainable)
    attend_within_samples(model.model.language_model)
    return model


def batches(step: int) -> list[dict[str, Any]]:
    """What either rank computes, with the labels of both counted."""
    made = [_batch(10 * step + rank, images) for rank, images in enumerate(STEPS[step])]
    labels = sum(int((batch["labels"] != IGNORED).sum()) for batch in made)
    return [{**batch, "num_items_in_batch": torch.tensor(labels)} for batch in made]


def _batch(seed: int, images: int) -> dict[str, Any]:
    random = torch.Generator().manual_seed(seed)
    samples: list[Sample | Any] = []
    for number in range(2):
        ids = torch.randint(20, 1000, (24,), generator=random)
        shown = int(number < images)
        ids[2 : 2 + N_IMAGE * shown] = IMAGE
        labels = torch.where(ids == IMAGE, IGNORED, ids)
        pixels = torch.randn(shown, 3, 168, 168, generator=random)
        samples.append(Sample(str(number), ids, labels, tuple(pixels)))
    batch = Collator(packed, stand_in=0)(samples)
    del batch["facts"]
    return batch


def train(spec: RunSpec) -> Iterator[tuple[str, torch.Tensor]]:
    """All parameters after the steps, gathered."""
    import deepspeed

    arguments = training_arguments(spec, spec.run_dir)
    model = ready(spec)
    arguments.hf_deepspeed_config.trainer_config_finalize(arguments, model, len(STEPS))
    config = {**arguments.hf_deepspeed_config.config, "zero_allow_untested_optimizer": True}
    if spec.config.train.activation_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    engine, *_ = deepspeed.initialize(
        model=model, optimizer=torch.optim.SGD(learning, lr=RATE), config={**config, "gradient_clipping": 0.0}
    )
    for step in range(len(STEPS)):
        loss = engine(**batches(step)[dist.get_rank()]).loss
        engine.backward(loss * dist.get_world_size())
        engine.step()
    for name, parameter in model.named_parameters():
        with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
            yield name, parameter.detach().clone()


if __name__ == "__main__":
    compile_nothing()
    for path in sys.argv[2:]:
        run = RunSpec.read(Path(path))
        trained = dict(train(run))
        save_file(trained, Path(sys.argv[1]) / f"{run.config.stage}-{dist.get_rank()}.safetensors")
    dist.destroy_process_group()
