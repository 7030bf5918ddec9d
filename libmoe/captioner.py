"""A trained checkpoint that answers prompts about images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from libmoe.config.errors import ConfigError, DataError, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import BatchEncoding


class Captioner:
    """A checkpoint ready to answer prompts about images, on the GPU where there is one.

    Args:
        checkpoint: a folder that training saved: weights, configuration and processor.

    Raises:
        ConfigError: the folder is missing, is not libmoe's, or its tensors do not fit its configuration.
        DataError: its weights are damaged.
    """

    def __init__(self, checkpoint: Path) -> None:
        import torch

        from libmoe.data.pixels import Pixels
        from libmoe.model.checkpoint import load_checkpoint
        from libmoe.model.processor import tokens_of_an_image

        model, self.processor = load_checkpoint(checkpoint)
        self._pixels = Pixels.of(self.processor.image_processor)
        self._tokens_of_an_image = tokens_of_an_image(self.processor)
        self.model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    def generate(self, images: "Sequence[Image | Path]", prompt: str, max_new_tokens: int = 128) -> str:
        """The model's answer to ``prompt`` about ``images``, by greedy decoding.

        Raises:
            UsageError: the prompt is empty or places images itself.
            ConfigError: the checkpoint's tokenizer has no chat template.
            DataError: an image is missing or cannot be decoded.
        """
        import torch

        inputs = self._inputs(images, prompt).to(self.model.device)
        with torch.inference_mode():
            tokens = self.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        answer = tokens[0, inputs.input_ids.shape[1] :]
        return self.processor.tokenizer.decode(answer, skip_special_tokens=True).strip()

    def _inputs(self, images: "Sequence[Image | Path]", prompt: str) -> "BatchEncoding":
        """The processor's tokens; pixels as training makes them, to the bit."""
        import torch

        image_token = self.processor.image_token
        text = self._chat(len(images), prompt).replace(image_token, image_token * self._tokens_of_an_image)
        inputs = self.processor.tokenizer(text, return_tensors="pt")
        pictures = [_decode(image) if isinstance(image, Path) else image.convert("RGB") for image in images]
        if pictures:
            bytes_NSSC = torch.stack([self._pixels.to_bytes(picture) for picture in pictures])
            inputs["pixel_values"] = self._pixels.to_colours(bytes_NSSC)
        return inputs

    def _chat(self, images: int, prompt: str) -> str:
        placeholder, tokenizer = self.processor.image_token, self.processor.tokenizer
        if not tokenizer.chat_template:
            raise ConfigError(
                f"The tokenizer in {tokenizer.name_or_path} has no chat template, which makes a prompt a "
                "conversation: put the language model's chat_template.jinja beside it."
            )
        if not prompt.strip():
            raise UsageError(
                "The prompt is empty: say what you want to know, as in --prompt 'Describe the image.'"
            )
        if placeholder in prompt:
            raise UsageError(
                f"The prompt holds {placeholder}: leave it out, images are placed before the prompt."
            )
        turn = {"role": "user", "content": f"{placeholder}\n" * images + prompt.strip()}
        return tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)


def _decode(path: Path) -> "Image":
    """The picture as training would see it."""
    from libmoe.data.image import load_image

    require_image(path)
    try:
        return load_image(path, row_id="")
    except DataError as error:  # speaks of a dataset's row
        raise DataError(
            f"The image {path} cannot be decoded ({error.__cause__}): give another file."
        ) from error


def require_image(path: Path) -> None:
    """Looks before torch is imported, which takes seconds.

    Raises:
        DataError: there is no such file.
    """
    if not path.is_file():
        raise DataError(f"There is no image {path}: check --image.")
