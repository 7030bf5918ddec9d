"""From a run's settings to its model, whatever it starts from."""

from pathlib import Path

import torch

from libmoe.config.errors import ConfigError
from libmoe.config.run import RunSpec
from libmoe.config.schema import RunConfig
from libmoe.model.attention import attention_implementation
from libmoe.model.backbones import backbone_config, shipped_config
from libmoe.model.config import LibmoeConfig
from libmoe.model.modeling import LibmoeForConditionalGeneration
from libmoe.model.processor import build_processor, stop_token_ids
from libmoe.model.skeleton import skeleton
from libmoe.model.sources import base_weights
from libmoe.model.tensor_files import read_checkpoint
from libmoe.model.weights import dense, expected_shapes, load


def model_config(
    run: RunConfig, image_token_id: int, models_dir: Path | None = None, init_from: Path | None = None
) -> LibmoeConfig:
    """The model's configuration.

    Args:
        models_dir: base weights, whose own configurations complete the preset's; None: the preset's alone.
        init_from: a saved model, which then completes the preset instead.

    Raises:
        ConfigError: a backbone is unknown, or has fewer embeddings than the tokenizer has tokens.
    """

    def shipped(weights: str | None) -> dict:
        if init_from is not None:
            return shipped_config(init_from)
        return shipped_config(models_dir / weights if models_dir and weights else None)

    model = run.model
    text = backbone_config(model.language, shipped(model.language.weights))
    vision = backbone_config(model.vision, shipped(model.vision.weights))
    if image_token_id > text.vocab_size:  # it comes after all others, and needs no embedding of its own
        raise ConfigError(
            f"The tokenizer has {image_token_id} tokens, the model {text.vocab_size} embeddings: "
            "choose the tokenizer that belongs to the model."
        )
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
    return config


def build_model(spec: RunSpec) -> LibmoeForConditionalGeneration:
    """The model that a run starts from: the previous stage's, or base weights; upcycled where it asks for it.

    Call it after ``TrainingArguments`` exists, so that ZeRO-3 finds its settings complete.

    Raises:
        ConfigError: weights or tokenizer are missing or do not fit the settings, or the machine does not.
    """
    run = spec.config
    tokenizer = build_processor(run, spec.models_dir).tokenizer
    image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    config = model_config(run, image_token_id, spec.models_dir, spec.init_from)
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
