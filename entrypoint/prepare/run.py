"""What `prepare` does, from the top: plan, fetch, verify, unpack, index, audit."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from entrypoint.catalog.schema import Artifact
from entrypoint.catalog.selection import Selection
from entrypoint.prepare.annotations.index import ensure_index
from entrypoint.prepare.arrivals import Arrivals, split, wholes
from entrypoint.prepare.audit.report import Audited, Report
from entrypoint.prepare.audit.rows import Depth, audit, share_report, write_audits
from entrypoint.prepare.downloads import Downloads
from entrypoint.prepare.events import Emit, Said, ignore
from entrypoint.prepare.install import Installer
from entrypoint.prepare.listing import Listing
from entrypoint.prepare.options import Options
from entrypoint.prepare.pictures import Pictures
from entrypoint.prepare.pipeline import Pipeline
from entrypoint.prepare.plan import Plan, Planned, make_plan
from entrypoint.prepare.shards import pick, right_to_write
from entrypoint.prepare.state import state_of
from entrypoint.prepare.transport.fetch import Fetcher
from entrypoint.prepare.transport.parts import with_parts
from entrypoint.volume import Volume
from libmoe.config.errors import LibmoeError


@dataclass(frozen=True)
class Outcome:
    """What was planned and what came of it."""

    plan: Plan
    report: Report

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        done = [step.artifact.name for step in self.plan.missing]
        return {"data_dir": str(self.plan.volume.root), "done": done, **self.report.as_dict()}


def prepare(
    selection: Selection,
    volume: Volume,
    options: Options | None = None,
    emit: Emit = ignore,
    force: bool = False,
    wait: bool = False,
) -> Outcome:
    """Brings everything that was selected onto the volume; may be killed at any moment and run again.

    Args:
        volume: where it names a share, only this share of it, beside others that bring theirs.
        emit: is told what happens, from several threads.
        force: even if the plan says that it does not fit.
        wait: until another prepare that works on this volume has ended.

    Raises:
        VolumeError: the volume cannot be written, or what is selected does not fit.
        TryAgainError: another prepare works on this volume, and it is not waited for.
        UnavailableError: a source cannot be reached; everything else is in place.
        DataError: a source gives something else than it should; all that was good is in place.
    """
    volume.check()
    share = volume.share
    job = _Job(selection, volume, options or Options(), emit)
    with volume.guard(), right_to_write(volume, (lambda who: emit(Said(who))) if wait else None):
        if not share:
            volume.sweep()
        everything = job.plan(selection.artifacts)
        if not force:
            everything.require_space()
        mine = pick(selection.artifacts, share) if share else selection.artifacts
        plan = job.plan(mine) if share else everything
        emit(Planned(plan))
        if failures := job.bring([step.artifact for step in plan.missing]):
            raise _summary(failures)
        job.finish(mine)
        report = share_report(mine, volume) if share else _audit(selection, plan)
        write_audits(report, volume)
        emit(Audited(report))
        if share:
            emit(Said(f"share {share.number}/{share.of} is done; when all shares are, run `libmoe verify`"))
    return Outcome(plan, report)


@dataclass(frozen=True)
class _Job:
    """What is to be brought, where, how, and who is told."""

    selection: Selection
    volume: Volume
    options: Options
    emit: Emit

    def plan(self, artifacts: Sequence[Artifact]) -> Plan:
        """What has to come, parts and all, and whether it fits."""
        known = self._with_parts(artifacts)
        return make_plan(known, self.volume, self.options.addresses, self.options.keep_archives)

    def bring(self, missing: Sequence[Artifact]) -> list[LibmoeError]:
        """Fetches and installs what is missing; returns why the rest did not come."""
        if not missing:
            return []
        limits = self.selection.catalog.connections
        installer = Installer(self.volume, self.options, self.emit)
        downloads, arrivals = Downloads(self.volume), Arrivals(missing)
        here, wanted = split(missing, downloads)
        with (
            Fetcher(self.volume, self.options, limits, self.emit) as fetcher,
            Pipeline(installer, self.emit) as pipeline,
        ):
            for whole in wholes(itertools.chain(here, fetcher.fetch(wanted)), arrivals, downloads):
                pipeline.put(whole)
        return [*fetcher.failures, *pipeline.failures]

    def finish(self, artifacts: Sequence[Artifact]) -> None:
        """What can be done only when everything has come: indexes, and the images that they say are used."""
        for artifact in artifacts:
            if artifact.kind == "annotations":
                ensure_index(artifact, self.volume, self.emit)
        for artifact in artifacts:
            if artifact.kind == "images":
                Pictures(artifact, self.volume, self.options, self.emit).bring(self.selection)

    def _with_parts(self, artifacts: Sequence[Artifact]) -> list[Artifact]:
        """The artifacts with their parts; a hub is asked for them where the catalogue does not say."""
        listing = Listing(self.volume.root)
        return [
            artifact
            if artifact.downloads or state_of(artifact, self.volume, listing).kind == "ready"
            else with_parts(artifact, self.options.addresses)
            for artifact in artifacts
        ]


def _audit(selection: Selection, plan: Plan) -> Report:
    """The quick audit; where nothing was missing, the volume has just been looked at."""
    if plan.missing:
        return audit(selection, plan.volume, Depth(sizes=False))
    return audit(selection, plan.volume, Depth(sizes=False), plan.listing, plan.states)


def _summary(failures: Sequence[LibmoeError]) -> LibmoeError:
    first = failures[0]
    if len(failures) == 1:
        return first
    return type(first)(f"{first} ({len(failures) - 1} more failed; their reasons are above.)")
