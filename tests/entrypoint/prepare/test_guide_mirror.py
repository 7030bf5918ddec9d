"""The guide's whole catalogue, from a mirror that has every host of it in small."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from entrypoint.catalog.load import load_catalog
from entrypoint.sample.hub import Hub, Library
from tests.entrypoint.prepare import guide_mirror


def libmoe(*args: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", "from entrypoint.cli import main; main()", *args],
        capture_output=True, text=True, env={**os.environ, "HF_TOKEN": ""}, timeout=300,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    root = tmp_path_factory.mktemp("mirror")
    guide_mirror.build(root)
    with Hub(Library(root).answer) as hub:
        yield hub.url


@pytest.fixture(scope="module")
def frozen(mirror, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("frozen") / "mine.toml"
    code, _, err = libmoe("catalog", "freeze", "--mirror", mirror, "--hash", "--output", str(path))
    assert code == 0, err
    return path


@pytest.fixture(scope="module")
def volume(mirror, frozen, tmp_path_factory) -> Path:
    data = tmp_path_factory.mktemp("volume") / "data"
    code, _, err = libmoe(
        "prepare", "--stage", "all", "--catalog", str(frozen), "--mirror", mirror, "--data-dir", str(data),
        "--jobs", "1",
    )  # fmt: skip
    assert code == 0, err
    return data


def test_freezing_finds_every_size_and_hash(frozen):
    catalog = load_catalog(str(frozen))
    assert [a.name for a in catalog.artifacts] == [a.name for a in load_catalog().artifacts]
    for artifact in catalog.artifacts:
        assert artifact.size_is_exact
        assert artifact.parts_listing is None
        assert all(download.sha256 for download in artifact.downloads)
    parts = catalog.artifact("image-onevision").downloads
    assert [part.destination.rpartition("_")[2] for part in parts] == [f"{n}.zip.part" for n in range(12)]


def test_the_tree_is_the_guides(volume):
    images = {
        str(path.relative_to(volume))
        for path in volume.rglob("*")
        if path.is_file() and path.relative_to(volume).parts[0] not in (".libmoe", "models", "jsons")
    }
    assert images == {path for paths in guide_mirror.TREE.values() for path in paths}
    assert sorted(path.name for path in (volume / "jsons").iterdir()) == [
        "ALLaVA-Caption-LAION-4V.json",
        "ALLaVA-Caption-VFLAN-4V.json",
        "blip_laion_cc_sbu_558k.json",
        "cumo_pft_allava.json",
        "data_1M2_correct_format.json",
        "llava_v1_5_mix665k.json",
        "llava_v1_5_mix665k_half.json",
    ]
    for model in ("microsoft/Phi-3.5-mini-instruct", "google/siglip-so400m-patch14-224"):
        assert (volume / "models" / model / "config.json").is_file()


def test_a_gif_by_a_jpegs_name_is_a_jpeg_now(volume):
    assert (volume / "ocr_vqa/images/0002.jpg").read_bytes().startswith(b"\xff\xd8\xff")
    manifest = (volume / ".libmoe/receipts/ocr-vqa-images.files").read_text()
    assert [line.split("\t")[3] for line in manifest.splitlines()] == ["", "gif"]


def test_verify_says_ready_for_all_stages(volume, frozen):
    where = ["--catalog", str(frozen), "--data-dir", str(volume)]
    code, out, err = libmoe("verify", "--stage", "all", "--deep", "--json", *where)
    assert code == 0, err
    report = json.loads(out)
    assert report["stages"] == {"pretrain": "ready", "pft": "ready", "sft": "ready"}
    sets = {found["name"]: found for found in report["annotations"]}
    assert sets["onevision-1m2"]["present"] == len(guide_mirror.TREE["onevision"])
    assert sets["llava-665k"]["text_only"] == 2
    assert sets["llava-665k"]["unused"] == []
    assert "gqa-images" in sets["llava-332k"]["unused"]


def test_a_second_run_asks_nobody(volume, frozen):
    where = ["--catalog", str(frozen), "--data-dir", str(volume), "--mirror", "http://127.0.0.1:9"]
    code, _, err = libmoe("prepare", "--stage", "all", *where)
    assert code == 0, err
    assert "up to date" in err


def test_nothing_of_the_parts_is_left(volume):
    left = [path.name for path in (volume / ".libmoe").rglob("*part*") if path.is_file()]
    assert left == []


def test_the_guides_catalogue_as_it_ships_asks_for_the_parts(mirror, tmp_path):
    where = ["--mirror", mirror, "--data-dir", str(tmp_path / "data"), "--jobs", "1"]
    code, _, err = libmoe("prepare", "--only", "image-onevision", *where)
    assert code == 0, err
    found = sorted(str(path.relative_to(tmp_path / "data")) for path in tmp_path.rglob("*.png"))
    assert found == sorted(guide_mirror.TREE["onevision"])


def test_a_dry_run_of_everything_asks_nobody_and_writes_nothing(tmp_path):
    code, out, err = libmoe(
        "prepare", "--stage", "all", "--dry-run", "--json", "--data-dir", str(tmp_path / "d")
    )
    assert code == 0, err
    plan = json.loads(out)
    assert len(plan["files"]) == 39
    assert plan["to_fetch_bytes"] > 240e9
    assert plan["new_files"] > 2_000_000
    assert not (tmp_path / "d").exists()


def test_ocr_vqa_the_guides_own_way(mirror, frozen, tmp_path):
    catalog = tmp_path / "small.toml"
    catalog.write_text(frozen.read_text().replace('"llava-mix-images"', '"ocr-vqa-images"'))
    where = ["--catalog", str(catalog), "--data-dir", str(tmp_path / "data")]
    chosen = ["--only", "llava-665k", "--prefer", "ocr-vqa-covers", "--force", *where]  # it plans all covers
    code, _, err = libmoe("prepare", *chosen, "--mirror", mirror)
    assert code == 0, err
    covers = tmp_path / "data/ocr_vqa/images"
    assert sorted(path.name for path in covers.iterdir()) == ["0001.jpg", "0002.jpg"]
    assert (covers / "0002.jpg").read_bytes().startswith(b"\xff\xd8\xff")
    code, _, err = libmoe("prepare", *chosen, "--mirror", "http://127.0.0.1:9")
    assert (code, "up to date" in err) == (0, True)
    (covers / "0001.jpg").unlink()
    code, _, err = libmoe("prepare", *chosen, "--mirror", mirror)
    assert code == 0, err
    assert (covers / "0001.jpg").is_file()
