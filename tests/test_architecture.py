"""Who may import whom, and how light the command line stays."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODEL_CODE = ("libmoe.moe", "libmoe.model", "libmoe.data", "libmoe.train")
FORBIDDEN = {
    # package -> prefixes it may not import
    "entrypoint": ("torch", "transformers", "deepspeed", *MODEL_CODE),
    "libmoe": ("entrypoint",),
    "libmoe/config": ("torch", "transformers", *MODEL_CODE),
    "libmoe/moe": ("libmoe.model", "libmoe.data", "libmoe.train"),
    "libmoe/model": ("libmoe.data", "libmoe.train"),
    "libmoe/data": ("libmoe.train", "libmoe.moe", "libmoe.model"),
}  # fmt: skip


def imports(path: Path) -> set[str]:
    """Every module a file imports, at the top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_arrows_point_one_way(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    crossed = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files
        for module in sorted(imports(path))
        if any(module == wall or module.startswith(wall + ".") for wall in FORBIDDEN[package])
    ]
    assert not crossed


HELP_WITHOUT_HEAVY_MODULES = """
import sys
HEAVY = "torch transformers deepspeed pydantic rich pyarrow httpx aria2p PIL numpy".split()

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HEAVY:
            raise AssertionError(f"--help imports {name}")

sys.meta_path.insert(0, Blocker())
import click
from click.testing import CliRunner
from entrypoint.cli import COMMANDS, libmoe

def walk(command, path):
    result = CliRunner().invoke(libmoe, [*path, "--help"], catch_exceptions=False)
    assert result.exit_code == 0 and "Usage: " in result.output, result.output
    for name in getattr(command, "commands", {}):
        walk(command.commands[name], [*path, name])

for name in COMMANDS:
    walk(libmoe.get_command(click.Context(libmoe), name), [name])
CliRunner().invoke(libmoe, ["--help"], catch_exceptions=False)
print("light")
"""


def test_every_help_works_without_torch_and_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP_WITHOUT_HEAVY_MODULES], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == "light\n", done.stderr
