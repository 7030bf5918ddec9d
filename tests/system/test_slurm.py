"""The batch script with a real Slurm: two nodes train, are told to leave, wait in the queue, and finish."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from entrypoint.sample.hub import Answer, Hub, Library, Request

if TYPE_CHECKING:
    from tests.system.conftest import Image

    Serve = Callable[[Callable[[Request], Answer]], AbstractContextManager[Hub]]

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

HERE = Path(__file__).parent
SCRIPT = HERE.parents[1] / "compose/slurm/train.sbatch"
DOCKERFILE = """
FROM {image}
USER 0:0
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
    munge slurm-client slurmctld slurmd
COPY slurm.conf /etc/slurm/slurm.conf
"""
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}
START = """
head -c 1024 /dev/urandom > /etc/munge/munge.key
install -d -o munge -g munge /run/munge
chown munge /etc/munge/munge.key && chmod 400 /etc/munge/munge.key && runuser -u munge munged
mkdir -p /var/spool/slurmctld /var/spool/slurmd-node1 /var/spool/slurmd-node2
slurmctld && slurmd -N node1 && slurmd -N node2
until sinfo --noheader --states idle --format %D | grep -qx 2; do sleep 0.2; done
"""


@dataclass(frozen=True)
class Machine:
    """The container that is both nodes."""

    docker: str
    container: str

    def __call__(self, script: str) -> str:
        """What a shell script prints there."""
        words = [self.docker, "exec", self.container, "bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def until(self, happened: Callable[[], object]) -> None:
        """Waits for something."""
        deadline = time.monotonic() + 300
        while not happened():
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.2)

    def logs(self) -> str:
        """The ends of the job's and of Slurm's."""
        return self("tail --lines 40 /mnt/*.log /var/log/slurm*.log")

    def state(self, job: str) -> str:
        """Of a job, and how often it was started again."""
        shown = self(f"scontrol show job {job}")
        return " ".join(re.findall(r"(?:JobState|Restarts)=(\w+)", shown))

    def steps(self) -> list[int]:
        """Those that were trained."""
        lines = self("cat /mnt/data/runs/tiny/pretrain/metrics.jsonl 2>/dev/null || true").splitlines()
        return [json.loads(line)["step"] for line in lines]


@pytest.fixture
def machine(image: Image) -> Iterator[Machine]:
    name = f"{image.name}-slurm"
    subprocess.run(
        [image.docker, "build", "--quiet", "--network", "host", "--tag", name, "--file", "-", HERE],
        input=DOCKERFILE.format(image=image.name),
        check=True,
        capture_output=True,
        text=True,
    )
    options = [
        "--detach",
        "--hostname",
        "slurm",
        "--add-host",
        "node1:127.0.0.1",
        "--add-host",
        "node2:127.0.0.1",
    ]
    script = f"{SCRIPT}:/train.sbatch:ro"
    command = [image.docker, "run", *options, "--volume", script, "--entrypoint", "sleep", name, "infinity"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    made = Machine(image.docker, done.stdout.strip())
    try:
        made(START)
        yield made
    finally:
        subprocess.run([image.docker, "rm", "--force", made.container], check=True, capture_output=True)


def test_a_job_that_is_told_to_leave_continues(machine: Machine, library: Library, serve: Serve) -> None:
    with serve(library.answer) as hub:
        machine(f"libmoe prepare --stage 1 --catalog sample --mirror {hub.url} --data-dir /mnt/data")

    this_machine = "--gpus-per-node 0 --cpus-per-task 1 --mem 0 --time 30"
    tiny = "--stage 1 --preset tiny --gpus cpu --set train.save_steps=100"
    said = machine(f"cd /mnt && DATA_DIR=/mnt/data sbatch {this_machine} /train.sbatch {tiny}")
    job = said.split()[-1]
    machine.until(lambda: len(machine.steps()) >= 3)
    machine(f"scancel --signal TERM {job}")  # as --signal does before the time is over
    machine.until(lambda: machine.state(job) == "PENDING 1")
    assert f"job {job} goes back to the queue" in machine("cat /mnt/libmoe-*.log")
    trained = len(machine.steps())

    # Left alone, Slurm waits two minutes; in the same second it would take this launch for the revoked one.
    machine(f"scontrol update JobId={job} StartTime=now+5")
    machine.until(lambda: machine.state(job).split()[0] in ENDED)
    assert machine.state(job) == "COMPLETED 1", machine.logs()
    assert trained < 24
    assert machine.steps() == list(range(1, 25))
    assert "continuing from" in machine("cat /mnt/libmoe-*.log")
    machine("test -f /mnt/data/runs/tiny/pretrain/model/config.json")
    assert '"nodes": 2' in machine("cat /mnt/data/runs/tiny/pretrain/run.json")
