"""Small files by the thousand: what comes, and what is said of the others."""

from pathlib import Path

from entrypoint.prepare.transport.many import ManyFiles, Miss
from tests.entrypoint.prepare.conftest import QUICK, World

BROKEN = ["http://[", "http://h:port/x", "http://:80/x", "http://h:99999/x", "http://@/x", "http://h:/x"]
"""What aria2 refuses to be asked for."""


def test_one_address_that_is_none_does_not_keep_the_others_from_coming(world: World, tmp_path: Path):
    world.serve("http://host.example/a.jpg", b"whole")
    hub = world.start()
    world.volume.hidden.mkdir(parents=True)
    folder = tmp_path / "pictures"
    folder.mkdir()
    files = {
        "there": f"{hub.url}/host.example/a.jpg",
        "gone": f"{hub.url}/host.example/b.jpg",
        "local": f"file://{world.served}/host.example/a.jpg",
        "lost": f"file://{world.served}/host.example/b.jpg",
        "relative": "a.jpg",
        **dict(zip("bcdefg", BROKEN, strict=True)),
    }
    told: list[int] = []
    with ManyFiles(world.volume, QUICK, lambda error, seconds: None) as many:
        came = list(many.fetch(folder, files, told.append))
    assert [one for one in came if isinstance(one, str)] == ["there", "local"]
    missed = {one.name: one for one in came if isinstance(one, Miss)}
    assert missed.keys() == {"gone", "lost", "relative", *"bcdefg"}
    assert all(one.for_good for one in missed.values())
    assert (folder / "there").read_bytes() == b"whole"
    assert sorted(path.name for path in folder.iterdir()) == ["local", "there"]
    assert told == [len(files)]
