"""One rank of a run that is measured: ours, or a model that computes as upstream's does.

python benchmarks/train/rank.py RUN_JSON ours|upstream
"""

import sys
from typing import Any

import torch
from torch import nn

import libmoe.train.run
from libmoe.model.modeling import LibmoeForConditionalGeneration
from libmoe.train.__main__ import main


def as_upstream(model: LibmoeForConditionalGeneration) -> LibmoeForConditionalGeneration:
    """A tower with eager attention, without checkpointing, its last layer for nothing; many syncs."""
    tower, language = model.model.vision_tower, model.model.language_model
    tower.set_attn_implementation("eager")
    _compute_discarded_layer(tower)
    _leave_out_of_checkpointing(model, tower)
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


def _leave_out_of_checkpointing(model: Any, tower: nn.Module) -> None:
    everywhere = model._set_gradient_checkpointing

    def set_checkpointing(*arguments: Any, **options: Any) -> None:
        everywhere(*arguments, **options)
        for module in tower.modules():
            if hasattr(module, "gradient_checkpointing"):
                module.gradient_checkpointing = False

    model._set_gradient_checkpointing = set_checkpointing


def _wait_for_device(module: nn.Module, arguments: Any, output: Any) -> None:
    tensor = output[0] if isinstance(output, tuple) else output
    tensor.detach().flatten()[0].item()


if __name__ == "__main__":
    run_json, kind = sys.argv[1:]
    if kind == "upstream":
        build = libmoe.train.run.build_model
        libmoe.train.run.build_model = lambda spec: as_upstream(build(spec))
    sys.exit(main([run_json]))
