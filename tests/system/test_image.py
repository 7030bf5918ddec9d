"""What the image is: its command, its users, what it holds and what it does not."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.system.conftest import Image

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]


def inspect(image: Image) -> dict[str, object]:
    """The image's configuration."""
    done = subprocess.run([image.docker, "image", "inspect", image.name], capture_output=True, check=True)
    return json.loads(done.stdout)[0]["Config"]


def test_it_is_the_command(image: Image) -> None:
    done = image.run("--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: libmoe")
    assert image.run("trian").returncode == 2


def test_its_configuration(image: Image) -> None:
    config = inspect(image)
    assert config["Entrypoint"] == ["tini", "-g", "--", "libmoe"]
    assert config["User"] == "10001:10001"
    assert config["Volumes"] == {"/data": {}}


def test_its_labels_say_what_it_is(image: Image) -> None:
    labels = inspect(image)["Labels"]
    assert isinstance(labels, dict)
    label = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    assert label["title"] == "libmoe"
    assert label["licenses"] == "Apache-2.0"
    assert label["version"] == image.run("--version").stdout.split()[-1]
    assert len(label["revision"]) == 40


def test_nothing_in_it_builds_or_installs(image: Image) -> None:
    assert image.shell("command -v gcc g++ cc c++ pip make git || true") == ""


def test_no_trace_of_the_build_machine(image: Image) -> None:
    """Certificates and pip's settings were mounted while building; only their absence may remain."""
    assert image.shell("ls /run/secrets /wheelhouse 2>/dev/null || true") == ""
    history = subprocess.run(
        [image.docker, "history", "--no-trunc", "--format", "{{.CreatedBy}}", image.name],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "index-url" not in history
    assert str(Path.home()) + "/." not in history


def test_every_file_that_is_ours_has_the_same_time(image: Image) -> None:
    times = image.shell("find /opt/libmoe /usr/bin/tini /usr/bin/aria2c -printf '%T@\\n' | sort -u")
    assert times.splitlines() == ["315532800.0000000000"]
