"""Where everything is on a data volume.

A file under its final name is whole and verified; everything else lives in ``.libmoe/``.
"""

from dataclasses import dataclass
from pathlib import Path

from entrypoint.shard import Shard

OURS = (".libmoe", "runs")
"""What on a volume no artifact may write to."""


@dataclass(frozen=True)
class VolumePaths:
    """The folder that holds all data, and nothing outside it."""

    root: Path
    share: Shard | None = None
    """Of several prepares that work on it at once, each its share: which one this is."""

    @property
    def hidden(self) -> Path:
        """What is ours: receipts, partial downloads, indexes, locks."""
        return self.root / ".libmoe"

    @property
    def writer_folder(self) -> Path:
        """What only one writer uses: its lock, and its aria2c's settings."""
        return self._writer_folders / self.share.name if self.share else self.hidden

    @property
    def _writer_folders(self) -> Path:
        return self.hidden / "shards"

    def path(self, relative: str) -> Path:
        """A place on the volume, from its path relative to the root."""
        return self.root / relative

    @property
    def partials(self) -> Path:
        """Where downloads on their way are."""
        return self.hidden / "partial"

    def partial(self, name: str) -> Path:
        """An artifact's download on its way."""
        return self.partials / name

    def partial_state(self, name: str) -> Path:
        """What is known of that download."""
        return self.partials / f"{name}.json"

    def archive(self, name: str) -> Path:
        """An archive that is whole and verified, waiting for its extraction or kept after it."""
        return self.hidden / "archives" / f"{name}.zip"

    def archive_state(self, name: str) -> Path:
        """Where that archive came from."""
        return self.hidden / "archives" / f"{name}.json"

    def unpacking(self, name: str) -> Path:
        """Members of an archive that are being written."""
        return self.hidden / "unpacking" / name

    def index_path(self, annotations: str) -> Path:
        """The Arrow index of an annotation artifact."""
        return self.hidden / "index" / f"{annotations}.arrow"

    def annotations_draft(self, name: str) -> Path:
        """Annotations that libmoe makes itself, while they are being written."""
        return self.hidden / "index" / f"{name}.json"

    def audit_path(self, annotations: str) -> Path:
        """The last audit of an annotation artifact."""
        return self.hidden / "audit" / f"{annotations}.json"

    def unusable_path(self, annotations: str) -> Path:
        """The images of an annotation artifact that cannot be used: a line each, the reason first."""
        return self.hidden / "audit" / f"{annotations}.unusable.txt"

    @property
    def _receipts(self) -> Path:
        return self.hidden / "receipts"

    def receipt_path(self, name: str) -> Path:
        """An artifact's receipt."""
        return self._receipts / f"{name}.json"

    def manifest_path(self, name: str) -> Path:
        """The files that an artifact put on the volume."""
        return self._receipts / f"{name}.files"

    def missed_path(self, name: str) -> Path:
        """The images of an artifact that did not come."""
        return self._receipts / f"{name}.failed"
