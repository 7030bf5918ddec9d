"""`libmoe report`: one page that needs nothing beside itself."""

import json
import math
import random
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.report.curves import Curve, buckets, chart
from entrypoint.report.heat import columns, heat_map, level
from entrypoint.report.page import write_report
from entrypoint.report.scale import spanning
from tests.entrypoint.conftest import Manifest

LAYER = "model.multi_modal_projector"


def report(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from entrypoint.cli import main; main()", "report", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True)


def step(number: int, **more: float) -> dict[str, float]:
    loss = 7 * math.exp(-number / 100)
    known = {"step": number, "loss": loss, "lm_loss": loss, "lr": 1e-3, "grad_norm": 1.0, "tokens": 100}
    rest = {"images": 8, "seconds": 0.5, "tokens_per_s": 200.0, "memory_bytes": 2**30}
    return {**known, **rest, **more}


@pytest.fixture
def run(manifest: Manifest) -> Path:
    """A run folder after 1,000 steps, with router samples."""
    spec = manifest(learning_rate=0.25)
    spec.run_dir.mkdir()
    spec.write()
    steps = [step(number, balance_loss=1.0, z_loss=0.1) for number in range(1, 1001)]
    (spec.run_dir / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in steps))
    loads = [{"tokens": 9, "load": [0.25 + n / 4000, 0.25, 0.5 - n / 4000]} for n in range(0, 1000, 10)]
    lines = [json.dumps({"step": n * 10 + 1, "layers": {LAYER: one}}) for n, one in enumerate(loads)]
    (spec.run_dir / "router.jsonl").write_text("\n".join(lines) + "\n")
    return spec.run_dir


