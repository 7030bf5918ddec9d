"""What `libmoe doctor` finds, each finding in a machine that is so."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from entrypoint.catalog.load import load_catalog
from entrypoint.doctor import gpus, limits, software, storage
from entrypoint.doctor.network import network_findings
from entrypoint.prepare.transport.addresses import Addresses
from entrypoint.volume import Volume

pytestmark = pytest.mark.slow

H100 = "0, NVIDIA H100 80GB HBM3, {driver}, 81559, {capability}"


def doctor(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from entrypoint.cli import main; main()", "doctor", *args]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a program on the path that answers as nvidia-smi does."""

    def install(answer: str, code: int = 0) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\necho '{answer}'\nexit {code}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return install


def test_a_machine_that_is_well_exits_with_0_and_json_lists_every_package(tmp_path: Path) -> None:
    done = doctor("--data-dir", str(tmp_path), "--gpus", "cpu", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert told["healthy"]
    verdicts = {one["check"]: one["verdict"] for one in told["findings"]}
    assert verdicts["ranks"] == verdicts["aria2"] == verdicts["data volume"] == "ok"
    names = {package["name"].lower() for package in told["packages"]}
    assert {"torch", "deepspeed", "transformers", "click"} <= names


def test_what_would_stop_a_run_exits_with_78_and_says_what_to_do(tmp_path: Path) -> None:
    done = doctor("--data-dir", str(tmp_path / "nowhere"), "--gpus", "cpu")
    assert done.returncode == 78
    assert "Mount the volume there" in done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_gpus_that_are_not_there_fail(tmp_path: Path) -> None:
    done = doctor("--data-dir", str(tmp_path), "--gpus", "7,8")
    assert done.returncode == 78
    assert "asks for 7, 8" in done.stderr


@pytest.mark.parametrize(
    ("version", "capability", "cuda", "verdicts"),
    [
        ("580.95.05", "9.0", "13.0", ["ok", "ok"]),
        ("570.86.10", "9.0", "13.0", ["ok", "fail"]),
        ("570.86.10", "9.0", "12.8", ["ok", "ok"]),
        ("580.95.05", "7.5", "13.0", ["warn", "ok"]),
        ("580.95.05", "9.0", None, ["ok", "fail"]),
    ],
)
def test_driver_and_gpu_against_the_cuda_of_torch(
    driver, monkeypatch, version: str, capability: str, cuda: str | None, verdicts: list[str]
) -> None:
    driver(H100.format(driver=version, capability=capability))
    monkeypatch.setattr(gpus, "torch_cuda", lambda: cuda)
    found = gpus.gpu_findings()
    assert [one.verdict for one in found] == verdicts
    assert all(one.remedy for one in found if one.verdict != "ok")
    assert "NVIDIA H100 80GB HBM3, 80 GiB" in found[0].found


def test_a_driver_that_fails_is_told(driver) -> None:
    driver("Failed to initialize NVML: Driver/library version mismatch", code=18)
    (found,) = gpus.gpu_findings()
    assert (found.verdict, "repair" in found.remedy) == ("fail", True)


def test_the_cuda_of_torch_is_read_without_importing_it() -> None:
    import torch

    assert gpus.torch_cuda() == torch.version.cuda


def test_no_shared_memory_fails_and_little_warns(tmp_path: Path) -> None:
    assert limits.shared_memory(tmp_path / "shm").verdict == "fail"
    assert limits.shared_memory(Path("/proc")).verdict == "warn"  # a file system without any room


def test_a_clock_before_the_release_fails() -> None:
    assert limits.clock(0).verdict == "fail"
    assert limits.clock(1_800_000_000).verdict == "ok"


def test_a_volume_that_cannot_be_written_fails(tmp_path: Path) -> None:
    (tmp_path / ".libmoe").write_text("a file where the folder should be")
    found = storage.storage_findings(Volume(tmp_path))
    assert [one.verdict for one in found] == ["fail"]


def test_aria2_that_is_missing_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = {one.check: one for one in software.software_findings()}
    assert found["aria2"].verdict == "fail"
    assert "install your system's package `aria2`" in found["aria2"].remedy


def test_every_host_of_the_catalogue_is_asked(tmp_path: Path) -> None:
    """A folder that mirrors one host: that one gives, the others do not."""
    catalog = load_catalog("guide")
    first = next(artifact for artifact in catalog.artifacts if "huggingface.co" in artifact.urls[0])
    file = tmp_path / first.urls[0].partition("://")[2]
    file.parent.mkdir(parents=True)
    with file.open("wb") as sparse:
        sparse.truncate(first.size or 1)
    found = {one.check: one for one in network_findings(catalog, Addresses(f"file://{tmp_path}"))}
    assert found["host huggingface.co"].verdict == "ok"
    assert found["host images.cocodataset.org"].verdict == "fail"
    assert found["host images.cocodataset.org"].remedy
