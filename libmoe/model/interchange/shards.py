"""A checkpoint's safetensors, written a shard at a time, so that no more than one shard is ever in memory."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from libmoe.config.errors import UsageError, VolumeError

SHARD_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Lazy:
    """A tensor that is made when its shard is written, in memory that no other shares."""

    bytes: int
    make: Callable[[], Tensor]


def write_shards(folder: Path, tensors: Mapping[str, Lazy], shard_bytes: int = SHARD_BYTES) -> None:
    """``model.safetensors``, or numbered shards with the index that transformers reads."""
    shards = list(_shards(tensors, shard_bytes))
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = (
            f"model-{number:05d}-of-{len(shards):05d}.safetensors" if len(shards) > 1 else "model.safetensors"
        )
        # no name for the shard, which would keep it while the next one is made
        save_file({name: tensors[name].make() for name in names}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, file)
    if len(shards) > 1:
        index = {
            "metadata": {"total_size": sum(lazy.bytes for lazy in tensors.values())},
            "weight_map": weight_map,
        }
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def _shards(tensors: Mapping[str, Lazy], limit: int) -> Iterator[list[str]]:
    shard: list[str] = []
    size = 0
    for name, lazy in tensors.items():
        if shard and size + lazy.bytes > limit:
            yield shard
            shard, size = [], 0
        shard.append(name)
        size += lazy.bytes
    yield shard


@contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name when all of it is there; what fails leaves nothing behind.

    Raises:
        UsageError: ``destination`` already holds something.
        VolumeError: nothing can be written there.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise UsageError(f"{destination} is not empty: name a folder that does not exist yet.")
    destination = destination.resolve()  # a link to a folder stays one
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    except OSError as error:
        raise VolumeError(f"{destination} cannot be written: {error.strerror}.") from error
    try:
        partial.chmod(0o755)
        yield partial
        partial.replace(destination)
    except (OSError, SafetensorError) as error:
        raise VolumeError(
            f"{destination} cannot be written ({error}): make room, or name another."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
