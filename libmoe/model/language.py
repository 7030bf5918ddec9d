"""The language model: any transformers decoder that takes embeddings, without its head."""

from transformers import PreTrainedModel

from libmoe.config.errors import ConfigError
from libmoe.model.backbones import build_backbone
from libmoe.model.config import LibmoeConfig


def build_language_model(config: LibmoeConfig) -> PreTrainedModel:
    """The decoder of ``config.text_config``.

    Raises:
        ConfigError: transformers cannot build it, or it keeps its embeddings elsewhere than Llama does; a
            tied head would not find them.
    """
    model = build_backbone(config.text_config, "language")
    if not hasattr(model, "embed_tokens"):
        raise ConfigError(
            f"{type(model).__name__} cannot be the language model, which has to keep its embeddings in "
            "embed_tokens as Llama, Phi-3 and Qwen do: choose another model.language.config.model_type."
        )
    return model
