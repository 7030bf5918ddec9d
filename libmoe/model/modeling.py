"""LLaVA with multi-scale vision features and mixture-of-experts MLPs, as transformers model classes."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import LlavaForConditionalGeneration, LlavaModel, LlavaPreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from libmoe.config.errors import ConfigError
from libmoe.config.schema import Part
from libmoe.model.config import LibmoeConfig
from libmoe.model.connector import Connector
from libmoe.model.language import build_language_model
from libmoe.model.mixing import mix_experts
from libmoe.model.multiscale import multiscale_features
from libmoe.model.tower import build_tower, patch_features
from libmoe.moe import MoEMLP, moe_layers, remembering


class LibmoePreTrainedModel(LlavaPreTrainedModel):
    """What transformers needs to know about the modules that libmoe adds."""

    config_class = LibmoeConfig
    config: LibmoeConfig
    _no_split_modules = ["Connector", "MoEMLP"]  # noqa: RUF012

    def _set_gradient_checkpointing(
        self,
        enable: bool = True,
        gradient_checkpointing_func: Callable[..., Any] = checkpoint,
        every_n_layers: int = 1,
    ) -> None:
        """As transformers'; a layer that is computed again hears of the one before it what it heard first."""
        super()._set_gradient_checkpointing(enable, remembering(gradient_checkpointing_func), every_n_layers)


class LibmoeModel(LibmoePreTrainedModel, LlavaModel):
    """Tower, connector and language model without its head."""

    def __init__(self, config: LibmoeConfig) -> None:
        super(LlavaModel, self).__init__(config)  # LlavaModel's own would build the dense parts in full
        self.vision_tower = build_tower(config)
        self.multi_modal_projector: nn.Module = Connector(config)
        self.language_model = build_language_model(config)
        mix_experts(self, config.moe_settings)
        if config.image_token_id >= config.text_config.vocab_size:
            self.get_input_embeddings().register_forward_pre_hook(self._without_image_tokens)
        self.post_init()

    def _without_image_tokens(self, embeddings: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        """Image tokens beyond the vocabulary read its first row; image features take their place anyway."""
        return (inputs[0].masked_fill(inputs[0] == self.config.image_token_id, 0),)

    def get_image_features(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """``(N, 3, pixels, pixels)`` images to N ``(grid * grid, D)`` embeddings, as ``pooler_output``.

        Raises:
            ConfigError: features of another layer than the configuration's are asked for.
        """
        built, asked = self.config.vision_feature_layer, kwargs.get("vision_feature_layer")
        if asked not in (None, built):
            raise ConfigError(
                f"The tower is built for vision_feature_layer={built}, not {asked}: leave it out."
            )

        def tower(tiles: Tensor) -> Tensor:
            return patch_features(self.vision_tower, tiles, self.config.grid)

        features = multiscale_features(tower, pixel_values, self.config.scales, self.config.tile)
        embeddings = self.multi_modal_projector(features)
        images = list(embeddings) or [embeddings.flatten(0, 1)]  # LlavaModel concatenates, so never nothing
        return BaseModelOutputWithPooling(last_hidden_state=features, pooler_output=images)

    def forward(
        self, input_ids: Tensor | None = None, pixel_values: Tensor | None = None, **kwargs: Any
    ) -> Any:
        """As ``LlavaModel``; ``pixel_values`` holds the images of the batch in the order of their tokens."""
        if pixel_values is None and self.training and kwargs.get("mm_encoder_outputs") is None:
            pixel_values = self._no_images()
        return super().forward(input_ids=input_ids, pixel_values=pixel_values, **kwargs)

    def _no_images(self) -> Tensor:
        """Zero images, so that text-only batches pass through every module, almost for free.

        Ranks that issue different collectives wait for each other for ever: ZeRO-3 gathers weights where a
        module is called, and ZeRO-2 reduces gradients where one arrives.
        """
        side = self.config.pixels
        return torch.empty(0, 3, side, side, device=self.device)


class LibmoeForConditionalGeneration(LibmoePreTrainedModel, LlavaForConditionalGeneration):
    """The whole model: what training optimises and ``from_pretrained`` loads."""

    def __init__(self, config: LibmoeConfig) -> None:
        super(LlavaForConditionalGeneration, self).__init__(config)
        self.model = LibmoeModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """As transformers', but a checkpoint has to hold every tensor of the model.

        Raises:
            ConfigError: one is missing; transformers would leave an expert's without any value.
        """
        model, info = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        if info["missing_keys"]:
            name = min(info["missing_keys"])
            raise ConfigError(f"The checkpoint lacks the tensor {name} of this model: save the model again.")
        return (model, info) if output_loading_info else model

    def moe_layers(self) -> Iterator[MoEMLP]:
        """Every mixture-of-experts layer, tower first."""
        return (layer for _, layer in moe_layers(self))

    def part(self, name: Part) -> list[nn.Module]:
        """The modules that one part of the model consists of."""
        parts: dict[Part, list[nn.Module]] = {
            "vision": [self.model.vision_tower],
            "connector": [self.model.multi_modal_projector],
            "language": [self.model.language_model, self.lm_head],
        }
        return parts[name]

    def set_trainable(self, parts: Iterable[Part]) -> None:
        """Freezes everything but ``parts``."""
        self.requires_grad_(False)
        for name in parts:
            for module in self.part(name):
                module.requires_grad_(True)
