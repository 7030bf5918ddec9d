"""What is planned, and what that takes."""

import json
import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.catalog.schema import Artifact
from entrypoint.prepare.pipeline import IN_FLIGHT
from entrypoint.prepare.plan import make_plan
from entrypoint.prepare.run import prepare
from entrypoint.prepare.transport.addresses import Addresses
from entrypoint.prepare.transport.fetch import Options
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
    beside = size["rows"] + size["images"]  # a plain file is only renamed
    assert plan(small).peak_bytes == grows + beside


def test_peak_counts_the_archives_that_are_in_flight_or_all_that_are_kept(world):
    for number in range(IN_FLIGHT + 2):
        content = bytes(1000 + number)
        world.add(f"zip{number}", "archive", f"http://h.org/{number}.zip", content, f"{number}")
    size = sorted(sizes(world).values())
    assert plan(world, *world.artifacts).peak_bytes == sum(size) + sum(size[-IN_FLIGHT:])
    assert plan(world, *world.artifacts, keep_archives=True).peak_bytes == 2 * sum(size)


def test_space_that_is_taken_already_is_not_asked_for_again(small):
    """What a killed prepare reserved or put in place, and an archive's files that are not gone."""
    small.artifacts["images"]["unpacked_size"] = 10_000  # a generous guess
    names, absent = ("images", "weights"), plan(small, "images", "weights").peak_bytes
    small.volume.partial("").mkdir(parents=True)
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
    with pytest.raises(VolumeError, match=r"it takes \d+ files at its peak, inodes for 10 are free"):
        small.prepare()
    assert not small.hub.requests
    monkeypatch.setattr(type(small.volume), "has_inodes", lambda volume, count: True)
    catalog, selection = small.catalog(), small.selection()
    options = Options(Addresses(small.hub.url), jobs=1)
    assert prepare(catalog, selection, small.volume, options, force=True).report.ready


def test_each_part_of_an_archive_is_in_the_plan(small):
    urls = [f"http://h.org/x_{number}.part" for number in (10, 9, 1)]
    entry = {"name": "cut", "kind": "archive", "destination": "cut", "licence": "free"}
    small.artifacts["cut"] = {**entry, "parts": [{"urls": [url], "size": 5} for url in urls]}
    (step,) = plan(small, "cut").steps
    assert [address for address, _ in step.parts] == [urls[2], urls[1], urls[0]]
    assert (step.to_fetch, step.as_dict()["size_is_exact"]) == (15, True)


SIZES = st.lists(
    st.tuples(st.sampled_from(["file", "archive", "annotations"]), st.integers(0, 10**12)), max_size=12
)


def as_artifacts(entries: list[tuple[str, int]]) -> list[Artifact]:
    fields = {"urls": ("https://h.org/a",), "licence": "x"}
    return [
        Artifact.model_validate(
            {"name": f"a{n}", "kind": kind, "destination": f"{n}", "size": size, **fields}
        )
        for n, (kind, size) in enumerate(entries)
    ]


@given(entries=SIZES, free=st.integers(0, 10**13), keep=st.booleans())
def test_a_plan_that_fits_has_room_for_every_order_of_events(tmp_path_factory, entries, free, keep):
    """The peak is at least what is there in the end, and what the largest take while they are worked on."""
    made = make_plan(
        as_artifacts(entries), Volume(tmp_path_factory.getbasetemp() / "none"), Addresses(), keep
    )
    end = sum(size * (2 if kind == "annotations" else 1) for kind, size in entries)
    assert made.to_fetch == sum(size for _, size in entries)
    assert made.peak_bytes >= end + max((size for kind, size in entries if kind != "file"), default=0)
    assert made.peak_bytes <= end + made.to_fetch
    assert replace(made, keep_archives=True).peak_bytes >= made.peak_bytes
    tight = replace(made, free_bytes=free, free_inodes=None)
    assert tight.fits == (made.peak_bytes <= free)


@given(entries=SIZES, order=st.randoms(use_true_random=False), keep=st.booleans())
def test_no_moment_of_any_run_takes_more_than_the_peak(tmp_path_factory, entries, order, keep):
    """Whatever comes first: as many as may be in flight are beside their files while one is worked on."""
    made = make_plan(
        as_artifacts(entries), Volume(tmp_path_factory.getbasetemp() / "none"), Addresses(), keep
    )
    waiting = list(entries)
    order.shuffle(waiting)
    flight: list[tuple[str, int]] = []
    for_good = 0
    while waiting or flight:
        while waiting and len(flight) < IN_FLIGHT:
            flight.append(waiting.pop())
        kind, size = flight[order.randrange(len(flight))]
        fetched = sum(size for _, size in flight)
        beside = {"file": 0, "archive": size, "annotations": 2 * size}[kind]  # an index has a first draft
        assert for_good + fetched + beside <= made.peak_bytes
        flight.remove((kind, size))
        for_good += {"file": size, "archive": size * (1 + keep), "annotations": 2 * size}[kind]
