"""What prepare plans and finds, for a person: tables, and what follows from them in words."""

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from entrypoint import console
from entrypoint.catalog.schema import Artifact
from entrypoint.prepare.audit.report import Report
from entrypoint.prepare.plan import Plan, Step
from entrypoint.prepare.state import State
from entrypoint.prepare.verify import Verified

_WIDE = 160
"""Columns from which a line has room for a whole URL."""
_REASONS = 5


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
        console.say("It does not fit: prepare will stop before it fetches anything, unless given --force.")


def show_report(report: Report, deep: bool = False) -> None:
    """The audit as tables; ``deep``: images were decoded."""
    if report.sets:
        _show_sets(report, deep)
    for reason in report.not_ready[:_REASONS]:
        console.say(reason)
    if len(report.not_ready) > _REASONS:
        console.say(f"and {len(report.not_ready) - _REASONS} more, which `libmoe status` lists")
    if report.stages:
        stages = [(stage, report.stage_verdict(stage)) for stage in report.stages]
        console.table("Stages", ("stage", "verdict"), stages)


def show_verified(found: Verified, deep: bool) -> None:
    """The audit as tables, and what was written."""
    show_report(found.report, deep)
    for name, path in found.lists.items():
        console.say(f"{name}: everything that cannot be used is listed in {path}")
    for name, path in found.filtered.items():
        console.say(f"{name}: written to {path}; train on it with --set data.annotations={name}")


def show_states(states: Mapping[Artifact, State]) -> None:
    """Artifacts of a volume as a table."""
    rows = [(a.name, state.kind, a.destination, remark(a, state)) for a, state in states.items()]
    console.table("Volume", ("artifact", "state", "destination", "remark"), rows)


def remark(artifact: Artifact, state: State) -> str:
    """What is wrong with it, and how much of its download is here."""
    total = artifact.expected_size
    if state.kind == "ready" or not state.have:
        return state.reason
    share = f" of {console.size(total)} ({state.have / total:.0%})" if total else ""
    return "; ".join(filter(None, [state.reason, f"{console.size(state.have)}{share} fetched"]))


def _show_sets(report: Report, deep: bool) -> None:
    counts = ("rows", "text only", "images", "present", "missing", "empty")
    rows = [
        (a.name, a.rows, a.text_only, a.images, a.present, a.missing, a.empty)
        + ((a.undecodable, a.verdict) if deep else (a.verdict,))
        for a in report.sets
    ]
    head = ("annotations", *counts, *(("undecodable",) if deep else ()), "verdict")
    console.table("Annotations joined with the disk", head, rows)
    for found in report.sets:
        if found.examples:
            console.say(f"{found.name}: not usable, for instance: {', '.join(found.examples)}")
        if found.unused:
            console.say(f"{found.name}: no row uses {', '.join(found.unused)}")


def _rows(step: Step) -> Iterator[tuple[str, ...]]:
    """A row for an artifact, and one for each of its parts."""
    exact = step.artifact.size_is_exact
    narrow = console.width() < _WIDE
    source = urlsplit(step.address).netloc if narrow else step.address
    sizes = (_size(step.artifact.expected_size, exact), _size(step.to_fetch, exact))
    yield step.artifact.name, step.state.kind, *sizes, step.artifact.destination, source
    for number, (address, size) in enumerate(step.parts, start=1):
        source = urlsplit(address).netloc if narrow else address
        yield f"  part {number}", "", "-" if size is None else console.size(size), "", "", source


def _size(count: int | None, exact: bool) -> str:
    if count is None:
        return "unknown"
    return console.size(count) if exact or not count else f"about {console.size(count)}"
