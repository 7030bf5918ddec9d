"""A stand-in for Slurm: ``srun`` and ``scontrol`` as a batch script sees them, with their variables."""

import os
import sys
import textwrap
from pathlib import Path

SRUN = """
    # A task on each node; ends with the highest exit code. SIGTERM reaches the tasks, as from --signal.
    import os, signal, subprocess, sys

    words = sys.argv[1:]
    own = [words.pop(0) for word in list(words) if word.startswith("--") and words[0] == word]
    nodes = int(os.environ["SLURM_JOB_NUM_NODES"])
    assert "--ntasks-per-node=1" in own, own
    tasks = []
    for node in range(nodes):
        task = {
            "SLURM_NNODES": str(nodes), "SLURM_NTASKS": str(nodes), "SLURM_STEP_NUM_NODES": str(nodes),
            "SLURM_NODEID": str(node), "SLURM_PROCID": str(node), "SLURM_LOCALID": "0", "SLURM_STEP_ID": "0",
            "SLURM_STEP_NODELIST": os.environ["SLURM_JOB_NODELIST"],
            "SLURM_CPUS_PER_TASK": os.environ["SRUN_CPUS_PER_TASK"],
        }
        tasks.append(subprocess.Popen(words, env=os.environ | task))
    signal.signal(signal.SIGTERM, lambda *_: [task.terminate() for task in tasks])
    codes = [task.wait() for task in tasks]
    sys.exit(max(128 - code if code < 0 else code for code in codes))
"""
SCONTROL = """
    import os, pathlib, sys

    pathlib.Path(os.environ["REQUEUED"]).write_text(" ".join(sys.argv[1:]))
"""


def install(folder: Path) -> None:
    """Puts both into a folder."""
    for name, source in (("srun", SRUN), ("scontrol", SCONTROL)):
        executable(folder / name, textwrap.dedent(source))


def executable(path: Path, source: str) -> None:
    """A program in Python."""
    path.write_text(f"#!{sys.executable}\n{source}")
    path.chmod(0o755)


def environment(folder: Path, nodes: int, **more: str) -> dict[str, str]:
    """Of a batch script whose job has so many nodes, all of them this machine."""
    return os.environ | {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NUM_NODES": str(nodes),
        "SLURM_NNODES": str(nodes),
        "SLURM_JOB_NODELIST": f"127.0.0.[1-{nodes}]",
        "SLURM_CPUS_PER_TASK": "1",
        "REQUEUED": str(folder / "requeued"),
        **more,
    }
