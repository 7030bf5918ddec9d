"""What somebody else did in the run folder, while this attempt waited for it."""

import pytest

from entrypoint.launch import folder
from entrypoint.launch.attempt import Attempt
from entrypoint.launch.nodes.settings import Place
from libmoe.config.errors import ConfigError
from tests.entrypoint.conftest import Manifest

ATTEMPT = Attempt(Place(), {}, resume="auto", rendezvous_minutes=0.1)


def test_a_stage_that_was_finished_meanwhile_is_not_trained_again(manifest: Manifest) -> None:
    spec, said = manifest(), list[str]()
    spec.model_dir.mkdir(parents=True)
    (spec.model_dir / "config.json").write_text("{}")
    ATTEMPT.run(spec, said.append)
    assert said == [f"stage pretrain: done meanwhile, in {spec.run_dir}"]
    assert not (spec.run_dir / "run.json").exists()


def test_a_run_with_other_settings_that_was_begun_meanwhile_is_not_continued(manifest: Manifest) -> None:
    (manifest().run_dir / "checkpoints/step-2").mkdir(parents=True)
    folder.start(manifest(epochs=2))
    with pytest.raises(ConfigError, match=r"train\.epochs = 2, not 3"):
        ATTEMPT.run(manifest(epochs=3), print)
