"""Progress on a person's screen: bars on a terminal; in a log, a line every few seconds."""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from entrypoint import console
from entrypoint.prepare.events import Emit, Event, Failed, Finished, Progress
from entrypoint.prepare.plan import Planned
from entrypoint.prepare.screen.sentences import sentence
from entrypoint.prepare.screen.speed import Speed, duration

if TYPE_CHECKING:
    import rich.progress

LOG_SECONDS = 5.0
COUNTED = {"index": "rows", "images": "images"}
"""Phases that are not measured in bytes."""


class Tally:
    """How far each artifact is, and all of them together: bytes that were fetched, of those to be fetched."""

    def __init__(self) -> None:
        self.active: dict[str, Progress] = {}
        self.total: int | None = None
        self._speeds: dict[tuple[str, str], Speed] = {}
        self._all = Speed()
        self._fetched: dict[str, int] = {}
        self._first: dict[str, int] = {}

    def see(self, event: Event) -> None:
        """Takes note of an event."""
        if isinstance(event, Planned):
            self.total = event.plan.to_fetch if not event.plan.unknown else None
        elif isinstance(event, Progress):
            self.active[event.name] = event
            self._speeds.setdefault((event.name, event.phase), Speed()).tell(event.done)
            if event.phase == "fetch":
                self._first.setdefault(event.name, event.done)
                self._fetched[event.name] = event.done
                self._all.tell(self.done)
        elif isinstance(event, Finished | Failed):
            self.active.pop(event.name, None)

    @property
    def done(self) -> int:
        """Bytes that were fetched in this run."""
        return sum(self._fetched[name] - self._first[name] for name in self._fetched)

    def line(self, progress: Progress) -> str:
        """An artifact in words."""
        speed = self._speeds[progress.name, progress.phase]
        if progress.phase in COUNTED:
            of = f" of {progress.total}" if progress.total else ""
            return f"{progress.name}: {progress.phase}, {progress.done}{of} {COUNTED[progress.phase]}"
        of = f" of {console.size(progress.total)}" if progress.total else ""
        pace = _pace(speed, progress.total)
        return f"{progress.name}: {progress.phase}, {console.size(progress.done)}{of}{pace}"

    def all(self) -> str:
        """Everything in words; nothing while nothing is fetched."""
        if not self._fetched:
            return ""
        of = f" of {console.size(self.total)}" if self.total else ""
        return f"in all: {console.size(self.done)}{of}{_pace(self._all, self.total)}"


class Lines:
    """For a log: what happens, and every few seconds how far it is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tally = Tally()
        self._last = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Tells an event, if it is worth a line now."""
        with self._lock:
            self._tally.see(event)
            if isinstance(event, Progress):
                self._tell_progress()
            elif line := sentence(event):
                console.say(line)

    def _tell_progress(self) -> None:
        now = time.monotonic()
        if now - self._last < LOG_SECONDS:
            return
        self._last = now
        lines = [self._tally.line(progress) for progress in self._tally.active.values()]
        console.say("; ".join([*lines, *filter(None, [self._tally.all()])]))


class Bars:
    """For a terminal: a bar for each artifact that is worked on, and one for all of them."""

    def __init__(self, bars: "rich.progress.Progress") -> None:
        self._bars = bars
        self._lock = threading.Lock()
        self._tally = Tally()
        self._all: rich.progress.TaskID | None = None
        self._tasks: dict[str, rich.progress.TaskID] = {}
        self._phases: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        """Moves a bar, or writes a line above them."""
        with self._lock:
            self._tally.see(event)
            if isinstance(event, Progress):
                self._move(event)
            elif line := sentence(event):
                self._bars.console.print(line, highlight=False, markup=False)
            if isinstance(event, Planned) and event.plan.missing:
                self._all = self._bars.add_task("in all", total=self._tally.total)
            if isinstance(event, Finished | Failed) and event.name in self._tasks:
                self._bars.remove_task(self._tasks.pop(event.name))

    def _move(self, event: Progress) -> None:
        if event.name not in self._tasks:
            self._tasks[event.name] = self._bars.add_task(event.name, total=event.total)
        task = self._tasks[event.name]
        if event.phase in COUNTED:
            self._bars.update(task, description=self._tally.line(event))
            return
        if self._phases.get(event.name) != event.phase:
            self._phases[event.name] = event.phase
            self._bars.reset(task, description=f"{event.name}: {event.phase}", total=event.total)
        self._bars.update(task, completed=event.done, total=event.total)
        if self._all is not None:
            self._bars.update(self._all, completed=self._tally.done)


@contextlib.contextmanager
def watcher() -> Iterator[Emit]:
    """Something to give the events to while prepare runs."""
    if not console.on_terminal():
        yield Lines()
        return
    with console.progress() as bars:
        yield Bars(bars)


def _pace(speed: Speed, total: int | None) -> str:
    if not speed.rate:
        return ""
    left = speed.left(total)
    return f", {console.size(speed.rate)}/s" + (f", {duration(left)} left" if left is not None else "")
