import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from entrypoint.sample import PHOTOS
from entrypoint.sample.build import CATALOG, build, catalogue
from libmoe.config.errors import VolumeError


def tree(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def served_file(served: Path, artifact: dict) -> Path:
    (url,) = artifact["urls"]
    return served / url.partition("://")[2]


def unpacked(served: Path, catalogue: dict) -> dict[str, bytes]:
    """What the volume holds below each archive's destination, as the catalogue says: path -> content."""
    files = {}
    for artifact in catalogue["artifact"]:
        if artifact["kind"] != "archive":
            continue
        with zipfile.ZipFile(served_file(served, artifact)) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    flat = artifact["layout"] == "flatten"
                    inner = PurePosixPath(entry.filename).name if flat else entry.filename
                    files[f"{artifact['destination']}/{inner}"] = archive.read(entry)
    return files


def test_the_checked_in_catalogue_is_up_to_date():
    assert CATALOG.read_text(encoding="utf-8") == catalogue(), (
        "run `python -m entrypoint.sample.build --catalog` and commit what it writes"
    )


def test_what_is_served_is_what_the_catalogue_lists(served, catalogue):
    listed = {str(served_file(served, artifact).relative_to(served)) for artifact in catalogue["artifact"]}
    assert listed == set(tree(served))
    for artifact in catalogue["artifact"]:
        content = served_file(served, artifact).read_bytes()
        assert len(content) == artifact["size"]
        assert hashlib.sha256(content).hexdigest() == artifact["sha256"]


def test_names_are_unique_and_needs_and_stages_lead_somewhere(catalogue):
    kinds = {artifact["name"]: artifact["kind"] for artifact in catalogue["artifact"]}
    assert len(kinds) == len(catalogue["artifact"])
    for annotations in (name for names in catalogue["stages"].values() for name in names):
        assert kinds[annotations] == "annotations"
    needed = {need for artifact in catalogue["artifact"] for need in artifact.get("needs", [])}
    assert needed == {name for name, kind in kinds.items() if kind != "annotations"}


def test_every_image_that_a_row_names_is_in_an_archive_that_the_row_needs(served, catalogue):
    originals = {photo.path.read_bytes() for photo in PHOTOS}
    by_name = {artifact["name"]: artifact for artifact in catalogue["artifact"]}
    for artifact in (a for a in catalogue["artifact"] if a["kind"] == "annotations"):
        rows = json.loads(served_file(served, artifact).read_text(encoding="utf-8"))
        on_volume = unpacked(served, {"artifact": [by_name[need] for need in artifact["needs"]]})
        named = {str(PurePosixPath(artifact["image_root"]) / row["image"]) for row in rows if "image" in row}
        assert named == set(on_volume)
        assert sorted(on_volume.values()) == sorted(originals)


def test_flattened_archives_hold_folders_and_shards_lie_at_the_root(served, catalogue):
    for artifact in (a for a in catalogue["artifact"] if a["kind"] == "archive"):
        with zipfile.ZipFile(served_file(served, artifact)) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
        assert all("/" in name for name in names)
        if artifact["name"] == "sample-pretrain-images":
            assert {name.split("/")[0] for name in names} == {"00000", "00001"}


def build_apart(root: Path, shell: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Build in a process of its own, after the shell's commands."""
    command = f'{shell} exec "$0" -m entrypoint.sample.build "$1"'
    return subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, str(root)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_another_process_writes_the_same_bytes(served, tmp_path):
    # A hash seed, a time zone and a mask of its own: nothing of the process may show in the files.
    root = tmp_path / "new" / "root"
    done = build_apart(root, "umask 077;", PYTHONHASHSEED="7", TZ="Asia/Tokyo")
    assert (done.returncode, done.stderr) == (0, "")
    assert tree(root) == tree(served)


def test_building_again_leaves_whole_files_alone_and_mends_damaged_ones(served, tmp_path):
    build(tmp_path)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.*") if file.is_file()}
    damaged, *untouched = sorted(before)
    damaged.write_bytes(b"half")
    build(tmp_path)
    assert tree(tmp_path) == tree(served)
    assert all(file.stat().st_mtime_ns == before[file] for file in untouched)


def test_a_write_that_fails_half_way_leaves_only_whole_files(served, tmp_path):
    done = build_apart(tmp_path, "ulimit -f 200;")  # no file longer than 200 blocks of 512 bytes
    assert done.returncode == VolumeError.exit_code
    assert (
        done.stderr == f"The sample cannot be written to {tmp_path} (File too large): name another folder.\n"
    )
    written = tree(tmp_path)
    assert 0 < len(written) < len(tree(served))
    assert written.items() <= tree(served).items()


def test_a_root_that_cannot_be_written_is_said_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        VolumeError, match=r"^The sample cannot be written to .*file \(.*\): name another folder\.$"
    ):
        build(tmp_path / "file")
