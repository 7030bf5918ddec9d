"""Stage 3 with one thing changed at a time, and as upstream computes it; then the loader.

python -m benchmarks.train.step > benchmarks/results/train.md
python -m benchmarks.train.step --device cuda       # the guide's shapes in bf16; goal: twice the baseline

Every variant is a process of its own that trains on the same rows, one rank with ZeRO-3. On the CPU all are
there at once and take steps in turn, so that a machine that slows down slows all of them. On a GPU, where
they would not fit, they run one after the other, in several rounds. Ratios are of one round, over the same
rows.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.page import bullets, machine, table
from benchmarks.train.contest import Contender, Rounds, Variant, alone, side_by_side
from benchmarks.train.data import NAME, make_volume
from benchmarks.train.loader import loader_rows
from benchmarks.train.shapes import COCO, Shape, cpu_shapes, gpu_shapes, run_config
from benchmarks.train.turns import Step
from entrypoint.launch.world import choose_devices
from libmoe.config.counting import anatomy, count_parameters
from libmoe.config.run import Annotations, RunSpec, World

OURS, BASELINE = "libmoe", "as upstream computes it"
VARIANTS = (
    Variant(OURS, "ours", {}),
    Variant("without packing", "ours", {"data": {"packing": False}}),
    Variant("without grouping", "ours", {"data": {"group_by_modality_length": False}}),
    Variant("not deterministic", "ours", {"train": {"deterministic": False}}),
    Variant(BASELINE, "baseline", {"data": {"packing": False}, "train": {"deterministic": False}}),
)
HEAD = ("", "s a step", "tokens/s", "images/s", "peak memory", "MFU", "of the baseline's speed (each round)")
GPU_GOAL = 2.0
WARM_UP = 3
"""Steps of a variant that runs by itself."""
Device = Literal["cpu", "cuda"]


def all_variants(shape: Shape) -> list[Variant]:
    """Those, and one with checkpointing where the preset has none, or without where it has."""
    checkpointing = run_config(shape, 1, {}, NAME).train.activation_checkpointing
    name = f"{'without' if checkpointing else 'with'} checkpointing"
    other = Variant(name, "ours", {"train": {"activation_checkpointing": not checkpointing}})
    return [*VARIANTS[:-1], other, VARIANTS[-1]]


def measure(shape: Shape, device: Device, rounds: int, volume: Path, in_turn: bool) -> dict[str, Rounds]:
    """The steps of every variant."""
    variants = all_variants(shape)

    def contender(variant: Variant, epochs: int) -> Contender:
        return Contender(manifest(shape, device, epochs, volume, variant.changes), variant.kind)

    if in_turn:
        contenders = [contender(variant, rounds + 1) for variant in variants]
        columns = side_by_side(contenders, shape.steps, rounds)
    else:
        table = [
            [alone(contender(variant, 1), shape.steps, WARM_UP) for variant in variants]
            for _ in range(rounds)
        ]
        columns = [[steps for steps in column if steps] for column in zip(*table, strict=True)]
    return {variant.name: column for variant, column in zip(variants, columns, strict=True)}


def manifest(shape: Shape, device: Device, epochs: int, volume: Path, changes: dict[str, Any]) -> RunSpec:
    """The run of one variant, so many times over every row of the volume."""
    config = run_config(shape, epochs, changes, NAME)
    index = volume / ".libmoe/index" / f"{NAME}.arrow"
    return RunSpec(
        config=config,
        provenance={},
        data_dir=volume,
        run_dir=Path(tempfile.mkdtemp(dir=volume)) / "run",
        annotations=Annotations(name=NAME, index=index, sha256="0" * 64, rows=shape.steps * shape.batch),
        init_from=None,
        resume_from=None,
        accumulation_steps=shape.batch // shape.micro,
        world=World(device=device, processes=1),
        versions={},
        hardware={},
        stop_after=epochs * shape.steps,
    )


def compare(shape: Shape, device: Device, rounds: int, volume: Path, in_turn: bool) -> None:
    """One table."""
    config = run_config(shape, 1, {}, NAME)
    total = count_parameters(anatomy(config.model, config.moe)).total
    measured = measure(shape, device, rounds, volume, in_turn)
    base = measured[BASELINE]
    print(f"### {shape.name}: {total / 1e6:,.1f} million parameters, {config.train.precision}\n")
    print(f"{rounds} rounds of {shape.steps} steps of {shape.batch} rows, {shape.micro} at a time.\n")
    table(HEAD, [[name, *_cells(made, base)] for name, made in measured.items()])
    if device == "cuda" and base and measured[OURS]:
        ratio = statistics.median(_ratios(measured[OURS], base))
        met = "met" if ratio >= GPU_GOAL else "MISSED"
        print(f"Goal: at least {GPU_GOAL:g} of the baseline's speed; {ratio:.2f}: {met}.\n", flush=True)


def _cells(made: Rounds, base: Rounds) -> list[str]:
    if not made:
        return ["out of memory", *["-"] * 5]
    steps = [step for steps in made for step in steps]
    ratios = _ratios(made, base)
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    utilizations = [step.mfu for step in steps if step.mfu is not None]
    return [
        f"{statistics.median(step.seconds for step in steps):.2f}",
        f"{statistics.median(_speed(steps, 'tokens') for steps in made):,.0f}",
        f"{statistics.median(_speed(steps, 'images') for steps in made):.1f}",
        f"{max(step.memory for step in steps) / 2**30:.2f} GiB",
        f"{statistics.median(utilizations):.1%}" if utilizations else "-",
        f"{statistics.median(ratios):.2f} ({each})" if ratios else "-",
    ]


def _ratios(made: Rounds, base: Rounds) -> list[float]:
    """Of every round that both have made."""
    pairs = zip(made, base, strict=False)
    return [_speed(ours, "tokens") / _speed(theirs, "tokens") for ours, theirs in pairs]


def _speed(steps: Sequence[Step], what: str) -> float:
    """A second; padding does not count."""
    counted: float = sum(getattr(step, what) for step in steps)
    return counted / sum(step.seconds for step in steps)


def head(device: Device) -> None:
    """What the figures depend on."""
    print("## Training\n")
    bullets(
        [
            *machine("torch", "deepspeed", "transformers", "pillow"),
            *(choose_devices("1", None).names if device == "cuda" else ()),
            "Memory is a process's peak, on the CPU beyond the libraries; tokens are counted without padding",
            "The baseline: a plain loop around DeepSpeed; padded rows; a tower with eager attention,\n"
            "  without checkpointing, and with a last layer that nobody reads; a checkpointed language\n"
            "  model; a wait for the device after each part of a layer; weights, rows, optimizer and\n"
            "  experts as ours",
        ]
    )


def main() -> None:
    """The tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    usual = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=usual, choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one-by-one", action="store_true", help="On the CPU too, as where memory is short.")
    parser.add_argument("--only", help="Shapes whose name contains this.")
    parser.add_argument("--language-layers", type=int, default=8, help="On a GPU; 8 of 32 fit into 80 GB.")
    parser.add_argument("--loader-seconds", type=float, default=4.0)
    given = parser.parse_args()
    shapes = cpu_shapes() if given.device == "cpu" else gpu_shapes(given.language_layers)
    in_turn = given.device == "cpu" and not given.one_by_one
    head(given.device)
    for shape in [one for one in shapes if (given.only or "") in one.name]:
        with tempfile.TemporaryDirectory() as folder:
            make_volume(Path(folder), shape.steps * shape.batch, shape.words, shape.picture)
            compare(shape, given.device, given.rounds, Path(folder), in_turn)
    with tempfile.TemporaryDirectory() as folder:
        make_volume(Path(folder), 96, 120, COCO)
        spec = manifest(gpu_shapes(8)[0], "cpu", 1, Path(folder), {})
        title = "The loader, one core, 640 x 480 JPEG to the guide's 672 x 672 pixels"
        table(["", "images/s", "of decoding alone"], loader_rows(spec, given.loader_seconds), title)


if __name__ == "__main__":
    main()
