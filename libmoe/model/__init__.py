"""The vision-language model. Importing this package registers it with transformers' Auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor, LlavaProcessor

from libmoe.model.config import LibmoeConfig
from libmoe.model.modeling import LibmoeForConditionalGeneration, LibmoeModel

AutoConfig.register(LibmoeConfig.model_type, LibmoeConfig)
AutoModel.register(LibmoeConfig, LibmoeModel)
AutoModelForImageTextToText.register(LibmoeConfig, LibmoeForConditionalGeneration)
AutoProcessor.register(LibmoeConfig, LlavaProcessor)

__all__ = ["LibmoeConfig", "LibmoeForConditionalGeneration", "LibmoeModel"]
