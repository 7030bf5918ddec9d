"""Real runs: the sample's volume, run.json files, and torchrun with ranks on the CPU."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch.distributed as dist
from accelerate import PartialState

from entrypoint.sample import rows as sample
from entrypoint.sample.album import ALBUM, HERE
from libmoe.config.annotations import CONVERSATIONS, ID, IMAGES, index_schema
from libmoe.config.layers import assignment_layer, resolve
from libmoe.config.rank_failure import RankFailure
from libmoe.config.run import Annotations, RunSpec, World
from tests.specs import run_spec

REPOSITORY = Path(__file__).parents[3]
STAGES = {
    "pretrain": (sample.pretrain_rows, sample.pretrain_image, "images/"),
    "pft": (sample.pft_rows, sample.pft_image, ""),
    "sft": (sample.sft_rows, sample.sft_image, ""),
}


def make_volume(root: Path) -> Path:
    """The sample as `prepare` leaves it."""
    shutil.copytree(HERE / "tokenizer", root / "models/libmoe/tiny")
    (root / "index").mkdir()
    for stage, (rows, image, prefix) in STAGES.items():
        for photo in ALBUM.photos:
            path = root / prefix / image(photo)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(photo.path, path)
        write_index(root, f"sample-{stage}-json", rows(), prefix)
    return root


def write_index(root: Path, name: str, rows: list[dict[str, Any]], prefix: str = "") -> None:
    """LLaVA rows to an index."""
    content = [
        {
            ID: row["id"],
            IMAGES: [prefix + row["image"]] if "image" in row else [],
            CONVERSATIONS: row["conversations"],
        }
        for row in rows
    ]
    schema = index_schema()
    path = str(root / "index" / f"{name}.arrow")
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(pa.Table.from_pylist(content, schema=schema))


def make_spec(
    volume: Path,
    run_dir: Path,
    stage: str,
    *settings: str,
    processes: int = 2,
    init_from: Path | None = None,
    resume_from: Path | None = None,
) -> RunSpec:
    """The manifest of one stage of the tiny preset."""
    run_dir.mkdir(parents=True, exist_ok=True)
    config = resolve(stage, "tiny", [assignment_layer(setting) for setting in settings]).config
    train = config.train
    return run_spec(
        config,
        volume,
        run_dir,
        annotations=Annotations(
            name=config.data.annotations,
            index=volume / "index" / f"{config.data.annotations}.arrow",
            sha256="0" * 64,
            rows=1,
        ),
        init_from=init_from,
        resume_from=resume_from,
        accumulation_steps=train.global_batch_size // (train.micro_batch_size * processes),
        world=World(device="cpu", processes=processes),
    )


@dataclass
class Finished:
    """What a run leaves behind."""

    run_dir: Path
    code: int
    lines: list[str]
    log: str
    failures: list[RankFailure] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)

    @property
    def losses(self) -> list[float]:
        """One a step."""
        return [step["loss"] for step in self.metrics]


def launch(spec: RunSpec, interrupt_at: str | None = None) -> Finished:
    """Runs the ranks to their end; sends SIGTERM at the first line that holds ``interrupt_at``."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--rdzv-backend=c10d"]
    torchrun += ["--rdzv-endpoint=127.0.0.1:0", f"--nproc-per-node={spec.world.processes}"]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(REPOSITORY),
        "GLOO_SOCKET_IFNAME": "lo",
        "TOKENIZERS_PARALLELISM": "false",
        "CC": "/bin/false",  # nothing may be compiled
        "CXX": "/bin/false",
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "300",  # not 30 seconds to SIGKILL, however busy the machine is
    }
    lines = []
    log_path = spec.run_dir / "log.txt"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*torchrun, "-m", "libmoe.train", str(spec.write())],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if interrupt_at and interrupt_at in line:
                process.send_signal(signal.SIGTERM)
                interrupt_at = None
        code = process.wait(timeout=60)
    finished = Finished(spec.run_dir, code, lines, log_path.read_text())
    left = (RankFailure.read(spec.run_dir, rank) for rank in range(spec.world.size))
    finished.failures = [failure for failure in left if failure]
    metrics = spec.run_dir / "metrics.jsonl"
    if metrics.exists():
        finished.metrics = [json.loads(line) for line in metrics.read_text().splitlines()]
    return finished


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    PartialState._reset_state()
    dist.destroy_process_group()


@pytest.fixture(scope="session")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume that tests share and add to."""
    return make_volume(tmp_path_factory.mktemp("volume"))


@pytest.fixture(scope="session")
def spec_of(volume: Path) -> Callable[..., RunSpec]:
    """``spec_of(run_dir, stage, "train.max_steps=3", …)``; see ``make_spec``."""
    return partial(make_spec, volume)


@pytest.fixture(scope="session")
def run() -> Callable[..., Finished]:
    """See ``launch``."""
    return launch


@pytest.fixture(scope="session")
def add_rows(volume: Path) -> Callable[..., None]:
    """``add_rows(name, rows)`` puts more annotations on the volume."""
    return partial(write_index, volume)
