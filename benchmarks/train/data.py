"""Rows and photographs as instruction data has them, on a volume of its own."""

import random
import shutil
from pathlib import Path

import pyarrow as pa
from PIL import Image

from entrypoint.sample.album import ALBUM, HERE
from libmoe.config.annotations import CONVERSATIONS, FROM, ID, IMAGES, VALUE, index_schema

NAME = "mixture"
_TEXT_ALONE = 0.06
"""Share of rows, as in LLaVA-665K."""


def make_volume(root: Path, rows: int, words: int, size: tuple[int, int], seed: int = 0) -> Path:
    """``rows`` conversations about photographs, a few about none; the path of their index.

    Args:
        size: of the photographs.
        words: of a row's answers, in the median; they are log-normal, with a few rows of many times as much.
    """
    shutil.copytree(HERE / "tokenizer", root / "models/libmoe/tiny")
    images = _photographs(root, size)
    draw = random.Random(seed)
    vocabulary = [word for photo in ALBUM.photos for word in photo.caption.split()]
    content = []
    for number in range(rows):
        with_image = draw.random() >= _TEXT_ALONE
        turns = []
        for turn in range(draw.choice((1, 1, 2, 3))):
            asked = " ".join(draw.choices(vocabulary, k=8)) + "?"
            length = max(1, round(words * draw.lognormvariate(0, 0.8)))
            said = " ".join(draw.choices(vocabulary, k=length)) + "."
            first = "<image>\n" if with_image and not turn else ""
            turns += [{FROM: "human", VALUE: first + asked}, {FROM: "gpt", VALUE: said}]
        content.append(
            {
                ID: str(number),
                IMAGES: [images[number % len(images)]] if with_image else [],
                CONVERSATIONS: turns,
            }
        )
    index = root / ".libmoe/index" / f"{NAME}.arrow"
    index.parent.mkdir(parents=True)
    with pa.OSFile(str(index), "wb") as sink, pa.ipc.new_file(sink, index_schema()) as writer:
        writer.write_table(pa.Table.from_pylist(content, schema=index_schema()))
    return index


def _photographs(root: Path, size: tuple[int, int]) -> list[str]:
    folder = root / "images"
    folder.mkdir()
    for photo in ALBUM.photos:
        with Image.open(photo.path) as image:
            image.convert("RGB").resize(size).save(folder / f"{photo.slug}.jpg", quality=90)
    return [f"images/{photo.slug}.jpg" for photo in ALBUM.photos]
