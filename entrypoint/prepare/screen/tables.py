"""What prepare plans and finds, for a person: tables, and what follows from them in words."""

from collections.abc import Iterator, Sequence

from entrypoint import console
from entrypoint.prepare.audit.report import Report
from entrypoint.prepare.close import Verified
from entrypoint.prepare.plan import Plan, Step


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
