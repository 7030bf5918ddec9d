"""What prepare does and finds, for a person: bars on a terminal, lines in a log, tables at the end."""

import contextlib
from collections.abc import Iterator, Sequence

from entrypoint import console
from entrypoint.prepare.close import Verified
from entrypoint.prepare.events import (
    Audited,
    Emit,
    Event,
    Failed,
    Finished,
    Planned,
    Said,
    Skipped,
    Waiting,
)
from entrypoint.prepare.plan import Plan, Step
from entrypoint.prepare.report import Report


@contextlib.contextmanager
def watcher() -> Iterator[Emit]:
    """Something to give the events to while prepare runs."""
    from entrypoint.prepare.progress import Bars, Lines

    if not console.on_terminal():
        yield Lines()
        return
    with console.progress() as bars:
        yield Bars(bars)


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
    rows = [row for step in plan.steps for row in _rows(step)]
    console.table("Plan", ("artifact", "now", "size", "to fetch", "destination", "from"), rows)
    unknown = f" and {plan.unknown} files of unknown size" if plan.unknown else ""
    free = "unknown" if plan.free_bytes is None else console.size(plan.free_bytes)
    inodes = "no limit known" if plan.free_inodes is None else plan.free_inodes
    console.say(
        f"To fetch: {console.size(plan.to_fetch)}{unknown}. Disk needed at the peak: "
        f"{console.size(plan.peak_bytes)}; free in {plan.volume.root}: {free}. "
        f"Files: about {plan.new_files}; free inodes: {inodes}."
    )
    if not plan.fits:
        console.say("It does not fit: prepare will stop before the first byte, unless --force.")


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


def _rows(step: Step) -> Iterator[tuple[str, ...]]:
    """A row for an artifact, and one for each of its parts."""
    exact = step.artifact.size_is_exact
    sizes = (_size(step.artifact.expected_size, exact), _size(step.to_fetch, exact))
    yield step.artifact.name, step.state.kind, *sizes, step.artifact.destination, step.address
    for number, (address, size) in enumerate(step.parts, start=1):
        yield f"  part {number}", "", "-" if size is None else console.size(size), "", "", address


def _size(count: int | None, exact: bool) -> str:
    if count is None:
        return "unknown"
    return console.size(count) if exact or not count else f"about {console.size(count)}"
