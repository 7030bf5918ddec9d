"""A world with an artifact of every kind: archives whole and in parts, files, annotations, images by URL."""

import json
import random
from pathlib import Path

from tests.entrypoint.prepare.conftest import HUB, PLAIN, World, picture, row, zipped


def of_every_kind(folder: Path) -> World:
    """A small but complete world."""
    world = World(folder)
    noise = random.Random(7)
    names = [f"0000{number % 3}/{number}.jpg" for number in range(60)]
    pictures = {name: picture(number) for number, name in enumerate(names)}
    pictures["more.bin"] = noise.randbytes(2 << 20)
    world.add("images", "archive", f"{HUB}/images.zip", zipped(pictures), "images")
    add_parts(world, zipped({f"p{number}.bin": noise.randbytes(300_000) for number in range(6)}))
    world.add("hashed", "file", f"{HUB}/weights.bin", noise.randbytes(3 << 20), "models/org/m/weights.bin")
    world.add(
        "unhashed",
        "file",
        f"{PLAIN}/tower.bin",
        noise.randbytes(3 << 20),
        "models/org/t/tower.bin",
        sha256=None,
    )
    covers = [f"c{number}" for number in range(12)]
    listed = {name: {"imageURL": f"{PLAIN}/covers/{name}.jpg"} for name in covers}
    world.add("covers", "images", f"{PLAIN}/list.json", json.dumps(listed).encode(), "covers")
    for number, name in enumerate(covers):
        world.serve(f"{PLAIN}/covers/{name}.jpg", picture(number))
    places = [f"images/{name}" for name in names] + [f"covers/{name}.jpg" for name in covers]
    table = [row(number, place) for number, place in enumerate([*places, None])]
    world.add(
        "rows", "annotations", f"{HUB}/rows.json", json.dumps(table).encode(), "jsons/rows.json",
        needs=["images", "parts", "hashed", "unhashed", "covers"],
    )  # fmt: skip
    world.stages["pretrain"] = ["rows"]
    return world


def add_parts(world: World, whole: bytes) -> None:
    half = len(whole) // 2
    pieces = {"part_2": whole[:half], "part_10": whole[half:]}  # joined by number, not by letter
    for name, content in pieces.items():
        world.serve(f"{HUB}/{name}.zip.part", content)
    world.artifacts["parts"] = {
        "name": "parts", "kind": "archive", "licence": "free", "destination": "parts",
        "parts": [{"urls": [f"{HUB}/{name}.zip.part"], "size": len(c)} for name, c in pieces.items()],
    }  # fmt: skip


def hidden(world: World) -> set[str]:
    """What is kept beside the files, however often the lock went from hand to hand."""
    root = world.volume.hidden
    found = (str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    return {name for name in found if not name.startswith("lock/")}
