"""What prepare does and finds, for a person: bars on a terminal, lines in a log, tables at the end."""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from entrypoint import console
from entrypoint.prepare.close import Verified
from entrypoint.prepare.events import (
    Audited,
    Emit,
    Event,
    Failed,
    Finished,
    Planned,
    Progress,
    Said,
    Skipped,
    Waiting,
)
from entrypoint.prepare.plan import Plan
from entrypoint.prepare.report import Report

if TYPE_CHECKING:
    import rich.progress

LOG_SECONDS = 5.0
COUNTED = {"index": "rows", "images": "images"}
"""Phases that are not measured in bytes."""


@contextlib.contextmanager
def watcher() -> Iterator[Emit]:
    """Something to give the events to while prepare runs."""
    if not console.on_terminal():
        yield Lines()
        return
    with console.progress() as bars:
        yield Bars(bars)


class Lines:
    """For a log: what happens, and every few seconds how far it is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: dict[str, Progress] = {}
        self._last = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Tells an event, if it is worth a line now."""
        with self._lock:
            if isinstance(event, Progress):
                self._active[event.name] = event
                self._tell_progress()
            elif line := sentence(event):
                console.say(line)
            if isinstance(event, Finished | Failed):
                self._active.pop(event.name, None)

    def _tell_progress(self) -> None:
        now = time.monotonic()
        if now - self._last < LOG_SECONDS:
            return
        self._last = now
        console.say("; ".join(_how_far(progress) for progress in self._active.values()))


class Bars:
    """For a terminal: a bar for each artifact that is worked on."""

    def __init__(self, bars: "rich.progress.Progress") -> None:
        self._bars = bars
        self._lock = threading.Lock()
        self._tasks: dict[str, rich.progress.TaskID] = {}
        self._phases: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        """Moves a bar, or writes a line above them."""
        with self._lock:
            if isinstance(event, Progress):
                self._move(event)
            elif line := sentence(event):
                self._bars.console.print(line, highlight=False, markup=False)
            if isinstance(event, Finished | Failed) and event.name in self._tasks:
                self._bars.remove_task(self._tasks.pop(event.name))

    def _move(self, event: Progress) -> None:
        if event.name not in self._tasks:
            self._tasks[event.name] = self._bars.add_task(event.name, total=event.total)
        task = self._tasks[event.name]
        if event.phase in COUNTED:
            self._bars.update(task, description=_how_far(event))
            return
        if self._phases.get(event.name) != event.phase:
            self._phases[event.name] = event.phase
            self._bars.reset(task, description=f"{event.name}: {event.phase}", total=event.total)
        self._bars.update(task, completed=event.done, total=event.total)


def sentence(event: Event) -> str:
    """An event in a line; nothing for what only moves bars."""
    match event:
        case Planned(plan):
            missing = len(plan.missing)
            if not missing:
                return f"{plan.volume.root}: up to date, {len(plan.steps)} artifacts are in place"
            return (
                f"{plan.volume.root}: {missing} of {len(plan.steps)} artifacts to prepare, "
                f"{console.size(plan.to_fetch)} to fetch"
            )
        case Waiting(name, url, reason, seconds):
            return f"{name}: {url} {reason}; trying again in {seconds:.1f} s"
        case Skipped(name, url, reason):
            return f"{name}: giving up {url}: {reason}"
        case Finished(name, files, size):
            return f"{name}: in place ({files} file{'s' * (files != 1)}, {console.size(size)})"
        case Failed(name, message):
            return f"{name}: failed: {message}"
        case Said(line):
            return line
        case Audited(report):
            return "; ".join(f"{stage}: {report.stage_verdict(stage)}" for stage in report.stages)
        case _:
            return ""


def show_plan(plan: Plan) -> None:
    """The plan as a table, and what it takes."""
    rows = [
        (
            step.artifact.name,
            step.state.kind,
            _size(step.artifact.expected_size, step.artifact.size is not None),
            _size(step.to_fetch, step.artifact.size is not None),
            step.artifact.destination,
            step.address,
        )
        for step in plan.steps
    ]
    console.table("Plan", ("artifact", "now", "size", "to fetch", "destination", "from"), rows)
    unknown = f" and {plan.unknown} files of unknown size" if plan.unknown else ""
    free = "unknown" if plan.free_bytes is None else console.size(plan.free_bytes)
    console.say(
        f"To fetch: {console.size(plan.to_fetch)}{unknown}. Disk needed at the peak: "
        f"{console.size(plan.peak_bytes)}; free in {plan.volume.root}: {free}."
    )


def show_report(report: Report) -> None:
    """The audit as tables."""
    if report.sets:
        _show_sets(report)
    for reason in report.not_ready:
        console.say(reason)
    if report.stages:
        stages = [(stage, report.stage_verdict(stage)) for stage in report.stages]
        console.table("Stages", ("stage", "verdict"), stages)


def show_verified(found: Verified) -> None:
    """The audit as tables, and what was written."""
    show_report(found.report)
    for name, path in found.lists.items():
        console.say(f"{name}: all that cannot be used is in {path}")
    for name, path in found.filtered.items():
        console.say(f"{name}: written to {path}; train with it by --set data.annotations={name}")


def show_states(rows: Sequence[tuple[str, str, str, str]]) -> None:
    """Artifacts of a volume as a table."""
    console.table("Volume", ("artifact", "state", "destination", "remark"), rows)


def _show_sets(report: Report) -> None:
    counts = ("rows", "text only", "images", "present", "missing", "empty", "undecodable")
    rows = [
        (a.name, a.rows, a.text_only, a.images, a.present, a.missing, a.empty, a.undecodable, a.verdict)
        for a in report.sets
    ]
    console.table("Annotations joined with the disk", ("annotations", *counts, "verdict"), rows)
    for found in report.sets:
        if found.examples:
            console.say(f"{found.name}: not usable, for instance: {', '.join(found.examples)}")
        if found.unused:
            console.say(f"{found.name}: no row uses {', '.join(found.unused)}")


def _how_far(progress: Progress) -> str:
    if progress.phase in COUNTED:
        return f"{progress.name}: {progress.phase}, {progress.done} {COUNTED[progress.phase]}"
    of = f" of {console.size(progress.total)}" if progress.total else ""
    return f"{progress.name}: {progress.phase}, {console.size(progress.done)}{of}"


def _size(count: int | None, exact: bool) -> str:
    if count is None:
        return "unknown"
    return console.size(count) if exact or not count else f"about {console.size(count)}"
