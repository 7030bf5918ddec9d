"""What is planned, and what that takes."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.catalog.schema import Artifact
from entrypoint.prepare.options import IN_FLIGHT, Options
from entrypoint.prepare.plan import Plan, make_plan
from entrypoint.prepare.run import prepare
from entrypoint.prepare.transport.addresses import Addresses
from entrypoint.volume import Volume
from libmoe.config.errors import VolumeError


def plan(world, *only, **options):
    return make_plan(world.selection(*only).artifacts, world.volume, Addresses(), **options)


def sizes(world):
    return {name: entry["size"] for name, entry in world.artifacts.items()}


def test_nothing_is_written_and_nobody_is_asked(small):
    planned = plan(small)
    assert not small.volume.root.exists()
    assert not small.hub.requests
    assert [step.artifact.name for step in planned.steps] == ["rows", "images", "weights"]
    assert planned.to_fetch == sum(sizes(small).values())
    assert planned.fits


def test_peak_counts_the_index_and_what_is_beside(small):
    size = sizes(small)
    grows = 2 * size["rows"] + size["images"] + size["weights"]
    assert plan(small).peak_bytes == grows + max(size["rows"], size["images"])  # a plain file is renamed


def test_peak_counts_the_archives_that_wait_or_all_that_are_kept(world):
    for number in range(IN_FLIGHT + 2):
        content = bytes(1000 + number)
        world.add(f"zip{number}", "archive", f"http://h.org/{number}.zip", content, f"{number}")
    size = sorted(sizes(world).values())
    assert plan(world, *world.artifacts).peak_bytes == sum(size) + size[-1]
    assert plan(world, *world.artifacts, keep_archives=True).peak_bytes == 2 * sum(size)
    for entry in world.artifacts.values():
        entry["unpacked_size"] = entry["size"] - 100
    waiting = sum(size) - len(size) * 100 + size[-1] + IN_FLIGHT * 100
    assert plan(world, *world.artifacts).peak_bytes == waiting


def test_space_that_is_taken_already_is_not_asked_for_again(small):
    """What a killed prepare reserved or put in place, and an archive's files that are not gone."""
    small.artifacts["images"]["unpacked_size"] = 10_000  # a generous guess
    names, absent = ("images", "weights"), plan(small, "images", "weights").peak_bytes
    small.volume.partials.mkdir(parents=True)
    with small.volume.partial("weights").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 3000)  # of which nobody knows which bytes have come
    assert plan(small, *names).peak_bytes == absent - 3000
    small.prepare("images", keep_archives=True)
    whole, archive = small.volume.receipt("images"), small.volume.archive("images").stat().st_size
    small.volume.receipt_path("images").unlink()
    assert plan(small, "images").peak_bytes == 10_000 + archive - archive - whole.unpacked_size
    small.prepare("images")
    small.volume.path("images/00001/3.jpg").unlink()
    assert plan(small, "images").peak_bytes == 10_000 + archive - int(5 / 6 * whole.unpacked_size)


def test_what_is_ready_takes_nothing(small):
    small.prepare("weights")
    planned = plan(small)
    assert {step.artifact.name: step.state.kind for step in planned.steps} == {
        "rows": "absent", "images": "absent", "weights": "ready",
    }  # fmt: skip
    assert planned.to_fetch == sizes(small)["rows"] + sizes(small)["images"]
    small.prepare()
    assert (plan(small).peak_bytes, plan(small).to_fetch, plan(small).missing) == (0, 0, ())


def test_an_unknown_size_is_not_taken_for_nothing(small):
    del small.artifacts["weights"]["size"]
    planned = plan(small)
    assert planned.unknown == 1
    described = planned.as_dict()["files"][2]
    assert (described["size"], described["to_fetch"], described["size_is_exact"]) == (None, None, False)
    json.dumps(planned.as_dict())


def test_a_change_of_the_catalogue_makes_an_artifact_out_of_date(small):
    small.artifacts["weights"]["revision"] = "one"
    small.prepare()
    assert not plan(small).missing
    small.artifacts["weights"]["revision"] = "two"
    (step,) = plan(small).missing
    assert (step.state.kind, step.state.reason) == ("damaged", "the catalogue has another revision")
    small.prepare()
    assert not plan(small).missing
    small.artifacts["weights"]["destination"] = "models/elsewhere.bin"
    assert plan(small).missing[0].state.reason.startswith("it is in models/org/m/weights.bin")


