"""A saved model folder, back as a model and its processor."""

from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import LlavaProcessor
from transformers.utils.logging import disable_progress_bar

from libmoe.config.errors import ConfigError
from libmoe.config.saved import saved_values
from libmoe.model.backbones import reason
from libmoe.model.config import LibmoeConfig
from libmoe.model.modeling import LibmoeForConditionalGeneration
from libmoe.model.processor import saved_processor, stop_token_ids
from libmoe.model.tensor_files import read_checkpoint
from libmoe.model.weights import load


def load_checkpoint(folder: Path) -> tuple[LibmoeForConditionalGeneration, LlavaProcessor]:
    """Model (in the type it was saved in) and processor.

    Raises:
        ConfigError: the folder is missing, is not libmoe's, or its tensors do not fit its configuration.
        DataError: its weights are damaged.
    """
    config = saved_config(folder)
    disable_progress_bar()
    processor = saved_processor(folder)
    model = load(config, read_checkpoint(folder), f"The checkpoint {folder}", seed=0, dtype=config.dtype)
    model.generation_config.eos_token_id = stop_token_ids(processor.tokenizer)
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    return model, processor


def saved_config(folder: Path) -> LibmoeConfig:
    """The configuration of a model that was saved in ``folder``.

    Raises:
        ConfigError: there is none, it is not libmoe's, or describes no model.
    """
    values = {"dtype": torch.float32, **saved_values(folder)}
    try:
        return LibmoeConfig.from_dict(values)
    except (StrictDataclassError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{folder}/config.json describes no model ({reason(error)}): give a folder that libmoe saved."
        ) from error
