"""Whether processes find each other and add numbers up: over NCCL on the GPUs, over gloo on the CPU."""

import json
import os
import subprocess
import sys

from entrypoint.doctor.finding import Finding, fail, ok
from entrypoint.launch.world import choose_devices
from libmoe.config.errors import LibmoeError

_LIMIT_SECONDS = 120


def rank_findings(gpus: str | None) -> list[Finding]:
    """One: as many ranks as GPUs (``--gpus`` as in `train`), or two on the CPU, do an all-reduce."""
    try:
        devices = choose_devices(gpus, None)
        if devices.world.device == "cpu":
            devices = choose_devices("cpu", 2)
    except LibmoeError as error:
        return [fail("ranks", f"--gpus {gpus}", str(error))]
    count = devices.world.processes
    # A container without network cannot resolve its own name.
    alone = ["--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={count}"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", *alone]
    environment = {"GLOO_SOCKET_IFNAME": "lo", **os.environ, **devices.environment}
    command = [*torchrun, "-m", "libmoe.train.selftest"]
    try:
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        return [_failed(count, f"no answer in {_LIMIT_SECONDS} s")]
    if ran.returncode:
        lines = [line for line in ran.stderr.splitlines() if "Error" in line] or ran.stderr.splitlines()
        return [_failed(count, lines[-1].strip() if lines else f"exit code {ran.returncode}")]
    told = json.loads(ran.stdout.splitlines()[-1])
    found = f"{count} ranks on the {devices.world.device} add up over {told['backend']}"
    return [ok("ranks", f"{found}, {told['gigabytes_per_s']:.1f} GB/s a rank")]


def _failed(count: int, why: str) -> Finding:
    remedy = (
        "Look at shared memory and GPUs above; NCCL_DEBUG=INFO and TORCH_DISTRIBUTED_DEBUG=DETAIL say more."
    )
    return fail("ranks", f"{count} ranks cannot reach each other: {why}", remedy)
