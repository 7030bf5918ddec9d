"""``torchrun -m libmoe.train.selftest``: ranks find each other, add numbers up and say how fast."""

import json
import os
import time
from datetime import timedelta

import torch
import torch.distributed as dist

_MEGABYTES = 64
_ROUNDS = 5


def main() -> None:
    """Runs in every rank; rank 0 prints one JSON line.

    Raises:
        ArithmeticError: the sum over all ranks is wrong.
    """
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    backend = "nccl" if cuda else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=60))
    numbers = torch.full((_MEGABYTES << 18,), float(dist.get_rank() + 1), device=device)
    _check(numbers)
    seconds = _timed(numbers)
    if dist.get_rank() == 0:
        rate = _MEGABYTES / 1000 * _ROUNDS / seconds
        told = {"backend": backend, "ranks": dist.get_world_size(), "gigabytes_per_s": rate}
        print(json.dumps(told), flush=True)
    dist.destroy_process_group()


def _check(numbers: torch.Tensor) -> None:
    world = dist.get_world_size()
    total = numbers[:1024].clone()
    dist.all_reduce(total)
    if not bool((total == world * (world + 1) / 2).all()):
        raise ArithmeticError(f"all-reduce over {world} ranks gave {total[0].item()}")


def _timed(numbers: torch.Tensor) -> float:
    dist.all_reduce(numbers)  # connections are made at the first
    _wait(numbers)
    start = time.perf_counter()
    for _ in range(_ROUNDS):
        dist.all_reduce(numbers)
    _wait(numbers)
    return time.perf_counter() - start


def _wait(numbers: torch.Tensor) -> None:
    if numbers.is_cuda:
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
