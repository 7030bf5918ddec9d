"""Whole or not there."""

import pytest

from libmoe.config.manifest import DamageError, check
from libmoe.train.checkpoint import Checkpoints, publish


@pytest.fixture
def keeping(spec_of):
    return lambda run_dir, limit: spec_of(run_dir, "pretrain", f"train.save_total_limit={limit}", processes=1)


def write(checkpoints, step, content="x"):
    draft = checkpoints.draft_of(step)
    (draft / "inner").mkdir(parents=True)
    (draft / "inner/weights").write_text(content)
    (draft / "inner/weights").chmod(0o600)


def test_a_draft_becomes_a_checkpoint(alone, tmp_path, keeping):
    checkpoints = Checkpoints(keeping(tmp_path, 2))
    checkpoints.clear_drafts()
    write(checkpoints, 5)
    assert not [*tmp_path.glob("checkpoints/step-*")]
    checkpoints.publish(5)
    weights = tmp_path / "checkpoints/step-5/inner/weights"
    assert weights.read_text() == "x"
    assert weights.stat().st_mode & 0o777 == 0o644
    assert not [*checkpoints.drafts.iterdir()]


def test_the_newest_are_kept(alone, tmp_path, keeping):
    checkpoints = Checkpoints(keeping(tmp_path, 2))
    checkpoints.clear_drafts()
    for step in (2, 9, 10):
        write(checkpoints, step)
        checkpoints.publish(step)
    assert {path.name for path in tmp_path.glob("checkpoints/step-*")} == {"step-9", "step-10"}


def test_the_newest_whole_one_stays_where_later_ones_are_damaged(alone, tmp_path, keeping):
    (tmp_path / "checkpoints/step-8").mkdir(parents=True)
    checkpoints = Checkpoints(keeping(tmp_path, 1))
    checkpoints.clear_drafts()
    write(checkpoints, 5)
    checkpoints.publish(5)
    assert {path.name for path in tmp_path.glob("checkpoints/step-*")} == {"step-5"}


def test_a_checkpoint_knows_what_it_consists_of(alone, tmp_path, keeping):
    checkpoints = Checkpoints(keeping(tmp_path, 1))
    checkpoints.clear_drafts()
    write(checkpoints, 5)
    checkpoints.publish(5)
    manifest = check(tmp_path / "checkpoints/step-5")
    assert (manifest.step, manifest.ranks, manifest.zero_stage) == (5, 1, 2)
    assert [*manifest.files] == ["inner/weights"]
    (tmp_path / "checkpoints/step-5/inner/weights").write_text("y")
    with pytest.raises(DamageError, match="inner/weights is not as it was written"):
        check(tmp_path / "checkpoints/step-5")


def test_a_step_that_is_saved_again_replaces_itself(alone, tmp_path, keeping):
    checkpoints = Checkpoints(keeping(tmp_path, 1))
    checkpoints.clear_drafts()
    for content in ("old", "new"):
        write(checkpoints, 3, content)
        checkpoints.publish(3)
    assert (tmp_path / "checkpoints/step-3/inner/weights").read_text() == "new"
    assert [path.name for path in (tmp_path / "checkpoints").iterdir() if path.name != ".drafts"] == [
        "step-3"
    ]


def test_what_was_half_written_is_cleared(tmp_path, keeping):
    checkpoints = Checkpoints(keeping(tmp_path, 1))
    write(checkpoints, 3)
    checkpoints.clear_drafts()
    assert not [*checkpoints.drafts.iterdir()]


def test_a_model_in_place_is_replaced_whole(tmp_path):
    final, draft = tmp_path / "model", tmp_path / ".draft"
    final.mkdir()
    (final / "stale").touch()
    draft.mkdir()
    (draft / "fresh").touch()
    publish(draft, final)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert [path.name for path in final.iterdir()] == ["fresh"]
