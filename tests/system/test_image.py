"""What the image is: its command, its users, what it holds and what it does not."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.docker.sbom import broken_rules

if TYPE_CHECKING:
    from tests.system.conftest import Image, Recipe

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]


ROOT = Path(__file__).parents[2]
HELD = "/opt/libmoe/share/libmoe"


def inspect(image: Image) -> dict[str, Any]:
    """What the engine says of the image."""
    done = subprocess.run([image.docker, "image", "inspect", image.name], capture_output=True, check=True)
    return json.loads(done.stdout)[0]


def held(image: Image, file: str) -> dict[str, Any]:
    """One of the files in which the image says what it holds."""
    return json.loads(image.shell(f"cat {HELD}/{file}"))


def locked_hashes() -> dict[str, set[str]]:
    """Package to the hashes that the lock files allow."""
    found: dict[str, set[str]] = {}
    for lock in (ROOT / "docker/requirements").glob("*.txt"):
        for one in re.split(r"\n(?=[A-Za-z0-9])", lock.read_text()):
            found.setdefault(one.partition("==")[0], set()).update(re.findall("sha256:([0-9a-f]{64})", one))
    return found


def saved_holds(docker: str, name: str, text: str) -> bool:
    """Whether a text stands in any layer of an image or in its configuration, as the engine would ship it."""
    wanted, end = text.encode(), b""
    found = False
    with subprocess.Popen([docker, "save", name], stdout=subprocess.PIPE) as saving:
        assert saving.stdout is not None
        while block := saving.stdout.read(1 << 22):
            found = found or wanted in end + block
            end = block[-len(wanted) :]
    assert saving.returncode == 0
    return found


def test_it_is_the_command(image: Image) -> None:
    done = image.run("--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: libmoe")
    assert image.run("trian").returncode == 2


def test_its_configuration(image: Image) -> None:
    config = inspect(image)["Config"]
    assert config["Entrypoint"] == ["tini", "-g", "--", "libmoe"]
    assert config["User"] == "10001:10001"
    assert config["Volumes"] == {"/data": {}}


def test_its_labels_say_what_it_is(image: Image) -> None:
    labels = inspect(image)["Config"]["Labels"]
    label = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    assert label["title"] == "libmoe"
    assert label["licenses"] == "Apache-2.0"
    assert label["version"] == image.run("--version").stdout.split()[-1]
    commit = ["git", "log", "-1", "--format=%H %cd", "--date=format-local:%Y-%m-%dT%H:%M:%SZ"]
    told = subprocess.run(commit, cwd=ROOT, env={**os.environ, "TZ": "UTC"}, capture_output=True, text=True)
    assert [label["revision"], label["created"]] == told.stdout.split()
    assert label["base.name"].startswith("libmoe-base:")
    assert label["source"] == "https://example.org/libmoe"


def test_its_time_is_the_commits(image: Image) -> None:
    told = inspect(image)
    assert told["Created"] == told["Config"]["Labels"]["org.opencontainers.image.created"]


def test_its_manifest_lists_every_package(image: Image) -> None:
    manifest = held(image, "manifest.json")
    packages = {
        kind: {one["name"]: one for one in manifest["packages"] if one["kind"] == kind}
        for kind in ("python", "debian")
    }
    assert sum(map(len, packages.values())) == len(manifest["packages"])
    installed = image.shell(
        "/opt/libmoe/bin/python -c 'from importlib.metadata import distributions\n"
        'for one in distributions(): print(one.metadata["Name"], one.version)\''
    )
    assert {name: one["version"] for name, one in packages["python"].items()} == pairs(installed)
    system = image.shell(r"dpkg-query --show --showformat '${Package} ${Version}\n'")
    assert {name: one["version"] for name, one in packages["debian"].items()} == pairs(system)

    locked = locked_hashes()
    for name, package in packages["python"].items():
        if name != "libmoe":
            assert package["sha256"] in locked[re.sub(r"[-_.]+", "-", name).lower()], name
    assert packages["python"]["libmoe"]["license"] == "Apache-2.0"
    assert [
        one["name"] for one in manifest["packages"] if not re.fullmatch("[0-9a-f]{64}", str(one["sha256"]))
    ] == []


def pairs(lines: str) -> dict[str, str]:
    """Name to version."""
    return dict(line.split() for line in lines.splitlines())


def test_its_sbom_is_the_manifest_in_spdx(image: Image) -> None:
    sbom, manifest = held(image, "sbom.spdx.json"), held(image, "manifest.json")
    assert broken_rules(sbom) == []
    described = {(one["name"], one["versionInfo"], *hashes(one)) for one in sbom["packages"][1:]}
    assert described == {(one["name"], one["version"], one["sha256"]) for one in manifest["packages"]}


def test_make_writes_the_sbom(image: Image, tmp_path: Path) -> None:
    file = tmp_path / "sbom.json"
    make = ["make", "sbom", f"IMAGE={image.name}", f"DOCKER={image.docker}", f"SBOM={file}"]
    subprocess.run(make, cwd=ROOT, check=True, capture_output=True)
    assert json.loads(file.read_text()) == held(image, "sbom.spdx.json")
    nowhere = [*make[:2], "IMAGE=libmoe:no-such", *make[3:-1], f"SBOM={tmp_path / 'none'}"]
    assert subprocess.run(nowhere, cwd=ROOT, capture_output=True).returncode != 0
    assert list(tmp_path.iterdir()) == [file]


def hashes(package: dict[str, Any]) -> list[str]:
    """Of a package in the SBOM."""
    return [one["checksumValue"] for one in package["checksums"]]


def test_doctor_tells_both(image: Image, volume: Path) -> None:
    done = image.run("doctor", "--gpus", "cpu", "--json", data=volume, options=("--network", "none"))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["manifest"] == held(image, "manifest.json")
    assert told["sbom"]["path"] == f"{HELD}/sbom.spdx.json"
    assert told["sbom"]["packages"] == len(told["manifest"]["packages"]) + 1
    assert "packages as built" in next(one["found"] for one in told["findings"] if one["check"] == "image")


def test_no_secret_of_the_build_is_in_it(image: Image, recipe: Recipe) -> None:
    assert not saved_holds(image.docker, image.name, recipe.secret)


def test_a_secret_in_a_layer_would_be_found(docker: str, recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(f"[global]\n# {recipe.secret}\n")
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY pip.conf /etc/\n")
    name = "libmoe:system-test-leak"
    subprocess.run([docker, "build", "--quiet", "--tag", name, tmp_path], check=True, capture_output=True)
    assert saved_holds(docker, name, recipe.secret)


def test_nothing_in_it_builds_or_installs(image: Image) -> None:
    assert image.shell("command -v gcc g++ cc c++ pip make git || true") == ""


def test_no_trace_of_the_build_machine(image: Image) -> None:
    """Certificates and pip's settings were mounted while building; only their absence may remain."""
    assert image.shell("ls /run/secrets /wheelhouse 2>/dev/null || true") == ""


def test_every_file_that_is_ours_has_the_same_time(image: Image) -> None:
    times = image.shell("find /opt/libmoe /usr/bin/tini /usr/bin/aria2c -printf '%T@\\n' | sort -u")
    assert times.splitlines() == ["315532800.0000000000"]


def test_operators_compile_in_the_devel_target(image: Image, recipe: Recipe) -> None:
    name = "libmoe:system-test-devel"
    build = [ROOT / "docker/build", "--target", "devel"]
    variables = {**os.environ, **recipe.settings, "IMAGE": name}
    subprocess.run(build, env=variables, check=True, capture_output=True)
    script = "from deepspeed.ops.op_builder import CPUAdamBuilder; print(CPUAdamBuilder().load().__name__)"
    run = [image.docker, "run", "--rm", "--network", "none", "--entrypoint", "python", name, "-c", script]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "cpu_adam"
