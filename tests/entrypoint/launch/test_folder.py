from collections.abc import Callable
from pathlib import Path

import pytest

from entrypoint.launch.folder import check_continues, held, start
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
