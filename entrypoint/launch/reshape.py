"""Makes a checkpoint fit another number of ranks."""

import os
import subprocess
import sys
from pathlib import Path

from entrypoint.launch.resume import Resume
from libmoe.config.errors import ConfigError
from libmoe.config.run import RunSpec

_LOG = "reshape.log"


def reshaped(resume: Resume, spec: RunSpec) -> Path | None:
    """The folder to continue from, converted if other ranks saved it; None: from the first step.

    Raises:
        ConfigError: DeepSpeed could not convert it.
    """
    if resume.checkpoint is None or not resume.by_other_ranks(spec):
        return resume.checkpoint
    target = spec.run_dir / "checkpoints" / ".universal"
    log = spec.run_dir / _LOG
    environment = {**os.environ, "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "libmoe.train.universal", str(resume.checkpoint), str(target)]
    with log.open("wb") as output:
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment).returncode
    if code:
        raise ConfigError(
            f"DeepSpeed could not make {resume.checkpoint} fit another number of ranks (see {log}): "
            f"continue on {resume.ranks}, or start a new run from its weights with --resume never "
            f"--init-from {resume.checkpoint}."
        )
    return target
