"""What is said of the next try when ranks have ended."""

from pathlib import Path

from entrypoint.launch.ranks.outcome import Ending, explain
from entrypoint.launch.ranks.watch import Watch
from tests.entrypoint.conftest import Manifest


def test_the_next_try_starts_where_a_checkpoint_is(manifest: Manifest, tmp_path: Path) -> None:
    spec = manifest()
    ending = Ending.before_start(spec, 0, tmp_path / "log.txt")
    with Watch() as watch:
        verdict = explain(ending, {}, watch, interrupted=True)
        assert verdict is not None
        assert verdict.message.endswith("; the same command starts again, as no checkpoint was saved yet.")
        for step in (5, 10):
            (spec.run_dir / f"checkpoints/step-{step}").mkdir(parents=True)
        killed = explain(ending, {0: -9}, watch)
    assert killed is not None
    assert "; the same command continues from step 10 (log: " in killed.message
    assert killed.exit_code == 75
