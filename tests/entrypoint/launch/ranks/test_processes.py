"""How a stage's end reaches the person: real processes in the place of the ranks."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from entrypoint.launch.nodes.alone import Alone
from entrypoint.launch.nodes.interface import Report
from entrypoint.launch.ranks import crew, processes
from entrypoint.launch.ranks.verdict import RanksLostError, Verdict
from libmoe.config.errors import LibmoeError
from libmoe.config.rank_failure import Cause, RankFailure
from libmoe.config.run import RunSpec, World
from tests.waiting import wait_for

RANK = """
import faulthandler, json, os, pathlib, signal, socket, sys, time
from libmoe.config.rank_failure import Cause, RankFailure
faulthandler.register(signal.SIGUSR1)
rank, run = int(os.environ["RANK"]), pathlib.Path(sys.argv[1])
def fail(code, cause, message):
    RankFailure(cause, code, message).write(run, rank)
    sys.exit(code)
def beat(count, step, doing):
    beat = {"rank": rank, "pid": os.getpid(), "count": count, "step": step, "doing": doing}
    address = chr(0) + os.environ["LIBMOE_LAUNCHER"]
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(json.dumps(beat).encode(), address)
def tell(word):
    (run / word).touch()
def await_word(word, doing=lambda: None):
    while not (run / word).exists():
        doing()
        time.sleep(0.01)
"""


@pytest.fixture
def spec(manifest: Callable[[], RunSpec]) -> RunSpec:
    spec = manifest()
    spec.run_dir.mkdir()
    return spec.model_copy(update={"world": World(device="cpu", processes=2)})


class Followed(Alone):
    """Tells when the launcher watches its ranks: from then on an interrupt is meant for them."""

    def __init__(self, hang_minutes: float, followed: threading.Event) -> None:
        super().__init__(hang_minutes)
        self._followed = followed

    def exchange(self, report: Report) -> Verdict | None:
        self._followed.set()
        return super().exchange(report)


@pytest.fixture
def followed() -> threading.Event:
    return threading.Event()


@pytest.fixture
def train(
    monkeypatch: pytest.MonkeyPatch, spec: RunSpec, followed: threading.Event
) -> Callable[..., list[str]]:
    """Runs two ranks of a script; gives what they said."""

    def run(script: str, hang_minutes: float = 0, said: list[str] | None = None) -> list[str]:
        lines: list[str] = [] if said is None else said
        command = [sys.executable, "-c", RANK + script, str(spec.run_dir)]
        monkeypatch.setattr(crew, "rank_command", lambda run_dir: command)
        processes.train_stage(spec, 0, Followed(hang_minutes, followed), {}, lines.append)
        return lines

    return run


@contextlib.contextmanager
def when(happened: Callable[[], object], act: Callable[[], object]) -> Iterator[None]:
    """Does something as soon as something else has happened."""

    def wait() -> None:
        while not happened():
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    yield
    thread.join(10)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def test_progress_reaches_the_person_and_chatter_the_log(
    train: Callable[..., list[str]], spec: RunSpec
) -> None:
    said = train("sys.stdout.write(f'step of {rank}\\n'); sys.stderr.write('chatter\\n')")  # whole lines
    assert said == ["step of 0"]
    assert sorted((spec.run_dir / "log.txt").read_text().split("\n")) == [
        "",
        "chatter",
        "chatter",
        "step of 1",
    ]


def test_a_ranks_own_sentence_and_code_are_the_commands(train: Callable[..., list[str]]) -> None:
    with pytest.raises(LibmoeError, match=r"cat\.jpg does not decode.*log\.txt") as caught:
        train(
            "if rank: fail(65, Cause.FAILED, 'cat.jpg does not decode.')\nfail(75, Cause.LOST_RANK, 'lost')"
        )
    assert caught.value.exit_code == 65


def test_an_old_failure_is_not_reported_again(train: Callable[..., list[str]], spec: RunSpec) -> None:
    RankFailure(Cause.FAILED, 65, "old").write(spec.run_dir, 0)
    with pytest.raises(LibmoeError, match=r"ended with 1 and without a word") as caught:
        train("sys.exit(1)")
    assert caught.value.exit_code == 70


def test_a_disk_too_full_for_a_word(train: Callable[..., list[str]]) -> None:
    with pytest.raises(LibmoeError, match=r"is full or cannot be written: make room") as caught:
        train("sys.exit(73)")
    assert caught.value.exit_code == 73


def test_a_killed_rank_is_named_with_its_step(train: Callable[..., list[str]]) -> None:
    script = (
        "beat(9, 4, 'computing step 5')\nif rank: time.sleep(0.3); os.kill(os.getpid(), 9)\n"
        "time.sleep(0.6); fail(75, Cause.LOST_RANK, 'lost the connection')"
    )
    with pytest.raises(
        RanksLostError, match=r"Rank 1 was killed by signal 9 \(SIGKILL\) after step 4.*starts again"
    ):
        train(script)


def test_ranks_that_wait_for_a_dead_one_are_ended_with_all_they_started(
    train: Callable[..., list[str]], spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that fails leaves a child behind; the other would wait for ever."""
    monkeypatch.setattr(processes, "_GRACE_SECONDS", 0.5)
    script = (
        "import subprocess; child = subprocess.Popen(['sleep', '600'])\n"
        "(run / f'pids-{rank}').write_text(f'{os.getpid()} {child.pid}')\n"
        "if rank: await_word('waiting'); os.kill(os.getpid(), 9)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); tell('waiting'); time.sleep(600)"
    )
    with pytest.raises(RanksLostError, match="Rank 1 was killed"):
        train(script)
    pids = [int(pid) for rank in (0, 1) for pid in (spec.run_dir / f"pids-{rank}").read_text().split()]
    wait_for(lambda: not any(map(alive, pids)))  # the kernel takes a moment for those that nobody waits for


