from collections.abc import Callable
from pathlib import Path

import pytest

from entrypoint.launch.folder import check_belongs, check_continues, held, start
from libmoe.config.errors import ConfigError, VolumeError
from libmoe.config.run import RunSpec


def test_a_run_is_not_continued_with_other_settings_or_data(manifest: Callable[..., RunSpec]) -> None:
    with held(manifest(), print):
        start(manifest(epochs=2))
    check_continues(manifest(epochs=3))  # nothing was saved, so nothing is continued
    (manifest().run_dir / "checkpoints/step-2").mkdir(parents=True)
    check_continues(manifest(epochs=2, save_steps=7))
    with pytest.raises(ConfigError, match=r"train\.epochs = 2, not 3"):
        check_continues(manifest(epochs=3))
    with pytest.raises(ConfigError, match="annotations sha256"):
        check_continues(manifest(epochs=2, sha256="1" * 64))


def test_a_run_folder_that_cannot_be_made(tmp_path: Path, manifest: Callable[..., RunSpec]) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(VolumeError, match="--run-dir"), held(manifest(), print):
        pass


def test_a_checkpoint_of_another_run_is_not_continued(
    manifest: Callable[..., RunSpec], tmp_path: Path
) -> None:
    foreign = manifest(epochs=2).model_copy(update={"run_dir": tmp_path / "foreign"})
    checkpoint = foreign.run_dir / "checkpoints/step-4"
    checkpoint.mkdir(parents=True)
    check_belongs(checkpoint, manifest(epochs=3))  # nobody knows whose it is
    check_belongs(None, manifest(epochs=3))
    start(foreign)
    check_belongs(checkpoint, manifest(epochs=2, save_steps=7))
    with pytest.raises(ConfigError, match=r"foreign holds a run with train\.epochs = 2, not 3.*--init-from"):
        check_belongs(checkpoint, manifest(epochs=3))


@pytest.mark.parametrize("content", [b'{"a":', b"\xff\x00", b"{}"])
def test_a_manifest_that_is_none(manifest: Callable[..., RunSpec], content: bytes) -> None:
    spec = manifest()
    (spec.run_dir / "checkpoints/step-2").mkdir(parents=True)
    (spec.run_dir / "run.json").write_bytes(content)
    with pytest.raises(
        ConfigError, match=r"run\.json is not a run\.json of this version.*: restore it, or"
    ) as caught:
        check_continues(spec)
    assert ": :" not in str(caught.value)
