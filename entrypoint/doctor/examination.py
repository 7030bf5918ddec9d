"""All that `doctor` looks at, in the order in which one thing needs another."""

from dataclasses import dataclass
from typing import Any

from entrypoint.catalog.schema import Catalog
from entrypoint.doctor.finding import Finding
from entrypoint.doctor.gpus import gpu_findings
from entrypoint.doctor.image import image_findings, manifest, sbom
from entrypoint.doctor.limits import limit_findings
from entrypoint.doctor.network import network_findings
from entrypoint.doctor.ranks import rank_findings
from entrypoint.doctor.software import packages, software_findings
from entrypoint.doctor.storage import storage_findings
from entrypoint.prepare.transport.addresses import Addresses
from entrypoint.volume import Volume
from libmoe.config.errors import ConfigError


@dataclass(frozen=True)
class Examination:
    """What was found."""

    findings: tuple[Finding, ...]

    @property
    def failures(self) -> list[Finding]:
        """What would stop a run."""
        return [finding for finding in self.findings if finding.verdict == "fail"]

    def require_health(self) -> None:
        """Does nothing where no finding failed.

        Raises:
            ConfigError: names the first that did, and the remedy.
        """
        if failures := self.failures:
            first = failures[0]
            more = f" ({len(failures) - 1} more failed)" if len(failures) > 1 else ""
            raise ConfigError(f"{first.check}: {first.found}. {first.remedy}{more}")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "healthy": not self.failures,
            "findings": [finding.as_dict() for finding in self.findings],
            "packages": packages(),
            "manifest": manifest(),
            "sbom": sbom(),
        }


def examine(
    volume: Volume, gpus: str | None, catalog: Catalog | None = None, addresses: Addresses | None = None
) -> Examination:
    """Looks at this machine.

    Args:
        gpus: as `train` takes it.
        catalog: whose hosts are asked; None: no network is used.
    """
    findings = [*image_findings(), *software_findings(), *gpu_findings(), *limit_findings()]
    findings += storage_findings(volume)
    findings += rank_findings(gpus)
    if catalog is not None:
        findings += network_findings(catalog, addresses or Addresses())
    return Examination(tuple(findings))
