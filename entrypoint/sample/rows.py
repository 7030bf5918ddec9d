"""The sample as LLaVA's JSON: the rows of each stage, and the image path that each row names."""

from collections.abc import Iterable
from typing import Any

from entrypoint.sample.album import ALBUM, Photo, Turn

Row = dict[str, Any]

PHOTOS_PER_SHARD = 12
# How each source of the instruction mixture names its files.
SFT_NAMES = {
    "coco/train2017": "{:012d}",
    "gqa/images": "24{:05d}",
    "ocr_vqa/images": "{:010d}",
    "textvqa/train_images": "{:016x}",
    "vg/VG_100K": "23{:05d}",
    "vg/VG_100K_2": "23{:05d}",
}


def pretrain_image(photo: Photo) -> str:
    """Path below the image root, as in LLaVA-Pretrain: ``<shard>/<shard><place>.jpg``."""
    shard, place = divmod(photo.number - 1, PHOTOS_PER_SHARD)
    return f"{shard:05d}/{shard:05d}{place + 1:04d}.jpg"


def pft_image(photo: Photo) -> str:
    """Path on the volume, as in ALLaVA."""
    return f"allava_laion/images/{100_000_000 + photo.number}.jpeg"


def sft_image(photo: Photo) -> str:
    """Path on the volume, as in the instruction mixture."""
    return f"{photo.folder}/{SFT_NAMES[photo.folder].format(photo.number)}.jpg"


def pretrain_rows() -> list[Row]:
    """One row a photograph: a varied short instruction, answered with the caption."""
    return [
        _row(pretrain_image(photo), _asked(photo, ALBUM.brief_prompts, photo.caption))
        for photo in ALBUM.photos
    ]


def pft_rows() -> list[Row]:
    """One row a photograph: a varied instruction, answered with the detailed caption."""
    return [
        _row(pft_image(photo), _asked(photo, ALBUM.detail_prompts, photo.detail)) for photo in ALBUM.photos
    ]


def sft_rows() -> list[Row]:
    """Two rows a photograph (its caption; its questions), then the rows without one."""
    rows = []
    for photo in ALBUM.photos:
        caption = Turn(f"<image>\n{ALBUM.caption_prompt}", photo.caption)
        first, *others = photo.turns
        questions = [Turn(f"<image>\n{first.ask}", first.answer), *others]
        rows += [_row(sft_image(photo), [caption]), _row(sft_image(photo), questions)]
    rows += [
        {"id": f"text_{number}", "model": "", "conversations": _conversations(chat)}
        for number, chat in enumerate(ALBUM.chats, start=1)
    ]
    return rows


def _asked(photo: Photo, prompts: tuple[str, ...], answer: str) -> list[Turn]:
    """LLaVA puts the image before the prompt or after it; so do we, turn about."""
    prompt = prompts[photo.number % len(prompts)]
    return [Turn(f"<image>\n{prompt}" if photo.number % 2 else f"{prompt}\n<image>", answer)]


def _row(image: str, turns: Iterable[Turn]) -> Row:
    stem = image.rpartition("/")[2].partition(".")[0]
    return {"id": stem, "image": image, "conversations": _conversations(turns)}


def _conversations(turns: Iterable[Turn]) -> list[dict[str, str]]:
    return [
        {"from": speaker, "value": value}
        for turn in turns
        for speaker, value in (("human", turn.ask), ("gpt", turn.answer))
    ]
