"""Stage 3 with one thing changed at a time, and as upstream computes it; then the loader.

python benchmarks/train/step.py > benchmarks/results/train.md
python benchmarks/train/step.py --device cuda       # the guide's shapes in bf16; goal: twice the baseline

Every variant is a process of its own that trains on the same rows, one rank with ZeRO-3. Time is of the steps
after the first; memory is the process's peak, on a GPU that of its memory.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from data import NAME, make_volume
from loader import loader_rows
from shapes import Shape, cpu_shapes, gpu_shapes, run_config

from entrypoint.launch.nodes.alone import free_port
from entrypoint.launch.provenance import versions
from entrypoint.launch.world import choose_devices
from libmoe.config.counting import anatomy, count_parameters
from libmoe.config.errors import ConfigError
from libmoe.config.run import Annotations, RunSpec, World

BASELINE = "as upstream computes it"
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "libmoe": ("ours", {}),
    "without packing": ("ours", {"data": {"packing": False}}),
    "without grouping": ("ours", {"data": {"group_by_modality_length": False}}),
    "not deterministic": ("ours", {"train": {"deterministic": False}}),
    "without checkpointing": ("ours", {"train": {"activation_checkpointing": False}}),
    BASELINE: ("upstream", {"data": {"packing": False}, "train": {"deterministic": False}}),
}
"""What computes, and what is set otherwise. Upstream: padding; see rank.py for the model."""
GPU_GOAL = 2.0
Device = Literal["cpu", "cuda"]


def measure(shape: Shape, device: Device, steps: int, volume: Path, variant: str) -> list[dict[str, Any]]:
    """Trains one variant; its steps, none where memory does not suffice."""
    kind, changes = VARIANTS[variant]
    spec = manifest(shape, device, steps, volume, changes)
    spec.run_dir.mkdir()
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", **alone, **meeting}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("rank.py")), str(spec.write()), kind],
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    if done.returncode == ConfigError.exit_code and "memory" in done.stderr:
        return []
    if done.returncode:
        sys.exit(f"{variant} failed:\n{done.stderr[-4000:]}")
    return [json.loads(line) for line in (spec.run_dir / "metrics.jsonl").read_text().splitlines()]


def manifest(shape: Shape, device: Device, steps: int, volume: Path, changes: dict[str, Any]) -> RunSpec:
    """The run of one variant, over every row of the volume once."""
    config = run_config(shape, steps, changes, NAME)
    index = volume / ".libmoe/index" / f"{NAME}.arrow"
    return RunSpec(
        config=config,
        provenance={},
        data_dir=volume,
        run_dir=Path(tempfile.mkdtemp(dir=volume)) / "run",
        annotations=Annotations(name=NAME, index=index, sha256="0" * 64, rows=steps * shape.batch),
        init_from=None,
        resume_from=None,
        accumulation_steps=shape.batch // shape.micro,
        world=World(device=device, processes=1),
        versions={},
        hardware={},
        stop_after=steps,
    )


def compare(shape: Shape, device: Device, steps: int, volume: Path) -> None:
    """One table."""
    config = run_config(shape, steps, {}, NAME)
    total = count_parameters(anatomy(config.model, config.moe)).total
    measured = {variant: measure(shape, device, steps, volume, variant) for variant in VARIANTS}
    speeds = {variant: _speed(made, "tokens") for variant, made in measured.items() if made}
    base = speeds.get(BASELINE)
    rows = [
        [variant, *(_cells(made, base) if made else ["out of memory", *["-"] * 5])]
        for variant, made in measured.items()
    ]
    print(f"### {shape.name}: {total / 1e6:,.1f} million parameters, {steps} steps of {shape.batch} rows\n")
    table(["", "s a step", "tokens/s", "images/s", "peak memory", "MFU", "of the baseline's speed"], rows)
    if device == "cuda" and base and "libmoe" in speeds:
        ratio = speeds["libmoe"] / base
        met = "met" if ratio >= GPU_GOAL else "MISSED"
        print(f"Goal: at least {GPU_GOAL:g} of the baseline's speed; {ratio:.2f}: {met}.\n", flush=True)


def _cells(made: Sequence[dict[str, Any]], base: float | None) -> list[str]:
    speed = _speed(made, "tokens")
    return [
        f"{statistics.median(step['seconds'] for step in made[1:]):.2f}",
        f"{speed:,.0f}",
        f"{_speed(made, 'images'):.1f}",
        f"{made[-1]['memory_bytes'] / 2**30:.2f} GiB",
        f"{statistics.median(step['mfu'] for step in made[1:]):.1%}" if "mfu" in made[-1] else "-",
        f"{speed / base:.2f}" if base else "-",
    ]


def _speed(steps: Sequence[dict[str, Any]], what: str) -> float:
    """A second, after the first step."""
    return sum(step[what] for step in steps[1:]) / sum(step["seconds"] for step in steps[1:])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints Markdown."""
    for line in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(line)} |")
    print(flush=True)


def machine(device: Device) -> None:
    """What the figures depend on."""
    names = ("torch", "deepspeed", "transformers", "pillow")
    system, load = f"{platform.system()} {platform.release()}", os.getloadavg()[0]
    print("## Training\n")
    print(f"* {datetime.now(UTC):%Y-%m-%d}, {system}, load {load:.1f} at the start")
    print(f"* {choose_devices('cpu' if device == 'cpu' else '1', None).names[0]}")
    print(f"* Python {versions()['python']}, {', '.join(f'{name} {version(name)}' for name in names)}")
    print("* Activation checkpointing everywhere but where it says otherwise")
    print("* The baseline: padded rows; a tower with eager attention, without checkpointing, and with a last")
    print(
        "  layer that nobody reads; a wait for the device after each part of a layer; libmoe's own experts\n"
    )


def main() -> None:
    """The tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    usual = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=usual, choices=["cpu", "cuda"])
    parser.add_argument("--steps", type=int, help="Of each variant.  [default: a shape's own]")
    parser.add_argument("--only", help="Shapes whose name contains this.")
    parser.add_argument("--language-layers", type=int, default=8, help="On a GPU; 8 of 32 fit into 80 GB.")
    parser.add_argument("--loader-seconds", type=float, default=4.0)
    given = parser.parse_args()
    shapes = cpu_shapes() if given.device == "cpu" else gpu_shapes(given.language_layers)
    machine(given.device)
    for shape in [one for one in shapes if (given.only or "") in one.name]:
        steps = given.steps or shape.steps
        with tempfile.TemporaryDirectory() as folder:
            make_volume(Path(folder), steps * shape.batch, shape.words)
            compare(shape, given.device, steps, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        make_volume(Path(folder), 96, 120)
        spec = manifest(gpu_shapes(8)[0], "cpu", 3, Path(folder), {})
        print("### The loader, one core, 640 x 480 JPEG to the guide's 672 x 672 pixels\n")
        table(["", "images/s", "of decoding alone"], loader_rows(spec, given.loader_seconds))


if __name__ == "__main__":
    main()