class Balanced(HTMLParser):
    """Fails on a tag that is not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_shows_figures_curves_loads_and_settings(run: Path) -> None:
    done = report(run)
    assert done.returncode == 0, done.stderr
    page = (run / "report.html").read_text()
    assert "0.0003178" in page  # the last loss, 7 e^-10
    for words in ("Loss", "Auxiliary losses", "Throughput", LAYER, "train.learning_rate", "0.25", "1.0 GiB"):
        assert words in page
    Balanced().feed(page)
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(svg)
        assert "nan" not in svg
    assert not re.search(r"src=|href=.[^#]|https?://|@import", page), "the page needs something beside itself"


def test_the_mfu_is_shown_where_it_is_known(run: Path, tmp_path: Path) -> None:
    assert "MFU" not in write_report(run, tmp_path / "cpu.html").read_text()
    steps = [step(number, mfu=0.25 + number / 1000) for number in range(1, 4)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in steps))
    page = write_report(run, tmp_path / "gpu.html").read_text()
    assert "25.2%" in page
    assert "share of the GPUs&#x27; peak" in page


def test_a_folder_of_stages_becomes_one_page_that_leads_to_each(run: Path, tmp_path: Path) -> None:
    above = tmp_path / "above"
    above.mkdir()
    run.rename(above / "pretrain")
    shutil.copytree(above / "pretrain", above / "sft")
    manifest = (above / "sft/run.json").read_text()
    (above / "sft/run.json").write_text(manifest.replace('"stage": "pretrain"', '"stage": "sft"'))
    page = write_report(above, tmp_path / "page.html").read_text()
    assert re.findall(r"<h2>(\w+)</h2>", page) == ["pretrain", "sft"]
    targets = re.findall(r'href="(.*?)"', page)
    assert targets == ["#pretrain", "#sft"]
    assert all(f'id="{target[1:]}"' in page for target in targets)


def test_rows_that_were_left_out_are_counted_and_named(run: Path, tmp_path: Path) -> None:
    assert "Rows left out" not in write_report(run, tmp_path / "page.html").read_text()
    always = [{"step": 0, "number": n, "row": f"row-{n}", "reason": f"{n}.jpg is empty"} for n in range(60)]
    once = {"step": 7, "number": 3, "row": "row-3", "reason": "does not decode"}
    lines = [json.dumps(one) + "\n" for one in [once, *always]]
    (run / "skipped.jsonl").write_text("".join(lines))
    page = write_report(run, tmp_path / "page.html").read_text()
    assert "<b>60</b><span>rows left out</span>" in page
    assert "<td>row-3</td><td>step 7</td><td>does not decode</td>" in page
    assert "<td>row-9</td><td>always</td><td>9.jpg is empty</td>" in page
    assert "11 more" in page


def test_settings_of_this_run_stand_at_its_top(run: Path, tmp_path: Path) -> None:
    page = write_report(run, tmp_path / "page.html").read_text()
    assert "set for this run: train.learning_rate=0.25</p>" in page
    assert "<td>train.trainable</td><td>[&quot;connector&quot;]</td><td>recipe pretrain</td>" in page


def test_a_long_run_of_a_deep_model_stays_a_small_page(run: Path, tmp_path: Path) -> None:
    """27 layers of 6 experts, sampled 600 times in 30,000 steps, no two samples alike."""
    noise = random.Random(1)
    steps = [step(n, balance_loss=noise.random(), z_loss=1.0, mfu=0.4) for n in range(1, 30_001)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in steps))

    def layers() -> dict[str, object]:
        loads = ([noise.random() for _ in range(6)] for _ in range(27))
        return {
            f"layer.{n}": {"tokens": 9, "load": [x / sum(load) for x in load]} for n, load in enumerate(loads)
        }

    lines = [json.dumps({"step": n * 50 + 1, "layers": layers()}) for n in range(600)]
    (run / "router.jsonl").write_text("\n".join(lines) + "\n")
    page = write_report(run, tmp_path / "page.html")
    assert page.stat().st_size < 1_000_000


def test_a_run_that_a_kill_cut_short_is_shown(run: Path, tmp_path: Path) -> None:
    for name in ("metrics.jsonl", "router.jsonl"):
        file = run / name
        file.write_text(file.read_text()[:-20])
    page = write_report(run, tmp_path / "page.html").read_text()
    assert "not finished at step 999" in page


def test_text_from_a_run_is_escaped(manifest: Manifest, tmp_path: Path) -> None:
    spec = manifest().model_copy(update={"versions": {"<script>": "&"}})
    spec.run_dir.mkdir()
    spec.write()
    (spec.run_dir / "metrics.jsonl").write_text(json.dumps(step(1)) + "\n")
    page = write_report(spec.run_dir, tmp_path / "page.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_what_cannot_be_reported_is_one_sentence(tmp_path: Path, run: Path) -> None:
    nothing = report(tmp_path / "nowhere")
    assert (nothing.returncode, "holds no run.json" in nothing.stderr) == (65, True)
    (run / "metrics.jsonl").unlink()
    assert "has not trained yet" in report(run).stderr


def test_a_page_that_cannot_be_written_is_one_sentence(tmp_path: Path, run: Path) -> None:
    done = report(run, "--output", tmp_path / "no" / "page.html")
    assert done.returncode == 73
    assert "name another by --output" in done.stderr


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50))
def test_every_value_lies_between_the_ends_of_its_scale(values: list[float]) -> None:
    scale = spanning(values, 200.0, 10.0)
    assert all(10 - 1e-6 <= scale(value) <= 200 + 1e-6 for value in values)
    assert all(
        scale.low <= tick <= scale.high + 1e-9 * abs(scale.high) or tick == 0 for tick in scale.ticks()
    )
    assert len(scale.ticks()) <= 12


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=50))
def test_so_does_it_on_a_log_scale(values: list[float]) -> None:
    scale = spanning(values, 200.0, 10.0, logarithmic=True)
    assert all(10 <= scale(value) <= 200 for value in values)


def test_many_steps_become_few_points_that_keep_the_extremes() -> None:
    points = [(n, float(n % 7)) for n in range(100_000)]
    line = buckets(points)
    assert len(line) <= 320
    assert min(one.low for one in line) == 0
    assert max(one.high for one in line) == 6
    assert sum(one.mean for one in line) / len(line) == pytest.approx(3, abs=0.01)


def test_a_single_step_is_a_dot() -> None:
    assert "<circle" in chart("Loss", [Curve("loss", [(1, 2.0)])])


@pytest.mark.parametrize(("load", "shade"), [(1 / 6, 0), (1 / 3, 2), (1.0, 4), (0.0, -4), (1 / 12, -2)])
def test_shades_double_every_two_levels(load: float, shade: int) -> None:
    assert level(load, 6) == shade


def test_a_heat_map_names_steps_and_shares() -> None:
    drawn = heat_map("layer", [(1, [0.5, 0.5]), (11, [0.5, 0.5]), (21, [0.9, 0.1])])
    assert "expert 0, steps 1 to 11: 50.0%" in drawn
    assert "expert 1, step 21: 10.0%" in drawn


def test_many_samples_become_few_columns_that_miss_none() -> None:
    drawn = columns([(n, [float(n == 501), float(n != 501)]) for n in range(1000)])
    assert len(drawn) <= 80
    assert (drawn[0].first, drawn[-1].last) == (0, 999)
    assert sum(column.loads[0] > 0 for column in drawn) == 1