def test_a_hung_rank_is_named_and_all_show_their_stacks(
    train: Callable[..., list[str]], spec: RunSpec
) -> None:
    script = (
        "def stuck_in_the_loader(): time.sleep(600)\ndef waits_for_others(): time.sleep(600)\n"
        "if rank:\n"
        "    await_word('running'); beat(3, 7, 'loading the batch of step 8'); tell('stuck')\n"
        "    stuck_in_the_loader()\n"
        "def compute(): beat(4, 7, 'computing step 8'); tell('running')\n"
        "await_word('stuck', compute); waits_for_others()"
    )
    sentence = (
        r"Rank 1 hung for 0.01 minutes \(loading the batch of step 8\); the others wait for it; .* was 7"
    )
    with pytest.raises(RanksLostError, match=sentence):
        train(script, hang_minutes=0.01)
    log = (spec.run_dir / "log.txt").read_text()
    assert "stuck_in_the_loader" in log
    assert "waits_for_others" in log


def test_a_stopped_rank_is_the_one_that_holds_up_the_others(train: Callable[..., list[str]]) -> None:
    script = (
        "def save(): beat(5, 7, 'saving step 7')\n"
        "if rank: await_word('running'); save(); tell('stopped'); os.kill(os.getpid(), signal.SIGSTOP)\n"
        "await_word('stopped', lambda: (save(), tell('running'))); time.sleep(600)"
    )
    with pytest.raises(RanksLostError, match=r"Rank 1 hung .* \(saving step 7, its process is stopped\)"):
        train(script, hang_minutes=0.01)


def test_an_interrupt_is_passed_on_and_ends_in_try_again(
    train: Callable[..., list[str]], followed: threading.Event
) -> None:
    script = (
        "def save(*_): print('saved', flush=True); fail(75, Cause.INTERRUPTED, 'Saved at step 3.')\n"
        "signal.signal(signal.SIGTERM, save); print('ready', flush=True); time.sleep(60)"
    )
    said: list[str] = []
    with (
        when(lambda: "ready" in said and followed.is_set(), interrupt),
        pytest.raises(LibmoeError, match=r"Saved at step 3") as caught,
    ):
        train(script, said=said)
    assert caught.value.exit_code == 75
    assert not isinstance(caught.value, RanksLostError)
    assert said[-1] == "saved"


def test_a_second_interrupt_ends_at_once(train: Callable[..., list[str]], followed: threading.Event) -> None:
    """Ranks that would save for ten minutes."""
    script = (
        "signal.signal(signal.SIGTERM, lambda *_: print('saving', flush=True))\n"
        "print('ready', flush=True)\nfor _ in range(6000): time.sleep(0.1)"
    )
    said: list[str] = []
    started = time.monotonic()
    with (
        when(lambda: "ready" in said and followed.is_set(), interrupt),
        when(lambda: "saving" in said, interrupt),
        pytest.raises(LibmoeError, match=r"Training was interrupted; .* starts again") as caught,
    ):
        train(script, said=said)
    assert caught.value.exit_code == 75
    assert time.monotonic() - started < 60


class Impatient(list[str]):
    """What was said, to somebody who interrupts again as soon as the first interrupt is answered."""

    def append(self, line: str) -> None:
        super().append(line)
        if line.startswith("Interrupted: saving"):
            interrupt()


def test_so_does_one_that_comes_while_the_first_is_passed_on(
    train: Callable[..., list[str]], followed: threading.Event
) -> None:
    said = Impatient()
    with (
        when(lambda: "ready" in said and followed.is_set(), interrupt),
        pytest.raises(LibmoeError, match=r"Training was interrupted; .* starts again"),
    ):
        train(
            "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)",
            said=said,
        )
