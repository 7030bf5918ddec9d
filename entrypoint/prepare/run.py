"""What `prepare` does, from the top: plan, fetch, verify, unpack, index, audit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from entrypoint.catalog.schema import Artifact, Catalog
from entrypoint.catalog.selection import Selection
from entrypoint.prepare.audit import Report, audit, write_audits
from entrypoint.prepare.events import Audited, Emit, Failed, Planned, ignore
from entrypoint.prepare.fetch import Fetched, Fetcher, Options
from entrypoint.prepare.install import Installer
from entrypoint.prepare.plan import Plan, make_plan
from entrypoint.volume import Volume
from libmoe.config.errors import DataError, LibmoeError


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
) -> Outcome:
    """Brings everything that was selected onto the volume; may be killed at any moment and run again.

    Args:
        emit: is told what happens, from several threads.

    Raises:
        VolumeError: the volume cannot be written, or what is selected does not fit.
        TryAgainError: another prepare works on this volume.
        UnavailableError: a source cannot be reached; all that could be had is in place.
        DataError: a source gives something else than it should; all that was good is in place.
    """
    options = options or Options()
    volume.check()
    with volume.guard(), volume.lock():
        plan = make_plan(selection.artifacts, volume, options.addresses, options.keep_archives)
        emit(Planned(plan))
        plan.require_space()
        installer = Installer(volume, options, emit)
        failures = _bring([step.artifact for step in plan.missing], catalog, installer, volume, options, emit)
        if failures:
            raise _summary(failures)
        for artifact in selection.artifacts:
            if artifact.kind == "annotations":
                installer.index(artifact)
        report = audit(catalog, selection, volume)
        write_audits(report, volume)
        emit(Audited(report))
    return Outcome(plan, report)


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
    failures: list[LibmoeError] = []
    with Fetcher(volume, options, catalog.connections, emit) as fetcher:
        for fetched in _each(missing, installer, fetcher):
            try:
                installer.install(fetched)
            except DataError as error:
                emit(Failed(fetched.artifact.name, str(error)))
                failures.append(error)
        return [*fetcher.failures, *failures]


def _each(missing: Sequence[Artifact], installer: Installer, fetcher: Fetcher) -> Iterator[Fetched]:
    """First what needs no fetching, then the rest as it comes."""
    here = {artifact.name: installer.waiting(artifact) for artifact in missing}
    yield from (fetched for fetched in here.values() if fetched)
    yield from fetcher.fetch([artifact for artifact in missing if not here[artifact.name]])


def _summary(failures: Sequence[LibmoeError]) -> LibmoeError:
    first = failures[0]
    if len(failures) == 1:
        return first
    return type(first)(f"{first} ({len(failures) - 1} more failed; their reasons are above.)")
