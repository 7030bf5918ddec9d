"""``skipped.jsonl``: every row that a run does not train on, when, and why."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from libmoe.config.json_lines import read_json_lines
from libmoe.config.run import ROWS_NOT_TRAINED_ON as NAME
from libmoe.config.whole_files import write_whole


@dataclass(frozen=True, order=True)
class SkipRecord:
    """A line of the file."""

    step: int
    """The optimizer step that went without the row; 0: it is left out of the whole run."""
    number: int
    """The row's number in the index, from 0."""
    row: str
    reason: str


def read_skipped(run_dir: Path) -> list[SkipRecord]:
    """What the file of a run says; nothing where there is none."""
    return [SkipRecord(**line) for line in read_json_lines(run_dir / NAME)]


def start_skipped(run_dir: Path, left_out: Iterable[SkipRecord], start: int) -> None:
    """Begins the file; of an older one, what comes again after step ``start`` is dropped."""
    kept = [record for record in read_skipped(run_dir) if 0 < record.step <= start]
    write_whole(run_dir / NAME, "".join(map(_line, [*left_out, *kept])))


def add_skipped(run_dir: Path, records: Sequence[SkipRecord]) -> None:
    """Adds lines."""
    with (run_dir / NAME).open("a") as file:
        file.writelines(map(_line, records))


def left_out_before(checkpoint: Path) -> list[int] | None:
    """Numbers of the rows that the run of this checkpoint left out; None where its folder does not say."""
    run_dir = checkpoint.parents[1]
    if not (run_dir / NAME).exists():
        return None
    return sorted(record.number for record in read_skipped(run_dir) if not record.step)


def _line(record: SkipRecord) -> str:
    return json.dumps(asdict(record), ensure_ascii=False) + "\n"
