"""What happens while prepare works, for a person: an event in a line."""

from entrypoint import console
from entrypoint.prepare.audit.report import Audited
from entrypoint.prepare.events import Event, Failed, Finished, Said, Skipped, Waiting
from entrypoint.prepare.plan import Planned


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
            return f"{name}: giving up on {url}: {reason}"
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
