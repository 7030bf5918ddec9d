"""What the sample's photographs show: the sentences of photos.toml, typed, and the photographs themselves."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PHOTOS_DIR = HERE / "photos"


@dataclass(frozen=True)
class Turn:
    """One question and its answer."""

    ask: str
    answer: str


@dataclass(frozen=True)
class Photo:
    """A photograph and what is true about it.

    ``number`` is its place in photos.toml, from 1; ``folder`` is where the instruction mixture keeps it
    on the volume, such as ``coco/train2017``.
    """

    number: int
    slug: str
    folder: str
    caption: str
    detail: str
    turns: tuple[Turn, ...]

    @property
    def path(self) -> Path:
        """The JPEG in this package."""
        return PHOTOS_DIR / f"{self.slug}.jpg"


@dataclass(frozen=True)
class Album:
    """All photographs, the prompts that go with them, and the chats that have no photograph."""

    photos: tuple[Photo, ...]
    chats: tuple[tuple[Turn, ...], ...]
    caption_prompt: str
    brief_prompts: tuple[str, ...]
    detail_prompts: tuple[str, ...]

    def sentences(self) -> list[str]:
        """Every text of the sample in a fixed order: what the tokenizer is trained on."""
        chats = [photo.turns for photo in self.photos] + list(self.chats)
        return [
            self.caption_prompt,
            *self.brief_prompts,
            *self.detail_prompts,
            *(text for photo in self.photos for text in (photo.caption, photo.detail)),
            *(text for turns in chats for turn in turns for text in (turn.ask, turn.answer)),
        ]


def _turns(row: dict[str, Any]) -> tuple[Turn, ...]:
    return tuple(Turn(ask, answer) for ask, answer in row["turns"])


def _load(file: Path) -> Album:
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    return Album(
        photos=tuple(
            Photo(number, row["slug"], row["folder"], row["caption"], row["detail"], _turns(row))
            for number, row in enumerate(data["photo"], start=1)
        ),
        chats=tuple(_turns(row) for row in data["text"]),
        caption_prompt=data["caption_prompt"],
        brief_prompts=tuple(data["brief_prompts"]),
        detail_prompts=tuple(data["detail_prompts"]),
    )


ALBUM = _load(HERE / "photos.toml")
