"""Text about images from a trained checkpoint: ``python -m libmoe.generate``."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from libmoe.config.errors import ConfigError, DataError, LibmoeError, UsageError
from libmoe.config.saved import saved_values

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

    _require_image(path)
    try:
        return load_image(path, row_id="")
    except DataError as error:  # speaks of a dataset's row
        raise DataError(
            f"The image {path} cannot be decoded ({error.__cause__}): give another file."
        ) from error


@dataclass(frozen=True)
class Request:
    """Images and what to ask about them."""

    images: list[Path]
    prompt: str


def read_requests(path: Path) -> list[Request]:
    """Requests from a file of JSON lines: ``{"images": ["cat.jpg"], "prompt": "What is this?"}``.

    Raises:
        DataError: the file is missing or a line is no request.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The requests {path} cannot be read ({error}): check --requests.") from error
    requests = []
    for number, line in enumerate(lines, start=1):
        try:
            fields = json.loads(line)
            requests.append(Request([Path(image) for image in fields["images"]], str(fields["prompt"])))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}, line {number} is no request ({error}): each line is a JSON object "
                'such as {"images": ["cat.jpg"], "prompt": "What is this?"}.'
            ) from error
    return requests


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m libmoe.generate", description=__doc__)
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="folder that training saved, as RUN/model"
    )
    parser.add_argument("--image", type=Path, action="append", default=[], help="image file; may be repeated")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--prompt", help="what to ask about the images")
    asked.add_argument("--requests", type=Path, help="many questions: a file of JSON lines")
    parser.add_argument("--max-new-tokens", type=int, default=128, help="longest answer, in tokens")
    parser.add_argument("--json", action="store_true", help="print JSON lines instead of the text alone")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints an answer a line on stdout; an error is one sentence on stderr and its exit code."""
    arguments = _arguments(argv)
    try:
        if arguments.max_new_tokens < 1:
            raise UsageError(f"--max-new-tokens must be at least 1; got {arguments.max_new_tokens}.")
        requests = [Request(arguments.image, arguments.prompt)]
        if arguments.requests:
            requests = read_requests(arguments.requests)
        _require_files(arguments.checkpoint, requests)
        captioner = Captioner(arguments.checkpoint)
        for request in requests:
            text = captioner.generate(request.images, request.prompt, arguments.max_new_tokens)
            sys.stdout.write((_as_json(request, text) if arguments.json else text) + "\n")
            sys.stdout.flush()
    except LibmoeError as error:
        sys.stderr.write(f"libmoe: {error}\n")
        return error.exit_code
    return 0


def _require_files(checkpoint: Path, requests: Sequence[Request]) -> None:
    """Says what is not there before torch is imported, which takes seconds."""
    saved_values(checkpoint)
    for request in requests:
        for image in request.images:
            _require_image(image)


def _require_image(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"There is no image {path}: check --image.")


def _as_json(request: Request, text: str) -> str:
    images = [str(path) for path in request.images]
    return json.dumps({"text": text, "prompt": request.prompt, "images": images}, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
