"""What `prepare` does, from the top: plan, fetch, verify, unpack, index, audit."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from entrypoint.catalog.schema import Artifact, Catalog
from entrypoint.catalog.selection import Selection
from entrypoint.prepare.audit.report import Audited, Report
from entrypoint.prepare.audit.rows import Depth, audit, share_report, write_audits
from entrypoint.prepare.events import Emit, Said, ignore
from entrypoint.prepare.install import Installer
from entrypoint.prepare.listing import Listing
from entrypoint.prepare.pictures import Pictures
from entrypoint.prepare.pipeline import Arrivals, Pipeline, split, wholes
from entrypoint.prepare.plan import Plan, Planned, make_plan
from entrypoint.prepare.shards import Shard, right_to_write
from entrypoint.prepare.state import state_of
from entrypoint.prepare.transport.fetch import Fetcher, Options
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
    catalog: Catalog,
    selection: Selection,
    volume: Volume,
    options: Options | None = None,
    emit: Emit = ignore,
    force: bool = False,
    wait: bool = False,
    shard: Shard | None = None,
) -> Outcome:
    """Brings everything that was selected onto the volume; may be killed at any moment and run again.

    Args:
        emit: is told what happens, from several threads.
        force: even if the plan says that it does not fit.
        wait: until another prepare that works on this volume has ended.
        shard: only this share of it, beside others that bring theirs.

    Raises:
        VolumeError: the volume cannot be written, or what is selected does not fit.
        TryAgainError: another prepare works on this volume, and it is not waited for.
        UnavailableError: a source cannot be reached; all that could be had is in place.
        DataError: a source gives something else than it should; all that was good is in place.
    """
    options = options or Options()
    volume.check()
    if shard:
        volume = replace(volume, share=shard.name)
    with volume.guard(), right_to_write(volume, (lambda who: emit(Said(who))) if wait else None):
        if not shard:
            volume.sweep()
        everything = _plan(selection.artifacts, volume, options)
        if not force:
            everything.require_space()
        mine = shard.pick(selection.artifacts) if shard else selection.artifacts
        plan = _plan(mine, volume, options) if shard else everything
        emit(Planned(plan))
        installer = Installer(volume, options, emit)
        failures = _bring([step.artifact for step in plan.missing], catalog, installer, volume, options, emit)
        if failures:
            raise _summary(failures)
        _finish(mine, selection, installer, volume, options, emit)
        report = share_report(mine, volume) if shard else _audit(selection, plan)
        write_audits(report, volume)
        emit(Audited(report))
        if shard:
            emit(Said(f"share {shard.number}/{shard.of} is done; when all are, `libmoe verify` closes it"))
    return Outcome(plan, report)


def _audit(selection: Selection, plan: Plan) -> Report:
    """The quick audit; where nothing was missing, the volume has just been looked at."""
    if plan.missing:
        return audit(selection, plan.volume, Depth(sizes=False))
    return audit(selection, plan.volume, Depth(sizes=False), plan.listing, plan.states)


def _plan(artifacts: Sequence[Artifact], volume: Volume, options: Options) -> Plan:
    known = _known(artifacts, volume, options)
    return make_plan(known, volume, options.addresses, options.keep_archives)


def _finish(
    artifacts: Sequence[Artifact],
    selection: Selection,
    installer: Installer,
    volume: Volume,
    options: Options,
    emit: Emit,
) -> None:
    """What can be done only when everything has come: indexes, and the images that they say are used."""
    for artifact in artifacts:
        if artifact.kind == "annotations":
            installer.index(artifact)
    for artifact in artifacts:
        if artifact.kind == "images":
            Pictures(artifact, volume, options, emit).bring(selection)


def _known(artifacts: Sequence[Artifact], volume: Volume, options: Options) -> list[Artifact]:
    """The artifacts with their parts, which a hub is asked for where the catalogue does not say."""
    listing = Listing(volume.root)
    return [
        artifact
        if artifact.downloads or state_of(artifact, volume, listing).kind == "ready"
        else with_parts(artifact, options.addresses)
        for artifact in artifacts
    ]


def _bring(
    missing: Sequence[Artifact],
    catalog: Catalog,
    installer: Installer,
    volume: Volume,
    options: Options,
    emit: Emit,
) -> list[LibmoeError]:
    """Fetches and installs what is missing; what could not be had."""
    if not missing:
        return []
    arrivals = Arrivals(missing)
    here, wanted = split(missing, installer)
    with (
        Fetcher(volume, options, catalog.connections, emit) as fetcher,
        Pipeline(installer, emit) as pipeline,
    ):
        for whole in wholes(itertools.chain(here, fetcher.fetch(wanted)), arrivals, installer):
            pipeline.put(whole)
    return [*fetcher.failures, *pipeline.failures]


def _summary(failures: Sequence[LibmoeError]) -> LibmoeError:
    first = failures[0]
    if len(failures) == 1:
        return first
    return type(first)(f"{first} ({len(failures) - 1} more failed; their reasons are above.)")
