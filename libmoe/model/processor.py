"""The processor: images to pixels, text to tokens, and how many tokens stand for an image."""

from pathlib import Path

from jinja2 import TemplateError
from PIL import Image
from transformers import AddedToken, AutoTokenizer, LlavaProcessor, PreTrainedTokenizerBase
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from libmoe.config.errors import ConfigError
from libmoe.config.schema import RunConfig
from libmoe.model.chat import taking_images
from libmoe.model.config import tile_side

IMAGE_TOKEN = "<image>"


def build_processor(run: RunConfig, models_dir: Path) -> LlavaProcessor:
    """transformers' own LLaVA processor, set up for multi-scale features.

    Pixels are delivered at the largest scale, and one token stands for that many patches' width.

    Raises:
        ConfigError: the tokenizer is not on the volume.
    """
    vision = run.model.vision.config
    largest = max(run.model.scales)
    side = tile_side(vision) * largest
    pixels = LlavaImageProcessorPil(
        size={"height": side, "width": side},
        do_center_crop=False,
        do_pad=run.data.image_shape == "pad",
        image_mean=list(run.model.image_mean),
        image_std=list(run.model.image_std),
    )
    tokenizer = load_tokenizer(models_dir / run.model.tokenizer)
    return LlavaProcessor(
        image_processor=pixels,
        tokenizer=tokenizer,
        patch_size=vision["patch_size"] * largest,
        vision_feature_select_strategy="full",
        chat_template=tokenizer.chat_template,
        image_token=IMAGE_TOKEN,
    )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in ``folder`` with an ``<image>`` token and a chat template, if any, that takes images.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    if not (folder / "tokenizer_config.json").is_file():
        raise ConfigError(f"There is no tokenizer in {folder}: fetch it with `libmoe prepare`.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the libraries stumble over damage in any way
        raise ConfigError(f"The tokenizer in {folder} cannot be read: {error!r}; fetch it again.") from error
    tokenizer.add_tokens([AddedToken(IMAGE_TOKEN, special=True, normalized=False)], special_tokens=True)
    if isinstance(tokenizer.chat_template, str):
        tokenizer.chat_template = taking_images(tokenizer.chat_template)
    return tokenizer


def saved_processor(folder: Path) -> LlavaProcessor:
    """The processor that was saved with a model.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    try:
        return LlavaProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the libraries stumble over damage in any way
        raise ConfigError(
            f"{folder} has no readable processor: save the model with its processor."
        ) from error


def stop_token_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What ends an answer: the end of text, and the token the chat template puts after an answer.

    Raises:
        ConfigError: the chat template is none.
    """
    stops = {tokenizer.eos_token_id}
    if tokenizer.chat_template:
        answer = "libmoe-answer"
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
        try:
            rendered = tokenizer.apply_chat_template(turns, tokenize=False)
        except TemplateError as error:
            raise ConfigError(
                f"The chat template in {tokenizer.name_or_path} renders no conversation ({error}): "
                "correct it."
            ) from error
        after = tokenizer(rendered.partition(answer)[2], add_special_tokens=False).input_ids
        added = tokenizer.added_tokens_decoder
        stops |= {token for token in after[:1] if token in added and added[token].special}
    return sorted(stops - {None})


def tokens_of_an_image(processor: LlavaProcessor) -> int:
    """How many placeholder tokens the processor puts where one image goes; the same for all images."""
    coded = processor(images=Image.new("RGB", (8, 8)), text=processor.image_token)
    return list(coded["input_ids"][0]).count(processor.image_token_id)
