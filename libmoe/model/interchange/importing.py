"""From a folder of upstream's to one of ours."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from transformers import GenerationConfig, LlavaProcessor, PreTrainedTokenizerBase

from libmoe.config.errors import ConfigError
from libmoe.model.config import LibmoeConfig
from libmoe.model.interchange.files import read_upstream
from libmoe.model.interchange.incoming import from_upstream
from libmoe.model.interchange.keys import unknown_keys
from libmoe.model.interchange.layout import Layout, Place
from libmoe.model.interchange.names import BESIDE, TOWER
from libmoe.model.interchange.pixels import build_processor
from libmoe.model.interchange.shards import Lazy, new_folder, write_shards
from libmoe.model.interchange.towers import named_tower, tower_in
from libmoe.model.json_files import read_json
from libmoe.model.processor import load_tokenizer, stop_token_ids
from libmoe.model.tensor_files import has_weights, read_weights

_EMBEDDINGS = "model.embed_tokens.weight"


@dataclass(frozen=True)
class Origin:
    """Folders that complete upstream's, which holds no more than its stage trained.

    Args:
        tower: the tower's configuration, and its weights where upstream's folder has none.
        language: the language model's weights and tokenizer, where upstream's folder has none.
        tokenizer: the tokenizer, where neither has one.
    """

    tower: Path | None = None
    language: Path | None = None
    tokenizer: Path | None = None


@dataclass
class Report:
    """What an import left out, by reason."""

    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, name: str, reason: str) -> None:
        self.left_out.setdefault(reason, []).append(name)


def import_checkpoint(source: Path, destination: Path, origin: Origin | None = None) -> Report:
    """Writes the model of upstream's folder ``source`` as a folder that ``from_pretrained`` loads.

    Values are copied bit for bit, in their own type; the model's type is that of its word embeddings.

    Raises:
        ConfigError: upstream's model is not one that ours computes, or a tensor is missing, left over or of
            another shape.
        DataError: a file is damaged or holds code.
        UsageError, VolumeError: ``destination`` is not empty or cannot be written.
    """
    origin = origin or Origin()
    upstream = read_json(source / "config.json")
    tower = tower_in(origin.tower) if origin.tower else named_tower(str(upstream.get("mm_vision_tower")))
    report = Report()
    for key in unknown_keys(upstream):
        report.leave_out(key, "settings that nothing here knows")
    state = _complete(read_upstream(source), origin)
    tokenizer = _tokenizer(origin.tokenizer or _with_tokenizer(source, origin))
    image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    config = from_upstream(upstream, tower, image_token_id, _dtype(state, source))
    layout = Layout(config)
    tensors = {name: _lazy(place, state, source) for name, place in layout.places.items()}
    _account_for_the_rest(state, layout, source, report)
    processor = build_processor(config, tower, tokenizer, pad=upstream.get("image_aspect_ratio") == "pad")
    with new_folder(destination) as folder:
        write_shards(folder, tensors)
        _save_settings(folder, config, processor)
    return report


def _complete(state: Mapping[str, Tensor], origin: Origin) -> dict[str, Tensor]:
    """Base weights, then what upstream trained."""
    base: dict[str, Tensor] = {}
    without_tower = not any(name.startswith(TOWER) for name in state)
    if origin.tower is not None and without_tower and has_weights(origin.tower):
        tower = read_weights(origin.tower).items()
        base |= {
            TOWER + _body(name): tensor for name, tensor in tower if not name.startswith(("text_", "logit_"))
        }
    if origin.language is not None and _EMBEDDINGS not in state:
        base |= read_weights(origin.language)
    return base | dict(state)


def _body(name: str) -> str:
    return name.removeprefix("vision_model.")


def _with_tokenizer(source: Path, origin: Origin) -> Path:
    if origin.language is not None and not (source / "tokenizer_config.json").is_file():
        return origin.language
    return source


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Read apart from upstream's ``config.json``, which transformers would take for the tokenizer's model."""
    with TemporaryDirectory() as apart:
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name != "config.json":
                (Path(apart) / path.name).symlink_to(path.resolve())
        try:
            return load_tokenizer(Path(apart))
        except ConfigError as error:
            raise ConfigError(
                f"{folder} has no readable tokenizer: give --tokenizer a folder with one."
            ) from error


def _dtype(state: Mapping[str, Tensor], source: Path) -> torch.dtype:
    if _EMBEDDINGS not in state:
        raise ConfigError(
            f"{source} lacks the language model, as stages that train the connector alone do: give "
            "--language the folder of the language model that upstream's config.json names."
        )
    dtype = state[_EMBEDDINGS].dtype
    if not dtype.is_floating_point:
        raise ConfigError(
            f"{source} holds {_EMBEDDINGS} as {dtype}: give the checkpoint before quantization."
        )
    return dtype


def _lazy(place: Place, state: Mapping[str, Tensor], source: Path) -> Lazy:
    for name in place.upstream:
        if name not in state:
            hint = " (--tower names a folder with the tower's own weights)" if name.startswith(TOWER) else ""
            raise ConfigError(
                f"{source} lacks the tensor {name} {tuple(place.upstream_shape)} of the model that its "
                f"config.json describes: fetch the checkpoint again{hint}."
            )
        if state[name].shape != place.upstream_shape:
            raise ConfigError(
                f"{source} holds {name} with shape {tuple(state[name].shape)}, its config.json describes "
                f"{tuple(place.upstream_shape)}: correct the config.json, or --tower where it is the tower's."
            )
    parts = [state[name] for name in place.upstream]
    size = sum(part.nbytes for part in parts)
    return Lazy(size, partial(torch.stack, parts) if place.stacked else partial(torch.clone, parts[0]))


def _account_for_the_rest(state: Mapping[str, Tensor], layout: Layout, source: Path, report: Report) -> None:
    used = {name for place in layout.places.values() for name in place.upstream}
    for name in sorted(state.keys() - used):
        reason = _why_left_out(name, state, layout)
        if reason is None:
            raise ConfigError(
                f"{source} holds the tensor {name} {tuple(state[name].shape)}, which the model of its "
                "config.json does not have: correct moe_name, clip_smoe or mlp_smoe there, or fetch it again."
            )
        report.leave_out(name, reason)


def _why_left_out(name: str, state: Mapping[str, Tensor], layout: Layout) -> str | None:
    if name in layout.unread:
        return "upstream never reads it"
    if name in layout.tied and torch.equal(state[name], state[_EMBEDDINGS]):
        return "tied to the word embeddings"
    return next((reason for pattern, reason in BESIDE.items() if re.fullmatch(pattern, name)), None)


def _save_settings(folder: Path, config: LibmoeConfig, processor: LlavaProcessor) -> None:
    tokenizer = processor.tokenizer
    config.save_pretrained(folder)
    GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=stop_token_ids(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
    ).save_pretrained(folder)
    processor.save_pretrained(folder)
