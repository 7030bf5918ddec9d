"""What the sample offers for download: one artifact a file, at the place where the real one would be."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from entrypoint.sample import rows
from entrypoint.sample.album import ALBUM, HERE, Photo
from entrypoint.sample.archive import zip_bytes

REVISION = "5b1f3c0de2a94876b0c1d2e3f4a5968778695a4b"
HUB = "https://huggingface.co"
PHOTO_LICENCE = "each photograph has its own free licence: entrypoint/sample/photos/SOURCES.md"
OWN_LICENCE = "Apache-2.0"
TOKENIZER_FILES = {
    "tiny-tokenizer": "tokenizer.json",
    "tiny-tokenizer-config": "tokenizer_config.json",
    "tiny-chat-template": "chat_template.jinja",
}


class MixtureArchive(NamedTuple):
    """The archive of one folder of the instruction mixture.

    Unpacked as a tree, it holds the rest of the folder's path below its destination.
    """

    name: str
    url: str
    folder: str
    destination: str
    layout: str = "tree"


def _dataset(name: str) -> str:
    return f"{HUB}/datasets/libmoe/{name}/resolve/{REVISION}"


_VG = "https://cs.stanford.edu/people/rak248/VG_100K_2"
MIXTURE = [
    MixtureArchive(
        "sample-coco", "http://images.cocodataset.org/zips/train2017.zip", "coco/train2017", "coco"
    ),
    MixtureArchive(
        "sample-gqa", "https://downloads.cs.stanford.edu/nlp/data/gqa/images.zip", "gqa/images", "gqa"
    ),
    MixtureArchive(
        "sample-ocr-vqa",
        f"{_dataset('sample-ocr-vqa')}/ocr_vqa_images.zip",
        "ocr_vqa/images",
        "ocr_vqa/images",
        "flatten",
    ),
    MixtureArchive(
        "sample-textvqa",
        "https://dl.fbaipublicfiles.com/textvqa/images/train_val_images.zip",
        "textvqa/train_images",
        "textvqa",
    ),
    MixtureArchive("sample-vg-1", f"{_VG}/images.zip", "vg/VG_100K", "vg"),
    MixtureArchive("sample-vg-2", f"{_VG}/images2.zip", "vg/VG_100K_2", "vg"),
]


@dataclass(frozen=True)
class Artifact:
    """A file of the sample. ``fields`` are the catalogue's entries that only its kind has."""

    name: str
    kind: str
    url: str
    licence: str
    destination: str
    content: bytes = field(repr=False)
    fields: dict[str, str | list[str]] = field(default_factory=dict)


def artifacts() -> list[Artifact]:
    """Every file of the sample, those of stage 1 first."""
    return [
        _annotations("pretrain", rows.pretrain_rows(), ["sample-pretrain-images"], image_root="images"),
        _archive(
            "sample-pretrain-images",
            f"{_dataset('sample-pretrain')}/images.zip",
            "images",
            ALBUM.photos,
            rows.pretrain_image,
        ),
        _annotations("pft", rows.pft_rows(), ["sample-pft-images-0", "sample-pft-images-1"], image_root=""),
        *(_pft_archive(half) for half in (0, 1)),
        _annotations("sft", rows.sft_rows(), [archive.name for archive in MIXTURE], image_root=""),
        *(_mixture_archive(archive) for archive in MIXTURE),
        *(_tokenizer_file(name, file) for name, file in TOKENIZER_FILES.items()),
    ]


def _annotations(stage: str, content: list[rows.Row], images: list[str], image_root: str) -> Artifact:
    file = f"sample_{stage}.json"
    return Artifact(
        name=f"sample-{stage}-json",
        kind="annotations",
        url=f"{_dataset(f'sample-{stage}')}/{file}",
        licence=OWN_LICENCE,
        destination=f"jsons/{file}",
        content=(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode(),
        fields={"needs": [*images, *TOKENIZER_FILES], "image_root": image_root},
    )


def _archive(
    name: str,
    url: str,
    destination: str,
    photos: Iterable[Photo],
    inner_path: Callable[[Photo], str],
    layout: str = "tree",
) -> Artifact:
    members = {inner_path(photo): photo.path.read_bytes() for photo in photos}
    return Artifact(name, "archive", url, PHOTO_LICENCE, destination, zip_bytes(members), {"layout": layout})


def _pft_archive(half: int) -> Artifact:
    chunk = f"image_chunks/images_{half}"
    return _archive(
        f"sample-pft-images-{half}",
        f"{_dataset('sample-pft')}/allava_laion/{chunk}.zip",
        "allava_laion/images",
        [photo for photo in ALBUM.photos if photo.number % 2 == half],
        lambda photo: f"{chunk}/{rows.pft_image(photo).rpartition('/')[2]}",
        "flatten",
    )


def _mixture_archive(archive: MixtureArchive) -> Artifact:
    photos = [photo for photo in ALBUM.photos if photo.folder == archive.folder]
    below = f"{archive.destination}/" if archive.layout == "tree" else ""
    return _archive(
        archive.name,
        archive.url,
        archive.destination,
        photos,
        lambda photo: rows.sft_image(photo).removeprefix(below),
        archive.layout,
    )


def _tokenizer_file(name: str, file: str) -> Artifact:
    return Artifact(
        name=name,
        kind="file",
        url=f"{HUB}/libmoe/tiny/resolve/{REVISION}/{file}",
        licence=OWN_LICENCE,
        destination=f"models/libmoe/tiny/{file}",
        content=(HERE / "tokenizer" / file).read_bytes(),
    )
