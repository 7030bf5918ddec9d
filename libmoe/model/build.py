"""From a run's settings to its model, whatever it starts from."""

from pathlib import Path

import torch
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from libmoe.config.errors import ConfigError
from libmoe.config.run import RunSpec
from libmoe.config.schema import BackboneConfig, RunConfig
from libmoe.model.attention import attention_implementation
from libmoe.model.backbones import backbone_config, shipped_config
from libmoe.model.config import LibmoeConfig, tile_side
from libmoe.model.head import check_head
from libmoe.model.modeling import LibmoeForConditionalGeneration
from libmoe.model.processor import IMAGE_TOKEN, build_processor, stop_token_ids
from libmoe.model.skeleton import skeleton, whole_modules
from libmoe.model.sources import base_weights
from libmoe.model.tensor_files import read_checkpoint
from libmoe.model.tower import check_tower
from libmoe.model.weights import dense, expected_shapes, load


def model_config(
    run: RunConfig, image_token_id: int, models_dir: Path | None = None, init_from: Path | None = None
) -> LibmoeConfig:
    """The model's configuration.

    Args:
        models_dir: base weights, whose own configurations complete the preset's; None: the preset's alone.
        init_from: a saved model, which then completes the preset instead.

    Raises:
        ConfigError: a backbone is unknown, cannot be part of this model, or is not that of its weights.
        DataError: a ``config.json`` of weights is damaged.
    """

    def backbone(settings: BackboneConfig) -> PreTrainedConfig:
        if init_from is not None:
            return backbone_config(settings, shipped_config(init_from), f"the checkpoint {init_from}")
        folder = models_dir / settings.weights if models_dir and settings.weights else None
        return backbone_config(settings, shipped_config(folder), f"the weights {settings.weights}")

    model = run.model
    text, vision = backbone(model.language), backbone(model.vision)
    with whole_modules():
        check_head(text)
    config = LibmoeConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=image_token_id,
        projector_hidden_act=model.connector_activation,
        vision_feature_select_strategy="full",
        vision_feature_layer=model.vision_feature_layer,
        scales=list(model.scales),
        moe=run.moe.model_dump(mode="json"),
    )
    config.image_seq_length = config.grid**2
    with whole_modules():
        check_tower(config)
    if config.tile != tile_side(model.vision.config):  # which the processor goes by
        raise ConfigError(
            f"This {vision.model_type} sees tiles of {config.tile} pixels, which the settings do not say: "
            f"set model.vision.config.num_patches={vision.num_patches}."
        )
    return config


def build_model(spec: RunSpec) -> LibmoeForConditionalGeneration:
    """The model that a run starts from: the previous stage's, or base weights; upcycled where it asks for it.

    Call it after ``TrainingArguments`` exists, so that ZeRO-3 finds its settings complete.

    Raises:
        ConfigError: weights or tokenizer are missing or do not fit the settings or each other, or the machine
            does not.
        DataError: a file is damaged.
    """
    run = spec.config
    tokenizer = build_processor(run, spec.models_dir).tokenizer
    image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    config = model_config(run, image_token_id, spec.models_dir, spec.init_from)
    _check_vocabulary(tokenizer, config.text_config.vocab_size)
    if spec.init_from is not None:
        state, origin = read_checkpoint(spec.init_from), f"The checkpoint {spec.init_from}"
    else:
        names = expected_shapes(skeleton(dense(config)))
        state, origin = base_weights(run, config, spec.models_dir, names), f"The weights in {spec.models_dir}"
    dtype = torch.bfloat16 if run.train.precision == "bf16" else torch.float32
    model = load(config, state, origin, run.seed, dtype, attention_implementation(spec))
    model.generation_config.eos_token_id = stop_token_ids(tokenizer)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def _check_vocabulary(tokenizer: PreTrainedTokenizerBase, embeddings: int) -> None:
    """The image token alone needs no embedding of its own."""
    tokens = 1 + max(number for token, number in tokenizer.get_vocab().items() if token != IMAGE_TOKEN)
    if tokens > embeddings:
        raise ConfigError(
            f"The tokenizer has {tokens} tokens, the model {embeddings} embeddings: "
            "choose the tokenizer that belongs to the model."
        )
