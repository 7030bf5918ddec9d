"""The newest checkpoint that is whole."""

from collections.abc import Callable
from pathlib import Path

import pytest

from entrypoint.launch.resume import check_fits, choose_checkpoint
from libmoe.config.errors import ConfigError, DataError
from libmoe.config.manifest import NAME, CheckpointManifest, hashed
from libmoe.config.run import RunSpec, World


def save(run_dir: Path, step: int) -> Path:
    folder = run_dir / "checkpoints" / f"step-{step}"
    (folder / "inner").mkdir(parents=True)
    (folder / "weights").write_bytes(b"abcdefgh" * 1000)
    (folder / "inner" / "rng_state_0.pth").write_bytes(b"r")
    files = hashed(folder, ["weights", "inner/rng_state_0.pth"])
    CheckpointManifest(step=step, ranks=2, zero_stage=3, files=files).write(folder)
    return folder


def truncate(folder: Path) -> None:
    with (folder / "weights").open("r+b") as file:
        file.truncate(7999)


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "weights").read_bytes())
    content[4321] ^= 1
    (folder / "weights").write_bytes(content)


def lose_a_file(folder: Path) -> None:
    (folder / "inner" / "rng_state_0.pth").unlink()


def lose_the_manifest(folder: Path) -> None:
    (folder / NAME).unlink()


def change_the_manifest(folder: Path) -> None:
    text = (folder / NAME).read_text()
    (folder / NAME).write_text(text.replace('"ranks": 2', '"ranks": 3').replace('"ranks":2', '"ranks":3'))


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (truncate, "weights has 7,999 bytes, not 8,000"),
        (flip_a_bit, "weights is not as it was written"),
        (lose_a_file, "inner/rng_state_0.pth is missing"),
        (lose_the_manifest, "its manifest.json cannot be read"),
        (change_the_manifest, "its manifest.json is not as it was written"),
    ],
)
def test_a_damaged_one_is_passed_over_with_its_reason(
    tmp_path: Path, harm: Callable[[Path], None], reason: str
) -> None:
    whole, damaged = save(tmp_path, 9), save(tmp_path, 10)
    assert choose_checkpoint(tmp_path, "auto").checkpoint == damaged
    harm(damaged)
    resume = choose_checkpoint(tmp_path, "auto")
    assert resume.checkpoint == whole
    (sentence,) = resume.passed_over
    assert sentence.startswith("passing over checkpoint step-10: ")
    assert reason in sentence
    with pytest.raises(DataError, match="step-10 is damaged"):
        choose_checkpoint(tmp_path, str(damaged))


def test_drafts_and_strangers_do_not_count(tmp_path: Path) -> None:
    for name in ("step-11.draft", "other", ".drafts/step-12"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert choose_checkpoint(tmp_path, "auto").checkpoint is None


def test_another_zero_stage_is_refused_with_what_to_do(
    tmp_path: Path, manifest: Callable[..., RunSpec]
) -> None:
    save(tmp_path, 9)
    resume = choose_checkpoint(tmp_path, "auto")
    same = manifest(zero={"stage": 3}).model_copy(update={"world": World(device="cpu", processes=1, nodes=2)})
    check_fits(resume, same)
    assert not resume.by_other_ranks(same)
    check_fits(resume, manifest(zero={"stage": 3}))
    assert resume.by_other_ranks(manifest(zero={"stage": 3}))
    with pytest.raises(
        ConfigError, match=r"with ZeRO 3, and this run has ZeRO 2, .*stage=3, or .* --init-from"
    ):
        check_fits(resume, manifest())


def test_never_and_by_name(tmp_path: Path) -> None:
    older = save(tmp_path, 9)
    save(tmp_path, 10)
    assert choose_checkpoint(tmp_path, "never").checkpoint is None
    assert choose_checkpoint(tmp_path, str(older)).checkpoint == older
    with pytest.raises(ConfigError, match="--resume wants auto, never or a folder"):
        choose_checkpoint(tmp_path, str(tmp_path / "elsewhere"))
