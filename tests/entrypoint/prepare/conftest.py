"""A small world of its own for each test: served files, a catalogue of them, a hub, a volume."""

import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from entrypoint.catalog.schema import Catalog
from entrypoint.catalog.selection import Selection, select
from entrypoint.prepare.events import Event
from entrypoint.prepare.options import Options
from entrypoint.prepare.run import Outcome, prepare
from entrypoint.prepare.transport.addresses import Addresses
from entrypoint.prepare.transport.retry import Retry
from entrypoint.sample.hub import Answer, Hub, Library, Request, Respond
from entrypoint.volume import Volume, write_text

QUICK = Retry(attempts=4, attempts_if_silent=2, base_seconds=0.01, longest_seconds=0.2)
HUB = "https://huggingface.co/datasets/org/set/resolve/main"
PLAIN = "http://images.example.org"


def picture(seed: int) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((24, 16), 30 + seed).convert("RGB").save(out, "JPEG")
    return out.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def row(number: int, image: str | None) -> dict[str, Any]:
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": f"Picture {number}."}]
    return {"id": f"r{number}", "conversations": turns, **({"image": image} if image else {})}


class World:
    """Everything a prepare meets, small and real."""

    def __init__(self, folder: Path) -> None:
        self.served = folder / "served"
        self.volume = Volume(folder / "data")
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.stages: dict[str, list[str]] = {}
        self.events: list[Event] = []
        self.hub: Hub | None = None
        self._stack = ExitStack()

    def serve(self, url: str, content: bytes) -> None:
        path = self.served / url.partition("://")[2]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def add(self, name: str, kind: str, url: str, content: bytes, destination: str, **fields: Any) -> None:
        """Serves a file and puts it in the catalogue, hash and all; a field given as None is left out."""
        self.serve(url, content)
        known = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "licence": "free"}
        entry = {"name": name, "kind": kind, "urls": [url], "destination": destination, **known, **fields}
        self.artifacts[name] = {key: value for key, value in entry.items() if value is not None}

    def add_set(self, rows: int = 6) -> None:
        """Annotations, their images in a zip on the hub, and a file: stage 1."""
        names = [f"0000{number % 2}/{number}.jpg" for number in range(rows)]
        self.add(
            "images",
            "archive",
            f"{HUB}/images.zip",
            zipped({n: picture(i) for i, n in enumerate(names)}),
            "images",
        )
        self.add("weights", "file", f"{PLAIN}/weights.bin", os.urandom(3000), "models/org/m/weights.bin")
        table = [row(number, name) for number, name in enumerate(names)] + [row(rows, None)]
        self.add(
            "rows", "annotations", f"{HUB}/rows.json", json.dumps(table).encode(), "jsons/rows.json",
            image_root="images", needs=["images", "weights"],
        )  # fmt: skip
        self.stages["pretrain"] = ["rows"]

    def catalog(self) -> Catalog:
        header = {"name": "test", "description": "for a test"}
        return Catalog.model_validate(
            {"catalog": header, "stages": self.stages, "artifact": list(self.artifacts.values())}
        )

    def catalog_file(self) -> Path:
        import tomli_w

        path = self.volume.root.with_name("catalog.toml")
        header = {"name": "test", "description": "for a test"}
        content = {"catalog": header, "stages": self.stages, "artifact": list(self.artifacts.values())}
        write_text(path, tomli_w.dumps(content))  # at once: another process may be reading it
        return path

    def start(self, wrap: Callable[[Respond], Respond] = lambda respond: respond, **library: Any) -> Hub:
        """Starts the hub, whose answers ``wrap`` may change."""
        self.hub = self._stack.enter_context(Hub(wrap(Library(self.served, **library).answer)))
        return self.hub

    def stop(self) -> None:
        self._stack.close()

    def selection(self, *only: str) -> Selection:
        catalog = self.catalog()
        return select(catalog, [] if only else list(self.stages), only)

    def prepare(self, *only: str, **options: Any) -> Outcome:
        """Runs it in this process, from the hub, with little patience."""
        mirror = options.pop("mirror", self.hub.url if self.hub else None)
        addresses = options.pop("addresses", Addresses(mirror))
        emit = options.pop("emit", self.events.append)
        settings = Options(addresses, **{"jobs": 1, "retry": QUICK, **options})
        return prepare(self.selection(*only), self.volume, settings, emit)

    def command(self, *args: str, **environment: str) -> "subprocess.Popen[str]":
        """Starts ``libmoe ARGS --catalog ... --data-dir ...`` as a process."""
        program = [sys.executable, "-c", "from entrypoint.cli import main; main()"]
        where = ["--catalog", str(self.catalog_file()), "--data-dir", str(self.volume.root)]
        return subprocess.Popen(
            [*program, args[0], *where, *args[1:]],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
        )  # fmt: skip

    def run(self, *args: str, **environment: str) -> tuple[int, str, str]:
        process = self.command(*args, **environment)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def tree(self) -> dict[str, bytes]:
        """Every file under its final name."""
        root = self.volume.root
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file() and ".libmoe" not in path.parts
        }

    def finished(self) -> list[str]:
        return [event.name for event in self.events if type(event).__name__ == "Finished"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An empty world."""
    world = World(tmp_path)
    yield world
    world.stop()


@pytest.fixture
def small(world: World) -> World:
    """A world with one stage and a running hub."""
    world.add_set()
    world.start()
    return world


def kill_aria2c() -> None:
    """As `kill -9` does, of a prepare that runs in this process."""
    for child in psutil.Process().children():
        if child.name() == "aria2c":
            child.kill()


def held(opened: threading.Event, after: int = 0) -> Callable[[Respond], Respond]:
    """The same answers, but of each file only its first so many bytes before the event: till then nobody is
    done, over however many connections."""

    def tamper(offset: int, chunk: bytes) -> bytes:
        if offset >= after:
            opened.wait(120)
        return chunk

    def wrap(respond: Respond) -> Respond:
        def answer(request: Request) -> Answer:
            found = respond(request)
            found.tamper = tamper
            return found

        return answer

    return wrap


@contextmanager
def nobody_listens() -> Iterator[str]:
    """An address where nobody listens, nor will anybody as long as the context lasts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def slowly(bytes_per_second: float) -> Callable[[Respond], Respond]:
    """The same answers, at this speed."""

    def wrap(respond: Respond) -> Respond:
        def answer(request: Request) -> Answer:
            found = respond(request)
            found.bytes_per_second = bytes_per_second
            return found

        return answer

    return wrap
