"""How the image ends when the machine is against it: the exit codes that job specs decide by."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from entrypoint.sample.hub import Answer, Hub, Library, Request

if TYPE_CHECKING:
    from tests.system.conftest import Image

    Serve = Callable[[Callable[[Request], Answer]], AbstractContextManager[Hub]]

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

HANGS = 600
"""Seconds that nothing takes, on however slow a machine."""


def prepare(mirror: str) -> tuple[str, ...]:
    """The command that fetches the whole sample."""
    return ("prepare", "--stage", "all", "--catalog", "sample", "--mirror", mirror)


def assert_one_sentence(stderr: str, about: str) -> None:
    """The last line says it, and no traceback is before it."""
    assert "Traceback" not in stderr
    assert about in stderr.strip().splitlines()[-1]


def test_a_volume_of_somebody_else(image: Image, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    done = image.run(*prepare("http://127.0.0.1:9"), data=tmp_path, user=(5151, 5151))
    assert done.returncode == 73, done.stderr
    assert_one_sentence(done.stderr, "/data")


def test_a_read_only_volume(image: Image, volume: Path) -> None:
    options = ("--mount", f"type=bind,source={volume},target=/data,readonly")
    done = image.run(*prepare("http://127.0.0.1:9"), options=options)
    assert done.returncode == 73, done.stderr
    assert_one_sentence(done.stderr, "/data")


def test_a_full_volume(image: Image, library: Library, serve: Serve) -> None:
    with serve(library.answer) as hub:
        done = image.run(*prepare(hub.url), options=("--tmpfs", "/data:size=256k,mode=1777"))
    assert done.returncode == 73, done.stderr
    assert_one_sentence(done.stderr, "/data")


def test_a_mirror_that_is_down(image: Image, volume: Path) -> None:
    done = image.run(*prepare("http://127.0.0.1:9"), data=volume)
    assert done.returncode == 69, done.stderr
    assert_one_sentence(done.stderr, "127.0.0.1")


def terminate(image: Image, container: str) -> int:
    """Ends a container as a scheduler does that takes its machine back; its exit code.

    137 if it is still there after a minute, the least that our job specs grant.
    """
    subprocess.run([image.docker, "stop", "-t", "60", container], check=True, capture_output=True)
    return ended(image, container)


def ended(image: Image, container: str) -> int:
    """The exit code of a container that is about to end."""
    wait = [image.docker, "wait", container]
    return int(subprocess.run(wait, check=True, capture_output=True, text=True, timeout=HANGS).stdout)


def wait_until(happened: Callable[[], object], what: str) -> None:
    """Returns as soon as it has."""
    deadline = time.monotonic() + HANGS
    while not happened():
        assert time.monotonic() < deadline, f"no {what} within {HANGS} seconds"
        time.sleep(0.1)


def slowly(library: Library) -> Callable[[Request], Answer]:
    """A hub that takes minutes, so that containers can come and go meanwhile."""

    def respond(request: Request) -> Answer:
        answer = library.answer(request)
        answer.bytes_per_second = 3_000
        return answer

    return respond


def said(image: Image, container: str) -> str:
    """What a container has written."""
    logs = [image.docker, "logs", container]
    return subprocess.run(
        logs, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ).stdout


def test_two_prepares_on_a_volume(image: Image, volume: Path, library: Library, serve: Serve) -> None:
    """The second says who has it; with --wait it starts once the first has ended."""
    with (
        serve(slowly(library)) as slow,
        serve(library.answer) as hub,
        image.start(*prepare(slow.url), data=volume, options=("--hostname", "the-first")) as first,
    ):
        wait_until(lambda: slow.bytes_sent, "download")
        refused = image.run(*prepare(hub.url), data=volume)
        assert refused.returncode == 75, refused.stderr
        assert_one_sentence(refused.stderr, "on the-first since")
        with image.start(*prepare(hub.url), "--wait", data=volume) as second:
            wait_until(lambda: "on the-first since" in said(image, second), "word of who has the volume")
            assert hub.bytes_sent == 0
            assert terminate(image, first) == 75
            assert ended(image, second) == 0, said(image, second)
        assert hub.bytes_sent > 0


def test_sigterm_during_prepare(image: Image, volume: Path, library: Library, serve: Serve) -> None:
    """The next prepare carries on."""
    with serve(slowly(library)) as hub, image.start(*prepare(hub.url), data=volume) as container:
        wait_until(lambda: hub.bytes_sent, "download")
        assert terminate(image, container) == 75

    with serve(library.answer) as hub:
        done = image.run(*prepare(hub.url), data=volume)
        assert done.returncode == 0, done.stderr


def test_sigterm_during_training(image: Image, volume: Path, library: Library, serve: Serve) -> None:
    """The ranks save what they have."""
    with serve(library.answer) as hub:
        done = image.run(*prepare(hub.url), data=volume)
        assert done.returncode == 0, done.stderr

    run = volume / "runs" / "tiny" / "pretrain"
    train = ("train", "--stage", "1", "--preset", "tiny", "--gpus", "cpu", "--processes", "2")
    endless = ("--set", "train.epochs=1000")
    with image.start(*train, *endless, data=volume, options=("--env", "OMP_NUM_THREADS=1")) as container:
        wait_until((run / "metrics.jsonl").exists, "step")
        assert terminate(image, container) == 75
    assert list((run / "checkpoints").glob("step-*"))


def test_memory_runs_out_in_training(image: Image, volume: Path, library: Library, serve: Serve) -> None:
    """The kernel ends the rank, the largest process in the container, and the user learns why."""
    with serve(library.answer) as hub:
        done = image.run(*prepare(hub.url), data=volume)
        assert done.returncode == 0, done.stderr

    train = ("train", "--stage", "1", "--preset", "tiny", "--gpus", "cpu", "--set", "train.epochs=1000")
    options = ("--env", "OMP_NUM_THREADS=1", "--memory", "1g", "--memory-swap", "1g")
    with image.start(*train, data=volume, options=options) as container:
        wait_until((volume / "runs" / "tiny" / "pretrain" / "metrics.jsonl").exists, "step")
        # Files in memory count, and nobody can be ended for them. While the ended rank's memory is being
        # given back, the kernel may end one process more: the writer, before the launcher.
        writer = "echo 250 > /proc/$$/oom_score_adj; exec head --bytes 800M /dev/zero > /tmp/file"
        subprocess.run([image.docker, "exec", container, "sh", "-c", writer], capture_output=True)
        assert ended(image, container) == 75
        told = said(image, container)
    assert_one_sentence(told, "the machine's or the container's memory ran out (lower train.micro_batch_size")
    assert "was killed by signal 9 (SIGKILL) after step" in told
