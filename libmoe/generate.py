"""Text about images from a trained checkpoint: ``python -m libmoe.generate``."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from libmoe.captioner import Captioner, require_image
from libmoe.config.errors import DataError, LibmoeError, UsageError
from libmoe.config.saved import saved_values
from libmoe.lasting import lasting


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
        with lasting():
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
            require_image(image)


def _as_json(request: Request, text: str) -> str:
    images = [str(path) for path in request.images]
    return json.dumps({"text": text, "prompt": request.prompt, "images": images}, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
