"""What a person sees of a prepare."""

import pytest

from entrypoint.prepare.events import Failed, Finished, Progress
from entrypoint.prepare.plan import Planned
from entrypoint.prepare.screen import progress
from entrypoint.prepare.screen.progress import Lines, Tally
from entrypoint.prepare.screen.speed import Speed, duration

MIB = 1 << 20


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by hand."""
    time = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: time[0])
    return time


def test_a_rate_is_that_of_the_last_seconds():
    now = [0.0]
    speed = Speed(lambda: now[0])
    assert (speed.rate, speed.left(100)) == (None, None)
    for second in range(60):
        now[0] = second
        speed.tell(second * (1 if second < 30 else 10))
    assert speed.rate == pytest.approx(10)
    assert speed.left(690) == pytest.approx(10)
    speed.tell(0)
    assert speed.rate is None


def test_durations():
    assert [duration(count) for count in (9, 75, 4000, 90000)] == ["9 s", "1 min 15 s", "1 h 6 min", "25 h"]


def test_a_log_gets_a_line_every_few_seconds_with_rate_and_time_left(small, clock, capsys):
    small.prepare()
    (planned,) = [event for event in small.events if isinstance(event, Planned)]
    lines = Lines()
    lines(planned)
    for second in range(12):
        clock[0] += 1
        lines(Progress("images", "fetch", second * MIB, 100 * MIB))
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 3
    assert err[1].startswith("images: fetch, 4.0 MiB of 100.0 MiB, 1.0 MiB/s, 1 min 36 s left; in all: ")


def test_the_total_counts_what_this_run_fetched():
    tally = Tally()
    tally.see(Progress("a", "fetch", 50, 100))  # fifty were here
    tally.see(Progress("b", "fetch", 0, 100))
    tally.see(Progress("a", "fetch", 80, 100))
    tally.see(Progress("b", "fetch", 10, 100))
    tally.see(Progress("a", "verify", 10, 100))
    assert tally.done == 40
    assert tally.line(tally.active["a"]).startswith("a: verify, 10 B of 100 B")
    tally.see(Finished("a", 1, 100))
    tally.see(Failed("b", "gone"))
    assert not tally.active


def test_rows_and_images_are_counted_not_measured():
    tally = Tally()
    tally.see(Progress("rows", "index", 4096, None))
    tally.see(Progress("covers", "images", 500, 80_000))
    assert [tally.line(one) for one in tally.active.values()] == [
        "rows: index, 4096 rows", "covers: images, 500 of 80000 images",
    ]  # fmt: skip