def test_a_file_of_another_size_is_damaged(small):
    small.prepare()
    small.volume.path("models/org/m/weights.bin").write_bytes(b"short")
    (step,) = plan(small).missing
    assert step.state.reason == "models/org/m/weights.bin has 5 bytes, not 3000"


def test_a_file_system_that_does_not_say_is_believed(small, monkeypatch):
    monkeypatch.setattr(type(small.volume), "free_bytes", lambda volume: None)
    assert plan(small).fits


def test_too_few_inodes_stop_it_and_force_goes_on(small, monkeypatch):
    monkeypatch.setattr(type(small.volume), "free_inodes", lambda volume: 10)
    small.artifacts["images"]["files"] = 6
    assert not plan(small).fits
    with pytest.raises(VolumeError, match=r"this takes \d+ files at its peak, and inodes for 10 are free"):
        small.prepare()
    assert not small.hub.requests
    monkeypatch.setattr(type(small.volume), "has_inodes", lambda volume, count: True)
    options = Options(Addresses(small.hub.url), jobs=1)
    assert prepare(small.selection(), small.volume, options, force=True).report.ready


def test_each_part_of_an_archive_is_in_the_plan(small):
    urls = [f"http://h.org/x_{number}.part" for number in (10, 9, 1)]
    entry = {"name": "cut", "kind": "archive", "destination": "cut", "licence": "free"}
    small.artifacts["cut"] = {**entry, "parts": [{"urls": [url], "size": 5} for url in urls]}
    (step,) = plan(small, "cut").steps
    assert [address for address, _ in step.parts] == [urls[2], urls[1], urls[0]]
    assert (step.to_fetch, step.as_dict()["size_is_exact"]) == (15, True)


KINDS = st.sampled_from(["file", "archive", "annotations"])
ENTRIES = st.lists(st.tuples(KINDS, st.integers(0, 10**12), st.integers(0, 10**12)), max_size=12)
"""Kind, bytes to fetch, bytes of an archive's files."""


def planned(folder: Path, entries: list[tuple[str, int, int]], keep: bool) -> Plan:
    artifacts = []
    for number, (kind, size, unpacked) in enumerate(entries):
        fields = {"name": f"a{number}", "kind": kind, "destination": f"{number}", "size": size}
        fields |= {"unpacked_size": unpacked} if kind == "archive" else {}
        artifacts.append(Artifact.model_validate({"urls": ["https://h.org/a"], "licence": "x", **fields}))
    return make_plan(artifacts, Volume(folder / "none"), Addresses(), keep)


@given(entries=ENTRIES, free=st.integers(0, 10**13), keep=st.booleans())
def test_a_plan_fits_where_its_peak_does(tmp_path_factory, entries, free, keep):
    made = planned(tmp_path_factory.getbasetemp(), entries, keep)
    assert made.to_fetch == sum(size for _, size, _ in entries)
    assert replace(made, keep_archives=True).peak_bytes >= made.peak_bytes
    tight = replace(made, free_bytes=free, free_inodes=None)
    assert tight.fits == (made.peak_bytes <= free)


@given(entries=ENTRIES, order=st.randoms(use_true_random=False), keep=st.booleans())
def test_no_moment_of_any_run_takes_more_than_the_peak(tmp_path_factory, entries, order, keep):
    """Whatever comes first: as many as may be in flight are on the volume while one is worked on."""
    made = planned(tmp_path_factory.getbasetemp(), entries, keep)
    waiting, flight, for_good = list(entries), list[tuple[str, int, int]](), 0
    order.shuffle(waiting)
    while waiting or flight:
        while waiting and len(flight) < IN_FLIGHT:
            flight.append(waiting.pop())
        one = flight[order.randrange(len(flight))]
        kind, size, unpacked = one
        beside = {"file": 0, "archive": unpacked, "annotations": 2 * size}[kind]  # an index has a draft
        assert for_good + sum(size for _, size, _ in flight) + beside <= made.peak_bytes
        flight.remove(one)
        for_good += {"file": size, "archive": unpacked + size * keep, "annotations": 2 * size}[kind]
    end = sum({"file": s, "archive": u, "annotations": 2 * s}[kind] for kind, s, u in entries)
    assert made.peak_bytes <= end + sum(size for _, size, _ in entries)
