"""Our configuration, from upstream's ``config.json``."""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationError
from transformers import PreTrainedConfig

from libmoe.config.errors import ConfigError, nearest
from libmoe.config.schema import MoEConfig
from libmoe.model.backbones import make_config
from libmoe.model.config import LibmoeConfig
from libmoe.model.interchange.keys import MOE, SUPPORTED, WHERE, language_class, language_keys
from libmoe.model.interchange.names import ROUTERS
from libmoe.model.interchange.towers import Tower

_ALWAYS = {"compat": "upstream"}
"""Settings of every imported mixture."""


def from_upstream(
    upstream: Mapping[str, Any], tower: Tower, image_token_id: int, dtype: torch.dtype
) -> LibmoeConfig:
    """Our configuration of the model that upstream's ``config.json`` describes.

    Raises:
        ConfigError: it describes a model that ours cannot compute.
    """
    for key, values in SUPPORTED.items():
        if upstream.get(key, values[0]) not in values:
            raise ConfigError(
                f"Upstream's config.json says {key} = {upstream[key]!r}, which is not supported: only "
                f"{' or '.join(map(repr, values))} can be imported."
            )
    scales = upstream.get("scales") or [1]
    if not isinstance(scales, list) or not all(type(scale) is int and scale > 0 for scale in scales):
        raise ConfigError(f"Upstream's config.json says scales = {scales!r}: write whole numbers, as [1, 3].")
    if scales[0] != 1:
        raise ConfigError(
            f"Upstream's config.json says scales = {scales}, but its first is computed as 1 whatever it is: "
            "write 1 there."
        )
    moe = _moe_from(upstream)
    text = _language_from(upstream)
    if image_token_id >= text.vocab_size:
        raise ConfigError(
            f"The image token's id {image_token_id} is beyond the model's {text.vocab_size} embeddings: "
            "give --tokenizer the tokenizer that belongs to the language model."
        )
    config = LibmoeConfig(
        vision_config=tower.config(),
        text_config=text,
        image_token_index=image_token_id,
        projector_hidden_act="gelu",
        vision_feature_select_strategy="full",
        vision_feature_layer=-2,
        scales=scales,
        moe=moe.model_dump(mode="json"),
        dtype=dtype,
    )
    config.image_seq_length = config.grid**2
    config.architectures = ["LibmoeForConditionalGeneration"]
    return config


def _moe_from(upstream: Mapping[str, Any]) -> MoEConfig:
    where = [part for key, part in WHERE.items() if upstream.get(key)]
    if (upstream.get("mm_projector_type") == "moe") != ("connector" in where):
        raise ConfigError(
            "Upstream's config.json contradicts itself: mm_projector_type and mlp_smoe do not agree on "
            "whether the connector has experts; correct the wrong one."
        )
    if not where:
        return MoEConfig()
    name = str(upstream.get("moe_name"))
    if name not in ROUTERS:
        raise ConfigError(f"Upstream's moe_name {name!r} cannot be imported: {nearest(name, ROUTERS)}")
    named = {setting: upstream[key] for key, setting in MOE.items() if upstream.get(key) is not None}
    try:
        return MoEConfig.model_validate(named | _ALWAYS | {"where": where})
    except ValidationError as error:
        problem = error.errors()[0]
        key = next((key for key, setting in MOE.items() if (setting,) == problem["loc"]), "moe_name")
        raise ConfigError(
            f"Upstream's config.json says {key} = {upstream.get(key)!r}, which is wrong: {problem['msg']}."
        ) from error


def _language_from(upstream: Mapping[str, Any]) -> PreTrainedConfig:
    language = language_class(upstream)
    values = {key: value for key, value in upstream.items() if key in language_keys(language)}
    scaling = upstream.get("rope_scaling") or {}
    rope = dict(scaling) if isinstance(scaling, Mapping) else {"type": scaling}
    rope |= {key: upstream[key] for key in ("rope_theta", "partial_rotary_factor") if key in upstream}
    if rope:
        values["rope_parameters"] = {"rope_type": rope.pop("type", "default"), **rope}
    return make_config(language.model_type, values)
