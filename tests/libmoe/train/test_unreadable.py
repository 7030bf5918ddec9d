"""Rows that cannot be read, in real runs: known before, met on the way, resumed, too many."""

import json
import shutil

import pytest

from entrypoint.sample import rows as sample
from libmoe.config.errors import DataError
from libmoe.config.rank_failure import Cause
from libmoe.data.collator import BatchFacts
from libmoe.data.dataset import Skipped
from libmoe.train.callbacks.skipped import SkippedReport
from libmoe.train.skipped import SkipRecord, add_skipped, read_skipped
from libmoe.train.terminal import silent

pytestmark = pytest.mark.slow

TWO_ROWS = sample.pretrain_rows()[:2]
NAME = "holes"
KNOWN, BROKEN = 4, {7: "b7", 13: "b13"}
SETTINGS = (
    *(f"data.annotations='{NAME}'", "data.workers=1", "train.global_batch_size=8"),
    *("train.micro_batch_size=2", "train.save_steps=2", "train.save_total_limit=9", "train.max_steps=6"),
)


@pytest.fixture(scope="module")
def volume_with_holes(volume, add_rows, tmp_path_factory):
    """24 rows: one is known to lack its image, two have one that does not decode."""
    rows = [dict(row) for row in sample.pretrain_rows()[:24]]
    rows[KNOWN] |= {"id": "known", "image": "gone.jpg"}
    for number, name in BROKEN.items():
        rows[number] |= {"id": name, "image": f"{name}.jpg"}
        (volume / f"images/{name}.jpg").write_bytes(b"<html>404</html>")
    add_rows(NAME, rows, "images/")
    (volume / "audit").mkdir(exist_ok=True)
    (volume / f"audit/{NAME}.json").write_text(json.dumps({"rows": 24, "unusable_rows": [KNOWN]}))
    return volume


@pytest.fixture(scope="module")
def done(volume_with_holes, tmp_path_factory, spec_of, run):
    """Two epochs of three steps on two ranks."""
    return run(spec_of(tmp_path_factory.mktemp("holes") / "pretrain", "pretrain", *SETTINGS))


def test_the_run_goes_on_without_them(done):
    assert done.code == 0, done.log
    assert len(done.metrics) == 6
    assert sum(line["images"] for line in done.metrics) < 6 * 8


def test_each_is_named_once_in_the_file(done):
    first, *others = read_skipped(done.run_dir)
    assert (first.step, first.row, first.number) == (0, "known", KNOWN)
    assert {record.row: record.number for record in others} == {name: n for n, name in BROKEN.items()}
    lost = dict.fromkeys(range(1, 7), 0)
    for record in others:
        assert f"{record.row}.jpg of row {record.row!r} does not decode" in record.reason
        lost[record.step] += 1
    assert [line["images"] for line in done.metrics] == [8 - count for count in lost.values()]


def test_the_manifest_names_the_file_that_lists_them(done):
    manifest = json.loads((done.run_dir / "run.json").read_text())
    lines = (done.run_dir / manifest["rows_not_trained_on"]).read_text().splitlines()
    assert {json.loads(line)["row"] for line in lines} == {"known", *BROKEN.values()}


def test_they_are_said_and_logged(done):
    assert [line for line in done.lines if "left out" in line and "known" in line]
    assert [line for line in done.lines if line.startswith("2 rows were skipped") and "b13, b7" in line]
    assert "Row 'b7' is skipped" in done.log


def test_a_resumed_run_skips_the_same(done, volume_with_holes, tmp_path, spec_of, run):
    """Although the audit says something else by now."""
    audit = volume_with_holes / f"audit/{NAME}.json"
    before = audit.read_text()
    audit.write_text(json.dumps({"rows": 24, "unusable_rows": [0, 1, KNOWN]}))
    shutil.copytree(done.run_dir, tmp_path / "pretrain", ignore=shutil.ignore_patterns("model", "step-[46]"))
    checkpoint = tmp_path / "pretrain/checkpoints/step-2"
    resumed = run(spec_of(tmp_path / "pretrain", "pretrain", *SETTINGS, resume_from=checkpoint))
    audit.write_text(before)
    assert resumed.code == 0, resumed.log
    assert resumed.losses == done.losses
    assert read_skipped(resumed.run_dir) == read_skipped(done.run_dir)


def test_a_step_without_anything_to_learn_ends_the_run(add_rows, tmp_path, spec_of, run):
    rows = [row | {"id": f"r{number}", "image": "gone.jpg"} for number, row in enumerate(TWO_ROWS)]
    add_rows("nothing", rows, "images/")
    done = run(spec_of(tmp_path / "run", "pretrain", *SETTINGS, "data.annotations='nothing'", processes=1))
    failure = next(failure for failure in done.failures if failure.cause is Cause.FAILED)
    assert failure.exit_code == 65
    assert failure.message.startswith("Nothing can be learnt in step 1: The image")
    assert "skip" not in failure.message


def test_the_file_is_read_whatever_the_names_are_and_whatever_a_kill_has_cut(tmp_path):
    record = SkipRecord(3, 7, "row\u2028one", "The image größe.jpg is missing.")
    add_skipped(tmp_path, [record])
    with (tmp_path / "skipped.jsonl").open("a") as file:
        file.write('{"step": 4, "num')
    assert read_skipped(tmp_path) == [record]


def test_rows_are_skipped_within_reason(tmp_path):
    report = SkippedReport(tmp_path, (), 0, silent)
    bad = Skipped("bad", 3, "The image bad.jpg is missing.")
    for _ in range(8):
        report.hear(BatchFacts((), 0, 0, (), (bad,)))
    report.hear(BatchFacts(("good",) * 92, 100, 92, ()))
    report.hear(BatchFacts((), 0, 0, (), (bad,)))
    with pytest.raises(DataError, match=r"10 of 102 rows .* too many to skip; .*bad\.jpg is missing"):
        report.hear(BatchFacts((), 0, 0, (), (bad,)))
