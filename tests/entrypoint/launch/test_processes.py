"""How a stage's end reaches the person: real processes in the place of torchrun's."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from entrypoint.launch import processes
from libmoe.config.errors import LibmoeError, TryAgainError
from libmoe.config.run import RunSpec

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


@pytest.fixture
def spec(manifest: Callable[[], RunSpec]) -> RunSpec:
    spec = manifest()
    spec.run_dir.mkdir()
    return spec


def run_script(monkeypatch: pytest.MonkeyPatch, spec: RunSpec, script: str, said: list[str]) -> None:
    monkeypatch.setattr(processes, "_command", lambda spec: [sys.executable, "-c", script])
    processes.train_stage(spec, {}, said.append)


def failing(reports: dict[int, tuple[int, str]], run_dir: Path) -> str:
    written = {rank: {"exit_code": code, "message": message} for rank, (code, message) in reports.items()}
    return (
        f"import json, pathlib, sys; folder = pathlib.Path({str(run_dir / 'failures')!r}); folder.mkdir()\n"
        f"for rank, report in {written!r}.items():\n"
        "    (folder / f'rank-{rank}.json').write_text(json.dumps(report))\n"
        "sys.exit(1)"
    )


def test_progress_reaches_the_person_and_chatter_the_log(
    monkeypatch: pytest.MonkeyPatch, spec: RunSpec
) -> None:
    said: list[str] = []
    run_script(monkeypatch, spec, "import sys; print('step 1'); print('chatter', file=sys.stderr)", said)
    assert said == ["step 1"]
    assert (spec.run_dir / "log.txt").read_text() == "chatter\n"


def test_a_ranks_own_sentence_and_code_are_the_commands(
    monkeypatch: pytest.MonkeyPatch, spec: RunSpec
) -> None:
    script = failing({0: (75, "stopped"), 1: (65, "cat.jpg does not decode.")}, spec.run_dir)
    with pytest.raises(LibmoeError, match=r"cat\.jpg does not decode.*log\.txt") as caught:
        run_script(monkeypatch, spec, script, [])
    assert caught.value.exit_code == 65


def test_an_old_failure_is_not_reported_again(monkeypatch: pytest.MonkeyPatch, spec: RunSpec) -> None:
    (spec.run_dir / "failures").mkdir()
    (spec.run_dir / "failures" / "rank-0.json").write_text(json.dumps({"exit_code": 65, "message": "old"}))
    with pytest.raises(LibmoeError, match="ended without a word") as caught:
        run_script(monkeypatch, spec, "import os; os.kill(os.getpid(), 9)", [])
    assert caught.value.exit_code == 70


def test_a_killed_rank_is_named(monkeypatch: pytest.MonkeyPatch, spec: RunSpec) -> None:
    monkeypatch.setattr(processes, "_command", lambda spec: [*TORCHRUN, str(script)])
    script = spec.run_dir / "rank.py"
    script.write_text(
        "import os, time\nif os.environ['RANK'] == '1': os.kill(os.getpid(), 9)\ntime.sleep(60)\n"
    )
    with pytest.raises(TryAgainError, match=r"Rank 1 was killed by signal 9.*continues"):
        processes.train_stage(spec, {}, lambda line: None)


def test_an_interrupt_is_passed_on_and_ends_in_try_again(
    monkeypatch: pytest.MonkeyPatch, spec: RunSpec
) -> None:
    script = (
        "import signal, sys, time\n"
        "def save(*_): print('saved', flush=True); sys.exit(1)\n"
        "signal.signal(signal.SIGTERM, save); print('ready', flush=True); time.sleep(60)"
    )
    said: list[str] = []

    def interrupt_when_ready() -> None:
        while "ready" not in said:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt_when_ready, daemon=True).start()
    started = time.monotonic()
    with pytest.raises(TryAgainError, match="continues"):
        run_script(monkeypatch, spec, script, said)
    assert said[-1] == "saved"
    assert time.monotonic() - started < 30
