"""`libmoe reproduce`: the same run again gives the same numbers, and what was changed is named."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from entrypoint.catalog.load import load_catalog
from entrypoint.catalog.selection import select
from entrypoint.prepare.options import Options
from entrypoint.prepare.run import prepare
from entrypoint.prepare.transport.addresses import Addresses
from entrypoint.reproduce.again import expected_tolerance
from entrypoint.reproduce.compare import compare
from entrypoint.reproduce.differences import differences, same_machine
from entrypoint.sample.build import build
from entrypoint.sample.hub import serve
from entrypoint.volume import Volume
from libmoe.config.run import RunSpec
from tests.entrypoint.conftest import Manifest

pytestmark = pytest.mark.slow


def libmoe(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from entrypoint.cli import main; main()", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A volume with the sample's first stage and a run of two steps on it."""
    root = tmp_path_factory.mktemp("reproduce")
    catalog = load_catalog("sample")
    build(root / "hub")
    with serve(root / "hub") as url:
        options = Options(addresses=Addresses(mirror=url))
        prepare(select(catalog, ("pretrain",)), Volume(root / "data"), options)
    run = ("--stage", "1", "--preset", "tiny", "--gpus", "cpu", "--max-steps", "2")
    done = libmoe("train", *run, "--data-dir", root / "data", "--run-dir", root / "runs")
    assert done.returncode == 0, done.stderr
    yield root
    shutil.rmtree(root)


@pytest.fixture
def manifest_of(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run's manifest and metrics, to be tampered with."""
    for name in ("run.json", "metrics.jsonl"):
        shutil.copy(trained / "runs/pretrain" / name, tmp_path)
    return tmp_path / "run.json"


def edit(manifest: Path, **changed: Any) -> None:
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **changed}))


def test_an_unchanged_run_is_reproduced_bit_for_bit(manifest_of: Path) -> None:
    done = libmoe("reproduce", manifest_of.parent, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["same"]
    assert (told["steps"], told["steps_equal"], told["tolerance"]) == (2, 2, 0.0)
    assert told["differences"] == []
    assert not (manifest_of.parent / "reproduced/model").exists()


def test_changed_settings_and_code_are_named(manifest_of: Path) -> None:
    before = json.loads(manifest_of.read_text())
    before["config"]["train"]["learning_rate"] = 0.5
    edit(manifest_of, config=before["config"], code={**before["code"], "source_sha256": "another"})
    done = libmoe("reproduce", manifest_of)
    assert done.returncode == 65
    assert "code settings_sha256 was" in done.stderr
    assert "code source_sha256 was another" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "not reproduced: step 2: " in last


def test_a_changed_photograph_is_named(trained: Path, manifest_of: Path) -> None:
    photos = {path: path.read_bytes() for path in (trained / "data/images").rglob("*.jpg")}
    try:
        for path in photos:
            Image.new("RGB", (64, 64), "red").save(path)
        done = libmoe("reproduce", manifest_of, "--steps", "1")
    finally:
        for path, content in photos.items():
            path.write_bytes(content)
    assert done.returncode == 65
    assert "step 1: " in done.stderr
    assert "has changed since it came" in done.stderr.splitlines()[-1]


def test_a_run_that_cannot_be_repeated_says_why(manifest_of: Path, tmp_path: Path) -> None:
    edit(manifest_of, init_from=str(tmp_path / "gone"))
    done = libmoe("reproduce", manifest_of)
    assert (done.returncode, "which is gone" in done.stderr) == (78, True)
    (manifest_of.parent / "metrics.jsonl").unlink()
    edit(manifest_of, run_dir=str(tmp_path / "nowhere"))
    assert libmoe("reproduce", manifest_of).returncode == 65
    assert libmoe("reproduce", tmp_path / "none.json").returncode == 78


def steps(*losses: float) -> list[dict[str, Any]]:
    return [{"step": n, "loss": loss, "tokens": 10} for n, loss in enumerate(losses, start=1)]


def test_steps_are_compared_by_their_numbers() -> None:
    """The first run skipped a step, or a line of its file is damaged."""
    before, now = steps(7, 6, 5), steps(7, 6, 5)
    found = compare([before[0], before[2]], now, tolerance=0)
    assert (found.same, found.steps, found.equal) == (True, 2, 2)


def test_the_last_bit_counts() -> None:
    one = 6.9
    other = one + 1e-15
    assert one != other
    found = compare(steps(7, one), steps(7, other), tolerance=0)
    assert (found.same, found.steps, found.equal) == (False, 2, 1)
    assert found.first == f"step 2: loss was {one}, is {other}"
    assert compare(steps(7, one), steps(7, other), tolerance=1e-9).same


def test_a_step_that_is_missing_is_a_difference() -> None:
    assert not compare(steps(7, 6), steps(7), tolerance=0.5).same


def test_what_differs_between_two_plans(manifest: Manifest, tmp_path: Path) -> None:
    before = manifest().model_copy(
        update={
            "versions": {"torch": "1"},
            "hardware": {"devices": "A", "system": "old"},
            "receipts": {"a": "x"},
        }
    )
    now = before.model_copy(
        update={"hardware": {"devices": "A", "system": "new"}, "receipts": {"a": "y", "b": "z"}}
    )
    path = _written(before, tmp_path)
    assert [str(one) for one in differences(before, now, path)] == ["artifact a was x, is y"]
    assert same_machine(differences(before, now, path))
    assert expected_tolerance(before, differences(before, now, path)) == 0
    fast = manifest(deterministic=False)
    assert expected_tolerance(fast, []) == 0.01
    other = now.model_copy(update={"versions": {"torch": "2"}})
    assert not same_machine(differences(before, other, path))


def test_a_setting_that_did_not_exist_is_named(manifest: Manifest, tmp_path: Path) -> None:
    spec = manifest()
    path = _written(spec, tmp_path)
    content = json.loads(path.read_text())
    del content["config"]["data"]["packing"]
    path.write_text(json.dumps(content))
    assert [one.what for one in differences(spec, spec, path)] == ["setting data.packing"]


def _written(spec: RunSpec, folder: Path) -> Path:
    path = folder / "run.json"
    path.write_text(spec.model_dump_json())
    return path
