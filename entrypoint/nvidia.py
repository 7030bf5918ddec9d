"""What NVIDIA's driver shows, asked through its own program, so that nothing has to import torch."""

import shutil
import subprocess


def has_driver() -> bool:
    """Whether the driver's program is there."""
    return shutil.which("nvidia-smi") is not None


def ask(*fields: str) -> list[list[str]]:
    """The fields of each GPU, sizes in MiB, as in ``ask("index", "memory.total")``.

    Raises:
        SubprocessError: the driver does not work.
        OSError: the program cannot be started.
    """
    query = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    listed = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout
    rows = ([cell.strip() for cell in line.split(",")] for line in listed.splitlines())
    return [row for row in rows if len(row) == len(fields)]
