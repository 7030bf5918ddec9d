"""Every host of the guide's catalogue in small: real URLs, real inner layouts, a few real images each."""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from entrypoint.catalog.load import load_catalog
from entrypoint.catalog.schema import Artifact

HUB = "huggingface.co"
LIBMOE = f"{HUB}/datasets/DavidNguyen/LLAVA-LibMoE/resolve/main"
ONEVISION_PARTS = 12
COVERS = {
    "0001": "images.example.org/I/51a.jpg",
    "0002": "images.example.org/I/51b.gif",
    "0003": "gone.example.org/x.jpg",
}

TREE = {
    "llava-558k": ["images/00453/004539375.jpg", "images/00116/001163531.jpg"],
    "allava-laion": ["allava_laion/images/100.jpeg", "allava_laion/images/101.jpeg"],
    "vision-flan": ["allava_vflan/images/images_191task_1k/VQA_1.jpg"],
    "coco": ["coco/train2017/000000033471.jpg"],
    "gqa": ["gqa/images/2354786.jpg"],
    "ocr_vqa": ["ocr_vqa/images/0001.jpg", "ocr_vqa/images/0002.jpg"],
    "textvqa": ["textvqa/train_images/011e7e629fb9ae7b.jpg"],
    "vg-1": ["vg/VG_100K/2.jpg"],
    "vg-2": ["vg/VG_100K_2/2404.jpg"],
    "onevision": [f"image_onevision/set{n}/{n}.png" for n in range(6)],
}
"""What the guide's tree holds when all is there."""


def picture(name: str, kind: str = "JPEG") -> bytes:
    """A small picture that differs from name to name."""
    out = io.BytesIO()
    colour = tuple(sum(name.encode()) * step % 256 for step in (1, 5, 11))
    Image.new("RGB", (16, 12), colour).save(out, kind)
    return out.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in sorted({f"{name.rpartition('/')[0]}/" for name in files if "/" in name}):
            archive.writestr(folder, b"")
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def rows(images: list[str | None]) -> bytes:
    """LLaVA's JSON, with a row for each image; None is a row of text alone."""
    turns = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A colour."}]
    table: list[dict[str, Any]] = [
        {"id": str(number), "conversations": turns, **({"image": image} if image else {})}
        for number, image in enumerate(images)
    ]
    return json.dumps(table).encode()


def _pictures(tree: str, inner: str) -> bytes:
    """A zip of the pictures of one place, each below the folder it has inside the real archive."""
    names = [path.rpartition("/")[2] for path in TREE[tree]]
    return zipped({f"{inner}{name}": picture(name) for name in names})


def contents() -> dict[str, bytes]:
    """Artifact to what its URL gives."""
    mixture = [path for name in ("coco", "gqa", "ocr_vqa", "textvqa", "vg-1", "vg-2") for path in TREE[name]]
    shards = {path.removeprefix("images/"): picture(path) for path in TREE["llava-558k"]}
    laion, vflan = TREE["allava-laion"], TREE["vision-flan"]
    covers = {key: {"imageURL": f"http://{url}", "title": "t", "split": 1} for key, url in COVERS.items()}
    found = {
        "llava-558k": rows(list(shards)),
        "llava-558k-images": zipped(shards),
        "cumo-pft-allava": rows([*laion, *vflan]),
        "allava-caption-laion": rows(list(laion)),
        "allava-caption-vflan": rows(list(vflan)),
        "vision-flan-images": _pictures("vision-flan", "images_191task_1k/"),
        "llava-332k": rows([*mixture[::2], None]),
        "llava-665k": rows([*mixture, None, None]),
        "onevision-1m2": rows([path.removeprefix("image_onevision/") for path in TREE["onevision"]]),
        "coco-train2017": _pictures("coco", "train2017/"),
        "gqa-images": _pictures("gqa", "images/"),
        "textvqa-images": _pictures("textvqa", "train_images/"),
        "vg-100k": _pictures("vg-1", "VG_100K/"),
        "vg-100k-2": _pictures("vg-2", "VG_100K_2/"),
        "ocr-vqa-images": zipped(
            {
                "images/0001.jpg": picture("0001"),
                "images/0002.jpg": picture("0002", "GIF"),
                "__MACOSX/._x": b"-",
            }
        ),
        "ocr-vqa-covers": json.dumps(covers).encode(),
    }
    for number in range(10):
        name = laion[number % len(laion)].rpartition("/")[2]
        inner = f"image_chunks/images_{number}/{name}"
        found[f"allava-laion-images-{number}"] = zipped({inner: picture(name)})
    return found


def onevision_parts() -> dict[str, bytes]:
    """The zip cut into parts, whose names sort otherwise by letters than by numbers."""
    whole = zipped({path: picture(path, "PNG") for path in TREE["onevision"]})
    step = -(-len(whole) // ONEVISION_PARTS)
    return {
        f"image_onevision_part_{n}.zip.part": whole[n * step : (n + 1) * step] for n in range(ONEVISION_PARTS)
    }


def build(root: Path) -> None:
    """Writes ``<root>/<host>/<path>`` for every URL of the guide's catalogue."""
    made = contents()
    for artifact in load_catalog("guide").artifacts:
        for url in artifact.urls:
            _write(root / _path(url), made.get(artifact.name) or _file(artifact))
    parts = onevision_parts()
    for name, content in parts.items():
        _write(root / LIBMOE / "data/image_onevision" / name, content)
    folder = "data/image_onevision"
    listing = [
        {"type": "file", "path": f"{folder}/{name}", "size": len(content)} for name, content in parts.items()
    ]
    listing.append({"type": "file", "path": f"{folder}/process.sh", "size": 9})
    api = f"{HUB}/api/datasets/DavidNguyen/LLAVA-LibMoE/tree/main/{folder}"
    _write(root / api, json.dumps(listing).encode())
    _write(root / COVERS["0001"], picture("0001"))
    _write(root / COVERS["0002"], picture("0002", "GIF"))


def _file(artifact: Artifact) -> bytes:
    return f"the bytes of {artifact.name}\n".encode()


def _path(url: str) -> str:
    return url.partition("://")[2].partition("?")[0]


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
