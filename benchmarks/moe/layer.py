"""Forward and backward of the mixture-of-experts layer against its floor and its peers.

python -m benchmarks.moe.layer [--rounds 9] [--tokens 4096] [--device cpu|cuda]

Goals: on the CPU in bfloat16 at most 1.05 of the floor's time; on a GPU at least 0.8 of its throughput, and
faster than every peer.
"""

import argparse
import statistics
from functools import partial

import torch
from torch import nn

from benchmarks.moe.contenders import CONTENDERS, FLOOR, OURS, Floor, Shape, Transformers
from benchmarks.moe.measure import Step, available_bytes, gpu, peak_bytes, seconds
from benchmarks.page import bullets, machine, table
from benchmarks.timing import paired, ratio

CPU_GOAL, GPU_GOAL = 1.05, 0.8


def shapes(tokens: int) -> list[Shape]:
    """The vision tower's MLP and the connector of the guide's model."""
    return [Shape("vision", tokens, 1152, 4304, 1152), Shape("connector", tokens, 2304, 3072, 3072)]


def step(module: nn.Module, shape: Shape, dtype: torch.dtype, device: str) -> Step:
    """One forward and backward pass; gradients of weights and tokens."""
    module = module.to(device, dtype).train()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shape.tokens, shape.width, generator=generator).to(device, dtype)
    x = (module.rows(x) if isinstance(module, Floor) else x).requires_grad_()
    slope = torch.randn(len(x), shape.outputs, generator=generator).to(device, dtype)
    wanted = [x, *module.parameters()]

    def run() -> None:
        torch.autograd.grad(module(x), wanted, slope)

    return run


def compare(shape: Shape, dtype: torch.dtype, device: str, rounds: int) -> None:
    """One table."""
    steps, rows, peaks = {}, [], {}
    for name, make in CONTENDERS.items():
        torch.manual_seed(0)
        module = make(shape)
        obstacle = (
            module.obstacle(dtype, available_bytes(device)) if isinstance(module, Transformers) else None
        )
        if obstacle is not None:
            rows.append([name, "-", "-", f"not run: {obstacle}"])
            continue
        steps[name] = step(module, shape, dtype, device)
        steps[name]()  # warm
        peaks[name] = peak_bytes(steps[name], device)
    times = paired(rounds, {name: partial(seconds, step, device) for name, step in steps.items()})
    measured = [
        [
            name,
            f"{1000 * statistics.median(times[name]):.2f}",
            f"{ratio(times[name], times[FLOOR]):.3f}",
            f"{peaks[name] / 2**20:.0f} MiB",
        ]
        for name in steps
    ]
    title = f"{shape}, {str(dtype).removeprefix('torch.')}"
    table(["", "ms", "of the floor's time", "peak memory"], measured + rows, title)
    print(_verdict(times, device, dtype) + "\n", flush=True)


def _verdict(times: dict[str, list[float]], device: str, dtype: torch.dtype) -> str:
    ours = ratio(times[OURS], times[FLOOR])
    peers = [f"{name} {ratio(times[name], times[OURS]):.2f}" for name in times if name not in (FLOOR, OURS)]
    beside = f"Of libmoe's time: {', '.join(peers)}."
    if dtype != torch.bfloat16:
        return beside
    if device == "cuda":
        met = "met" if 1 / ours >= GPU_GOAL else "MISSED"
        return f"Goal: at least {GPU_GOAL} of the floor's throughput; {1 / ours:.3f}: {met}. {beside}"
    met = "met" if ours <= CPU_GOAL else "MISSED"
    return f"Goal: at most {CPU_GOAL} of the floor's time; {ours:.3f}: {met}. {beside}"


def main() -> None:
    """A table for each shape and type."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"]
    )
    given = parser.parse_args()
    print("## The layer\n")
    bullets(
        [
            *machine("torch", "transformers"),
            *gpu(given.device),
            f"{torch.get_num_threads()} threads; forward and backward; medians of {given.rounds} rounds",
            "libmoe's time holds router and losses",
        ]
    )
    for shape in shapes(given.tokens):
        for dtype in (torch.float32, torch.bfloat16):
            compare(shape, dtype, given.device, given.rounds)


if __name__ == "__main__":
    main()
