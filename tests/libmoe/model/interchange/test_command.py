"""``python -m libmoe.model.interchange``."""

from pathlib import Path

import pytest

from libmoe.model.interchange.__main__ import main

from .conftest import MakeUpstream, SaveUpstream


def test_import_and_export(
    make_upstream: MakeUpstream,
    save_upstream: SaveUpstream,
    tower: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    source = save_upstream(dict(make_upstream("xmoe").state_dict()), "xmoe")
    ours, again = tmp_path / "ours", tmp_path / "again"
    assert main(["import", str(source), str(ours), "--tower", str(tower)]) == 0
    captured = capfd.readouterr()
    assert captured.out == f"{ours}\n"
    gate = "model.mm_projector.moelayer.gate.weight"
    assert captured.err == f"Left out {gate} and 33 more: upstream never reads it.\n"
    assert not recwarn.list
    assert main(["export", str(ours), str(again), "--tower", "google/siglip-tiny"]) == 0
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == (f"{again}\n", "")


def test_errors_are_one_sentence_and_an_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(tmp_path), str(tmp_path / "ours")]) == 78
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"libmoe: There is no {tmp_path}/config.json: give the folder of a checkpoint.\n"
