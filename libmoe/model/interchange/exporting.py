"""From a folder of ours to one of upstream's."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from libmoe.config.errors import ConfigError
from libmoe.model.checkpoint import saved_config
from libmoe.model.interchange.files import ADAPTERS
from libmoe.model.interchange.layout import Layout
from libmoe.model.interchange.outgoing import to_upstream
from libmoe.model.interchange.shards import Lazy, new_folder, write_shards
from libmoe.model.interchange.towers import tower_name
from libmoe.model.processor import saved_processor
from libmoe.model.tensor_files import read_checkpoint


def export_checkpoint(source: Path, destination: Path, tower: str | None = None) -> None:
    """Writes our saved model ``source`` as upstream's code loads it.

    Values are copied bit for bit; what upstream holds and never reads is zero. A dense model
    gets connector and tower as files of their own too, from which upstream's next stage starts.

    Args:
        tower: the tower's name on the hub, where no preset has one of this shape.

    Raises:
        ConfigError: upstream has no such model, or the folder's tensors do not fit its configuration.
        DataError: the weights are damaged.
        UsageError, VolumeError: ``destination`` is not empty or cannot be written.
    """
    config = saved_config(source)
    processor = saved_processor(source)
    pad = bool(processor.image_processor.do_pad)
    settings = to_upstream(config, tower or tower_name(config.vision_config), pad)
    layout = Layout(config)
    tensors = _tensors(read_checkpoint(source), layout, source)
    with new_folder(destination) as folder:
        write_shards(folder, tensors)
        if config.moe_settings.name == "none":
            save_adapters(folder, tensors)
        (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
        processor.tokenizer.save_pretrained(folder)


def _tensors(state: Mapping[str, Tensor], layout: Layout, source: Path) -> dict[str, Lazy]:
    """By upstream's name."""
    tensors: dict[str, Lazy] = {}
    for name, place in layout.places.items():
        if name not in state or state[name].shape != place.shape:
            held = f"holds {name} with shape {tuple(state[name].shape)}" if name in state else f"lacks {name}"
            raise ConfigError(
                f"{source} {held}, its config.json describes {tuple(place.shape)}: save the model again."
            )
        tensor = state[name]
        parts = tensor.unbind() if place.stacked else (tensor,)
        for upstream, part in zip(place.upstream, parts, strict=True):
            tensors[upstream] = Lazy(part.nbytes, partial(torch.clone, part))
    dtype = next(iter(state.values())).dtype
    for upstream, shape in layout.unread.items():
        tensors[upstream] = Lazy(shape.numel() * dtype.itemsize, partial(torch.zeros, shape, dtype=dtype))
    return tensors


def save_adapters(folder: Path, tensors: Mapping[str, Lazy]) -> None:
    """Connector and tower, of upstream's names, as the files that upstream's next stage reads.

    Raises:
        OSError: they cannot be written.
    """
    for file, (prefix, kept) in ADAPTERS.items():
        part = {
            kept + name.removeprefix(prefix): lazy
            for name, lazy in tensors.items()
            if name.startswith(prefix)
        }
        tensors_of_part = {name: lazy.make() for name, lazy in part.items()}
        try:
            torch.save(tensors_of_part, folder / file)
        except RuntimeError as error:  # what torch makes of a full disk
            raise OSError(str(error)) from error
