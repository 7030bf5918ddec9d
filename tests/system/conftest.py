"""A real Docker engine, the image built with it, and a hub that containers reach."""

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from entrypoint.sample.build import build
from entrypoint.sample.hub import Answer, Hub, Library, Request

ROOT = Path(__file__).parents[2]
BASE = "libmoe-base:bookworm"
BASE_PYTHON = "3.11"
# Whether the image is built without asking an index.
OFFLINE = "{}.{}".format(*sys.version_info) == BASE_PYTHON
# Nobody the image knows, as OpenShift hands out; without root, containers write as us.
USER = (4242, 4343) if os.getuid() == 0 else (os.getuid(), os.getgid())
# The least that a cluster may grant: no capabilities, and nothing to write on but the volume and /tmp.
RESTRICTED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


def succeed(*command: str | Path, **environment: str) -> str:
    """Runs a command of this repository and gives its output; its messages are in the failure."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


@dataclass(frozen=True)
class Image:
    """The image under test and how its containers are started."""

    docker: str
    name: str
    user: tuple[int, int] = USER
    from_scratch: bool = False
    """No layer came from an earlier session's cache."""

    def run(
        self,
        *command: str | Path,
        data: Path | None = None,
        options: tuple[str, ...] = (),
        user: tuple[int, int] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """``libmoe COMMAND`` to its end, as a user of its own choice, with the least rights."""
        given = self._options(data, options, user or self.user)
        words = [self.docker, "run", "--rm", *given, self.name, *map(str, command)]
        return subprocess.run(words, capture_output=True, text=True)

    @contextlib.contextmanager
    def start(self, *command: str, data: Path, options: tuple[str, ...] = ()) -> Iterator[str]:
        """The same in the background: the container's ID, while the context lasts."""
        given = self._options(data, options, self.user)
        container = succeed(self.docker, "run", "--detach", *given, self.name, *command)
        try:
            yield container
        finally:
            succeed(self.docker, "rm", "--force", container)

    def shell(self, script: str) -> str:
        """The output of a shell script inside the image."""
        return succeed(self.docker, "run", "--rm", "--entrypoint", "sh", self.name, "-c", script)

    def _options(self, data: Path | None, options: tuple[str, ...], user: tuple[int, int]) -> list[str]:
        volume = ["--volume", f"{data}:/data"] if data else []
        return ["--user", f"{user[0]}:{user[1]}", *RESTRICTED, *volume, *options]


@pytest.fixture(scope="session")
def docker() -> str:
    """The client, of an engine that answers."""
    client = succeed(ROOT / "docker/client")
    succeed(client, "info")
    return client


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the image takes from an index, as an air-gapped site has one.

    With another Python than the base's, which other archives are for: with the CPU-only torch alone.
    """
    folder = tmp_path_factory.mktemp("wheelhouse")
    if OFFLINE:
        succeed(ROOT / "docker/wheelhouse", folder, VARIANT="cpu", PYTHON=sys.executable)
        return folder
    succeed(
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes",
        "--only-binary", ":all:", "--python-version", BASE_PYTHON, "--dest", folder,
        "--requirement", "docker/requirements/torch-cpu.txt",
    )  # fmt: skip
    return folder


@dataclass(frozen=True)
class Recipe:
    """How the image under test is built."""

    settings: dict[str, str]
    """Of docker/build."""
    secret: str
    """Stands in the pip.conf that the build is given."""


@pytest.fixture(scope="session")
def recipe(docker: str, wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """The CPU variant on the stand-in base."""
    if not succeed(docker, "images", "--quiet", BASE):
        succeed(ROOT / "docker/base", BASE)
    secret = secrets.token_hex(16)
    conf = tmp_path_factory.mktemp("secrets") / "pip.conf"
    given = os.environ.get("PIP_CONFIG_FILE")
    online = Path(given).read_text() if given else "[global]\n"
    conf.write_text(("[global]\nno-index = true\n" if OFFLINE else online) + f"# {secret}\n")
    settings = {
        "VARIANT": "cpu",
        "BASE_IMAGE": BASE,
        "WHEELHOUSE": str(wheelhouse),
        "PIP_CONF": str(conf),
        "SOURCE": "https://example.org/libmoe",
    }
    return Recipe(settings, secret)


@pytest.fixture(scope="session")
def image(docker: str, recipe: Recipe) -> Image:
    """Built once for all tests."""
    name = "libmoe:system-test"
    earlier = succeed(docker, "images", "--quiet", name)
    succeed(ROOT / "docker/build", **recipe.settings, IMAGE=name)
    return Image(docker, name, from_scratch=not earlier)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """An empty volume that belongs to the containers' user."""
    folder = tmp_path / "data"
    folder.mkdir()
    os.chown(folder, *USER)
    return folder


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """What the sample's hub offers."""
    root = tmp_path_factory.mktemp("hub")
    build(root)
    return Library(root)


@pytest.fixture
def serve(docker: str) -> Callable[[Callable[[Request], Answer]], Hub]:
    """A hub on the address under which containers reach this machine; a context manager."""
    gateway = succeed(
        docker, "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"
    )
    return lambda respond: Hub(respond, host=gateway)
