"""The bundled sample, from its hub onto a volume, with the command itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from entrypoint.sample.build import build
from entrypoint.sample.hub import Hub, Library


@pytest.fixture
def hub(tmp_path):
    build(tmp_path / "served")
    with Hub(Library(tmp_path / "served").answer) as hub:
        yield hub


def libmoe(*args: str) -> dict:
    command = [sys.executable, "-c", "from entrypoint.cli import main; main()", *args, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_prepare_fills_the_volume_and_then_has_nothing_to_do(hub, tmp_path):
    data = tmp_path / "data"
    where = ["--catalog", "sample", "--stage", "all", "--data-dir", str(data)]
    first = libmoe("prepare", *where, "--mirror", hub.url)
    assert first["stages"] == {"pretrain": "ready", "pft": "ready", "sft": "ready"}
    assert all(found["missing"] == 0 and found["rows"] >= 24 for found in first["annotations"])
    tops = {path.name for path in data.iterdir()}
    assert {"jsons", "images", "allava_laion", "coco", "gqa", "ocr_vqa", "textvqa", "vg", "models"} <= tops
    for path in data.rglob("*.jpg"):
        with Image.open(path) as image:
            image.load()
    asked = len(hub.requests)
    again = libmoe("prepare", *where, "--mirror", hub.url)
    assert (again["done"], len(hub.requests)) == ([], asked)
    assert libmoe("verify", *where, "--deep")["ready"]


def test_what_prepare_writes_is_a_readable_index(hub, tmp_path):
    import pyarrow as pa

    data = tmp_path / "data"
    where = ["--catalog", "sample", "--stage", "1", "--data-dir", str(data)]
    libmoe("prepare", *where, "--mirror", hub.url)
    with pa.memory_map(str(data / ".libmoe/index/sample-pretrain-json.arrow")) as source:
        table = pa.ipc.open_file(source).read_all()
    for row in table.to_pylist():
        assert all(Path(data, image).is_file() for image in row["images"])
        assert {turn["from"] for turn in row["conversations"]} == {"human", "gpt"}
