"""``run.json``: everything that decides what a run does, written before it starts."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from libmoe.config.errors import ConfigError
from libmoe.config.schema import RunConfig
from libmoe.config.whole_files import write_whole

ROWS_NOT_TRAINED_ON = "skipped.jsonl"


class World(BaseModel):
    """The processes of a run: ``processes`` ranks on each of ``nodes`` machines."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: Literal["cpu", "cuda"]
    processes: int
    nodes: int = 1

    @property
    def size(self) -> int:
        """Number of ranks over all nodes."""
        return self.processes * self.nodes


class Annotations(BaseModel):
    """The annotation index a run reads and the hash of the JSON it was made from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    index: Path
    sha256: str
    rows: int


class RunSpec(BaseModel):
    """The content of ``run.json``; the training processes are given nothing else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: RunConfig
    provenance: dict[str, str]
    data_dir: Path
    run_dir: Path
    annotations: Annotations
    init_from: Path | None
    """The previous stage's ``model/`` folder; None: base weights or random initialisation."""
    resume_from: Path | None
    """A ``checkpoints/step-<n>`` folder to continue from; None: start at step 0."""
    accumulation_steps: int
    """Micro batches per optimizer step; derived, so that the global batch is the recipe's on any world."""
    world: World
    versions: dict[str, str]
    hardware: dict[str, str]
    code: dict[str, str] = {}
    """Hashes of our source, of the list of installed packages and of ``config``; the image's revision."""
    receipts: dict[str, str] = {}
    """sha256 of every artifact that was on the volume, by name."""
    rows_not_trained_on: Path = Path(ROWS_NOT_TRAINED_ON)
    """File in the run folder, a line for each: its step (0: all of them), number, id, and why."""
    stop_after: int | None = None
    """End without a model after this many steps, to compare them with another run's."""

    @property
    def models_dir(self) -> Path:
        """Folder that holds base weights as ``<org>/<name>``."""
        return self.data_dir / "models"

    @property
    def model_dir(self) -> Path:
        """Where the trained model is saved, as ``from_pretrained`` loads it."""
        return self.run_dir / "model"

    def write(self) -> Path:
        """Writes ``run.json`` in the run folder and returns its path."""
        return write_whole(self.run_dir / "run.json", self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> "RunSpec":
        """Reads a ``run.json``.

        Raises:
            ConfigError: the file is missing or is not one of ours.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ConfigError(f"Cannot read {path}: {error.strerror}.") from error
        except ValidationError as error:
            problem = error.errors()[0]
            where = "".join(f"{part}: " for part in problem["loc"])
            raise ConfigError(
                f"{path} is not a run.json of this version of libmoe ({where}{problem['msg']}): restore it, "
                "or delete it to continue its run without comparing the settings."
            ) from error
