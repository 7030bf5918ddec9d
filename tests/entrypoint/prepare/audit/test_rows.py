"""Rows against the disk."""

import json

import pytest
from PIL import Image

from entrypoint.prepare.audit.rows import Depth, audit
from libmoe.config.errors import DataError


def look(world, *only, decode_jobs=0):
    return audit(world.selection(*only), world.volume, Depth(decode_jobs=decode_jobs))


def test_all_there(small):
    small.prepare()
    report = look(small)
    (found,) = report.sets
    assert (found.rows, found.text_only, found.images, found.present) == (7, 1, 6, 6)
    assert found.verdict == "ready"
    assert report.ready
    report.require_ready()


def test_a_missing_image_is_named_with_its_row(small):
    small.prepare()
    small.volume.path("images/00001/3.jpg").unlink()
    report = look(small)
    (found,) = report.sets
    assert (found.present, found.missing, found.unusable_rows) == (5, 1, (3,))
    assert found.examples == ("images/00001/3.jpg",)
    assert report.stage_verdict("pretrain").startswith("not ready: images is damaged (1 of 6 files are gone")
    with pytest.raises(DataError, match="The volume is not ready: images is damaged"):
        report.require_ready()


def test_an_empty_image(small):
    small.prepare()
    small.volume.path("images/00000/2.jpg").write_bytes(b"")
    (found,) = look(small).sets
    assert (found.present, found.missing, found.empty, found.unusable_rows) == (5, 0, 1, (2,))
    assert found.verdict == "not ready: 1 rows lack their image"


def test_deep_finds_what_does_not_decode_and_lets_another_format_be(small):
    small.prepare()
    broken, png = small.volume.path("images/00001/3.jpg"), small.volume.path("images/00001/5.jpg")
    broken.write_bytes(broken.read_bytes()[:100])
    Image.new("RGB", (4, 4)).save(png, "PNG")
    assert look(small).sets[0].undecodable == 0
    assert look(small).not_ready == ()
    for jobs in (1, 2):
        (found,) = look(small, decode_jobs=jobs).sets
        assert (found.present, found.undecodable, found.unusable_rows) == (5, 1, (3,))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("images", "images/00001/3.jpg"),
        ("weights", "models/org/m/weights.bin"),
        ("rows", "jsons/rows.json"),
    ],
)
def test_deep_finds_a_changed_byte(small, name, path):
    small.prepare()
    file = small.volume.path(path)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert look(small).not_ready == ()
    assert look(small, decode_jobs=1).not_ready == (f"{name} is damaged ({path} has changed since it came)",)


def test_few_lost_rows_are_tolerated_in_a_large_set(world):
    """The archive itself lacks an image: that is its source's fault, not the volume's."""
    world.add_set(200)
    table = json.loads((world.served / "huggingface.co/datasets/org/set/resolve/main/rows.json").read_text())
    table[0]["image"] = "00000/never.jpg"
    world.add(
        "rows", "annotations", world.artifacts["rows"]["urls"][0], json.dumps(table).encode(),
        "jsons/rows.json", image_root="images", needs=["images", "weights"],
    )  # fmt: skip
    world.start()
    report = world.prepare().report
    assert report.stage_verdict("pretrain") == "ready but for 1 rows"
    assert report.ready
    kept = json.loads(world.volume.audit_path("rows").read_text())
    assert kept["unusable_rows"] == [0]


def test_an_image_that_several_rows_share_is_counted_once(world):
    world.add_set(2)
    path = world.served / "huggingface.co/datasets/org/set/resolve/main/rows.json"
    table = json.loads(path.read_text())
    world.add(
        "rows", "annotations", world.artifacts["rows"]["urls"][0], json.dumps(table[:1] * 5).encode(),
        "jsons/rows.json", image_root="images", needs=["images", "weights"],
    )  # fmt: skip
    world.start()
    (found,) = world.prepare().report.sets
    assert (found.rows, found.images, found.present) == (5, 1, 1)


def test_nothing_there_yet(small):
    small.volume.root.mkdir()
    report = look(small)
    assert not report.ready
    assert set(report.not_ready) == {"rows is absent", "images is absent", "weights is absent"}
