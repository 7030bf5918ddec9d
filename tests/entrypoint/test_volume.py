"""The volume: what is in the way of writing, and who may write."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from entrypoint import lock
from entrypoint.lock import Holder, WriterLock
from entrypoint.process_id import ProcessId
from entrypoint.receipt import Receipt
from entrypoint.volume import Volume, default_data_dir, write_json
from libmoe.config.errors import TryAgainError, VolumeError
from tests.entrypoint.mounts import fill_up, mounted
from tests.waiting import wait_for


def test_it_is_made_below_a_folder_that_exists(tmp_path):
    Volume(tmp_path / "data").check()
    assert (tmp_path / "data/.libmoe").is_dir()


def test_a_missing_parent(tmp_path):
    with pytest.raises(VolumeError, match=r"cannot be made because .*/no is not a folder"):
        Volume(tmp_path / "no/data").check()
    assert not (tmp_path / "no").exists()


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(VolumeError, match="is in the way"):
        Volume(tmp_path / "data").check()


def test_a_place_where_no_folder_can_be_made():
    with pytest.raises(VolumeError, match="/proc/data cannot be made there: choose another"):
        Volume(Path("/proc/data")).check()


def test_a_volume_that_is_read_only(tmp_path):
    words = r"cannot be written \(read-only file system\)"
    with mounted(tmp_path / "data", "ro") as root, pytest.raises(VolumeError, match=words):
        Volume(root).check()


def test_a_full_volume_gives_its_lock_back(tmp_path):
    with mounted(tmp_path / "data", "size=1m") as root:
        volume = Volume(root)
        with volume.lock():
            fill_up(root)
        (left,) = (volume.hidden / "lock").iterdir()
        (root / "glutton").unlink()
        with volume.lock():
            assert not left.exists()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "is full"),
        (errno.EDQUOT, "is full"),
        (errno.EROFS, "cannot be written"),
        (errno.EACCES, "cannot be written"),
        (errno.ENOTDIR, "is in the way"),
    ],
)
def test_failures_to_write_are_one_sentence(tmp_path, number, words):
    with pytest.raises(VolumeError, match=words), Volume(tmp_path).guard():
        raise OSError(number, os.strerror(number), "/data/x")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOTCONN])
def test_a_volume_that_fails(tmp_path, number):
    said = f"fails .*{os.strerror(number).lower()}.* the same command"
    with pytest.raises(VolumeError, match=said), Volume(tmp_path).guard():
        raise OSError(number, os.strerror(number))


def test_other_failures_are_not_called_the_volumes(tmp_path):
    with pytest.raises(OSError, match="Too many open files"), Volume(tmp_path).guard():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_reading_wants_a_folder(tmp_path):
    with pytest.raises(VolumeError, match="fill it with `libmoe prepare`"):
        Volume(tmp_path / "none").require()


def test_default_place(monkeypatch):
    monkeypatch.delenv("TOOLKIT_DIR", raising=False)
    assert default_data_dir() == Path("/data")
    monkeypatch.setenv("TOOLKIT_DIR", "/kit")
    assert default_data_dir() == Path("/kit/data")


def test_a_receipt_comes_back_as_it_was(tmp_path):
    receipt = Receipt("a", "file", "a.bin", "u", "h", None, None, "0" * 64, 1, 1, 1, "now", "libmoe")
    volume = Volume(tmp_path)
    assert volume.receipt("a") is None
    volume.write_receipt(receipt)
    assert volume.receipt("a") == receipt


def take(folder: Path) -> WriterLock:
    return WriterLock(folder, "The volume")


def leave_behind(folder: Path, process: ProcessId) -> None:
    """A lock whose holder is gone without giving it back."""
    folder.mkdir(exist_ok=True)
    (folder / "lock-7").write_text(json.dumps(asdict(replace(Holder.me(), process=process))))


def test_one_at_a_time(tmp_path):
    for _ in range(3):
        with take(tmp_path), pytest.raises(TryAgainError, match=rf"process {os.getpid()} on"):
            take(tmp_path).__enter__()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_killed_holder_is_replaced(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from entrypoint.lock import WriterLock\n"
        "with WriterLock(Path(sys.argv[1]), 'x'): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE)
    process.stdout.readline()
    with pytest.raises(TryAgainError, match=f"process {process.pid}"):
        take(tmp_path).__enter__()
    process.kill()
    process.wait()
    with take(tmp_path):
        pass


def test_a_number_given_to_another_process_is_no_sign_of_life(tmp_path):
    leave_behind(tmp_path, replace(ProcessId.me(), started="1"))
    with take(tmp_path):
        assert (tmp_path / "lock-8").exists()


def elsewhere() -> ProcessId:
    return replace(ProcessId.me(), host="node7", place="another boot")


def test_a_holder_elsewhere_that_shows_signs_of_life_is_believed(tmp_path):
    leave_behind(tmp_path, elsewhere())
    with pytest.raises(TryAgainError, match="on node7"):
        take(tmp_path).__enter__()


def test_a_holder_elsewhere_that_is_silent_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.02)
    leave_behind(tmp_path, elsewhere())
    os.utime(tmp_path / "lock-7", (time.time() - 3600,) * 2)
    with take(tmp_path):
        pass


def test_a_silent_holder_elsewhere_is_replaced_though_the_clock_was_set_back(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.02)
    leave_behind(tmp_path, elsewhere())
    os.utime(tmp_path / "lock-7", (time.time() + 86_400,) * 2)
    with take(tmp_path):
        pass


def test_a_clock_that_jumped_does_not_kill_a_holder_elsewhere(tmp_path, monkeypatch):
    leave_behind(tmp_path, elsewhere())
    file = tmp_path / "lock-7"
    os.utime(file, (time.time() - 3600,) * 2)
    watched: list[float] = []

    def beat(seconds: float) -> None:
        watched.append(seconds)
        os.utime(file, (time.time() - 3590,) * 2)

    monkeypatch.setattr(lock.time, "sleep", beat)  # while it is watched, it beats by its own clock
    with pytest.raises(TryAgainError, match="on node7"):
        take(tmp_path).__enter__()
    assert watched == [2.5 * lock.HEARTBEAT_SECONDS]


def test_a_holder_shows_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.02)
    with take(tmp_path):
        (file,) = tmp_path.glob("lock-*")
        os.utime(file, (1, 1))
        wait_for(lambda: file.stat().st_mtime > 1)


def test_without_hard_links_too(tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    with take(tmp_path), pytest.raises(TryAgainError):
        take(tmp_path).__enter__()
    with take(tmp_path):
        pass


def test_a_link_that_was_made_though_the_answer_was_lost(tmp_path, monkeypatch):
    """A network file system may ask twice: the second answer is that the name is there already."""
    link = os.link

    def lose_the_answer(source, target):
        link(source, target)
        raise FileExistsError(errno.EEXIST, "it is there", target)

    monkeypatch.setattr(os, "link", lose_the_answer)
    with take(tmp_path), pytest.raises(TryAgainError):
        take(tmp_path).__enter__()


def test_a_slow_look_does_not_win_over_a_later_holder(tmp_path, monkeypatch):
    """Between its look and its link, others took the lock, gave it back and took it again."""
    (tmp_path / "lock-3").write_text(json.dumps(asdict(Holder.me())))
    slow = take(tmp_path)
    looks, look = iter([(1, None)]), slow._latest
    monkeypatch.setattr(slow, "_latest", lambda: next(looks, None) or look())
    with pytest.raises(TryAgainError):
        slow.__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["lock-3"]


def test_of_many_at_once_never_two(tmp_path):
    program = """
