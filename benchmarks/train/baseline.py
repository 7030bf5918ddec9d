"""Stage 3 as upstream computes it: a plain loop around DeepSpeed.

In the tower eager attention, no checkpointing, and a last layer for nothing; the language model checkpointed;
every row padded to the longest of its micro batch; the host waiting for the device in every layer. Weights,
rows, optimizer, ZeRO stage and experts are ours, so that nothing else differs.
"""

from typing import Any

import deepspeed
import torch
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.train.turns import Turns
from libmoe.config.run import RunSpec
from libmoe.model.build import build_model
from libmoe.model.modeling import LibmoeForConditionalGeneration
from libmoe.model.processor import build_processor
from libmoe.moe import set_aux_scale
from libmoe.train.arguments import compile_nothing, training_arguments
from libmoe.train.data import training_data
from libmoe.train.determinism import make_repeatable


def train(spec: RunSpec, turns: Turns) -> None:
    """Trains the run's epochs, a step a turn."""
    make_repeatable(spec.config.seed, spec.world.device, spec.config.train.deterministic)
    compile_nothing()
    arguments = training_arguments(spec, spec.run_dir)
    model = _as_upstream(build_model(spec))
    data = training_data(spec, build_processor(spec.config, spec.models_dir))
    engine = _engine(spec, arguments, model)
    set_aux_scale(1 / spec.accumulation_steps)
    settings = spec.config
    loader = DataLoader(
        data.dataset,
        settings.train.micro_batch_size,
        sampler=data.sampler,
        collate_fn=data.collator,
        num_workers=settings.data.workers,
        pin_memory=spec.world.device == "cuda",
    )
    for epoch in range(settings.train.epochs):
        data.sampler.start_at(epoch * data.sampler.steps)
        for number, batch in enumerate(loader):
            if number % spec.accumulation_steps == 0:
                turns.next()
            turns.hear(batch.pop("facts"))
            if "pixel_values" in batch:
                pixels = data.pixels.to_colours(batch["pixel_values"].to(engine.device, non_blocking=True))
                batch["pixel_values"] = pixels.to(model.dtype)
            moved = {name: value.to(engine.device, non_blocking=True) for name, value in batch.items()}
            engine.backward(engine(**moved).loss)
            engine.step()
    turns.next()


def _engine(spec: RunSpec, arguments: Any, model: LibmoeForConditionalGeneration) -> Any:
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rate = spec.config.train.learning_rate
    optimizer = torch.optim.AdamW(learning, lr=rate, weight_decay=0.0, fused=True)
    arguments.hf_deepspeed_config.trainer_config_finalize(arguments, model, 1)
    config = {**arguments.hf_deepspeed_config.config, "zero_allow_untested_optimizer": True}
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    return engine


def _as_upstream(model: LibmoeForConditionalGeneration) -> LibmoeForConditionalGeneration:
    model.train()
    tower, language = model.model.vision_tower, model.model.language_model
    tower.set_attn_implementation("eager")
    _compute_discarded_layer(tower)
    language.gradient_checkpointing_enable({"use_reentrant": False})
    for layer in [*tower.encoder.layers, *language.layers]:
        for module in (layer, *layer.children()):
            module.register_forward_hook(_wait_for_device)
    return model


def _compute_discarded_layer(tower: Any) -> None:
    some = next(tower.parameters())
    extra = type(tower.encoder.layers[0])(tower.config).to(some.device, torch.float32).to(some.dtype)
    tower.discarded = extra.requires_grad_(False)

    def compute(encoder: nn.Module, arguments: Any, output: Any) -> None:
        tower.discarded(output.last_hidden_state, None)

    tower.encoder.register_forward_hook(compute)


def _wait_for_device(module: nn.Module, arguments: Any, output: Any) -> None:
    tensor = output[0] if isinstance(output, tuple) else output
    tensor.detach().flatten()[0].item()