import os, sys, time
from pathlib import Path
from entrypoint.lock import WriterLock
from libmoe.config.errors import TryAgainError
folder, taken = Path(sys.argv[1]), 0
deadline = time.time() + 3
while time.time() < deadline:
    try:
        with WriterLock(folder / "lock", "x"):
            os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))
            taken += 1
            if taken % 7 == 0:
                os.unlink(folder / "inside"); os._exit(9)  # as if killed: the lock stays behind
            os.unlink(folder / "inside")
    except TryAgainError:
        pass
"""
    processes: list[subprocess.Popen[bytes]] = []
    ended: list[int] = []
    least, most = time.monotonic() + 3, time.monotonic() + 60
    while time.monotonic() < least or (ended.count(9) < 4 and time.monotonic() < most):
        ended += [process.returncode for process in processes if process.poll() is not None]
        processes = [process for process in processes if process.poll() is None]
        while len(processes) < 3:
            processes.append(subprocess.Popen([sys.executable, "-c", program, tmp_path]))
        time.sleep(0.05)
    ended += [process.wait() for process in processes]
    assert set(ended) <= {0, 9}
    assert ended.count(9) > 3


def test_whoever_waits_is_told_once_by_whom_and_gets_it_when_it_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "LOOK_SECONDS", 0.02)
    told: list[str] = []
    holder, taken = take(tmp_path), threading.Event()

    def wait() -> None:
        with WriterLock(tmp_path, "The volume", told.append):
            taken.set()

    with holder:
        waiting = threading.Thread(target=wait)
        waiting.start()
        wait_for(lambda: told)
        assert not taken.wait(0.1)
    assert taken.wait(60)
    waiting.join()
    (line,) = told
    assert f"in use by process {os.getpid()}" in line
    assert line.endswith("waiting until it has ended")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_holder_whose_lock_was_taken_over_is_stopped(tmp_path, monkeypatch):
    """It was frozen for so long that another machine took it for dead; then it woke up."""
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.05)
    done = []

    def work() -> None:
        with take(tmp_path):
            (file,) = tmp_path.glob("lock-*")
            file.rename(tmp_path / "lock-99")
            time.sleep(5)
            done.append("the rest of the work")

    with pytest.raises(TryAgainError, match="taken over by another process"):
        work()
    assert done == []
    assert (tmp_path / "lock-99").exists()


def test_what_a_killed_writer_had_begun_is_swept_away(tmp_path):
    volume = Volume(tmp_path)
    write_json(volume.receipt_path("whole"), {})
    begun = volume.receipt_path("whole").with_name(f".whole.json.{'a' * 32}")
    begun.write_text("{")
    other = volume.receipt_path("whole").with_name(".keep")
    other.touch()
    record = volume.hidden / f".aria2.json.{'b' * 32}"
    record.write_text("{")
    volume.sweep()
    assert sorted(path.name for path in begun.parent.iterdir()) == [".keep", "whole.json"]
    assert not record.exists()


def test_so_is_what_a_killed_one_tried_the_volume_with(tmp_path, monkeypatch):
    volume = Volume(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda path, missing_ok=False: None)
        volume.check()
        volume.tells_case()
    assert len(list(volume.hidden.iterdir())) == 2
    volume.sweep()
    assert list(volume.hidden.iterdir()) == []


def test_inodes_and_case_are_asked_of_the_file_system(tmp_path):
    volume = Volume(tmp_path / "data")
    assert volume.has_inodes(1)
    free = volume.free_inodes()
    assert free is None or not volume.has_inodes(free + 10**9)
    volume.check()
    assert volume.tells_case()
    assert [path.name for path in volume.hidden.iterdir()] == []
