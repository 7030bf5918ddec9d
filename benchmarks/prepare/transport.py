"""Fetching one file with ``libmoe prepare``, whole command, start and verification included.

Goals: from a source that caps each connection, >= 10 times as fast as wget with 16 connections and <= 1.05
times the time of aria2c with the same options; from a source without a cap (1 GB over loopback) no slower
than wget or curl.

prepare verifies what it fetched. So wget and curl are there twice: bare, and with the sha256sum that a user
would have to add. What libmoe adds to the transfer is Python's start, its imports, aria2c's start (0.8 s of
CPU) and one sha256 pass over the file (about a second per GB): hardly seen beside a transfer that takes as
long as a real one, plainly beside loopback.

    python -m benchmarks.prepare.transport [--scale 0.1] [--rounds 3]
"""

import argparse
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.page import table, verdict
from benchmarks.prepare.nginx import nginx
from benchmarks.prepare.processes import LIBMOE, Run, cpu, require, run, seconds, walls, workshop
from benchmarks.timing import paired, ratio
from entrypoint.prepare.transport.daemon import OPTIONS, find_aria2c

CONNECTIONS = 16
CAP = 2_000_000
MB = 1_000_000


class Source:
    """A file of some size on a mirror, and the ways to get it."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self.served, self._out = folder / "served", folder / "out"
        path = self.served / "host.example/big.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for _ in range(0, size, MB):
                chunk = os.urandom(MB)
                digest.update(chunk)
                file.write(chunk)
        self._sha256 = digest.hexdigest()
        self._catalog = folder / "catalog.toml"
        self._catalog.write_text(
            f"""
            [catalog]
            name = "benchmark"
            description = "One file"
            [[artifact]]
            name = "big"
            kind = "file"
            urls = ["https://host.example/big.bin"]
            size = {path.stat().st_size}
            sha256 = "{self._sha256}"
            licence = "none"
            destination = "big.bin"
            """
        )

    def libmoe(self, mirror: str) -> Callable[[], Run]:
        where: list[str | Path] = ["--catalog", self._catalog, "--data-dir", self._out, "--mirror", mirror]
        options = ["--only", "big", "--connections", str(CONNECTIONS)]
        command: list[str | Path] = [*LIBMOE, "prepare", *options, *where]
        return lambda: self._fresh(command)

    def aria2(self, mirror: str) -> Callable[[], Run]:
        ours = {name: value for name, value in OPTIONS.items() if "rpc" not in name}
        options = {
            **ours, "split": CONNECTIONS, "max-connection-per-server": CONNECTIONS,
            "file-allocation": "falloc", "dir": self._out, "out": "big.bin",
        }  # fmt: skip
        words = [f"--{name}={value}" for name, value in options.items()]
        return lambda: self._fresh([find_aria2c(), "--no-conf", *words, f"{mirror}/host.example/big.bin"])

    def wget(self, mirror: str, verify: bool) -> Callable[[], Run]:
        return self._simple(f"wget -q -O {self._out}/big.bin {mirror}/host.example/big.bin", verify)

    def curl(self, mirror: str, verify: bool) -> Callable[[], Run]:
        return self._simple(f"curl -sf -o {self._out}/big.bin {mirror}/host.example/big.bin", verify)

    def _simple(self, words: str, verify: bool) -> Callable[[], Run]:
        checked = f"{words} && sha256sum {self._out}/big.bin" if verify else words
        return lambda: self._fresh(["sh", "-c", checked])

    def _fresh(self, command: list[str | Path]) -> Run:
        shutil.rmtree(self._out, ignore_errors=True)
        self._out.mkdir()
        return run(command)


def peers(source: Source, mirror: str) -> dict[str, Callable[[], Run]]:
    """libmoe, and what everybody has, bare and verified."""
    found = {"libmoe": source.libmoe(mirror)}
    for name, way in (("wget", source.wget), ("curl", source.curl)):
        found[name] = way(mirror, verify=False)
        found[f"{name} + sha256sum"] = way(mirror, verify=True)
    return found


def capped(folder: Path, scale: float, rounds: int) -> None:
    """Against a cap on each connection."""
    short = Source(folder / "short", int(128 * MB * scale))
    with nginx(folder / "short", short.served, CAP) as mirror:
        runs = paired(rounds, {"libmoe": short.libmoe(mirror)})
        runs |= paired(1, {"wget": short.wget(mirror, verify=False)})  # the cap is what it takes, each time
    long = Source(folder / "long", int(1280 * MB * scale))
    with nginx(folder / "long", long.served, CAP) as mirror:
        longer = paired(min(rounds, 2), {"libmoe": long.libmoe(mirror), "aria2c": long.aria2(mirror)})
    ours, theirs = seconds(runs["libmoe"]), seconds(runs["wget"])
    faster = verdict(theirs / ours, 10, True)
    rows: list[list[object]] = [[f"{128 * scale:.0f} MB", ours, "wget", theirs, f"{faster} times as fast"]]
    for name in list(longer)[1:]:
        words = f"{verdict(ratio(walls(longer['libmoe']), walls(longer[name])), 1.05, False)} of its time"
        ours, theirs = seconds(longer["libmoe"]), seconds(longer[name])
        rows.append([f"{1280 * scale:.0f} MB", ours, name, theirs, words])
    head = ["file", "libmoe prepare, s", "peer", "peer, s", "libmoe's ratio"]
    table(head, rows, f"{CAP // MB} MB/s a connection, {CONNECTIONS} connections")


def uncapped(folder: Path, scale: float, rounds: int) -> None:
    """As fast as it goes."""
    size = 1000 * MB * scale
    source = Source(folder, int(size))
    with nginx(folder, source.served) as mirror:
        runs = paired(rounds, peers(source, mirror))
    gigabytes = size / 1e9

    def against(name: str) -> str:
        its = ratio(walls(runs["libmoe"]), walls(runs[name]))
        return f"{its:.3g}" if name == "libmoe" else verdict(its, 1.0, False)

    table(
        ["", "s", "CPU s per GB", "libmoe's time to it"],
        [[name, seconds(its), cpu(its) / gigabytes, against(name)] for name, its in runs.items()],
        f"No cap, {gigabytes:g} GB over loopback",
    )


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    require("wget", "curl", "sha256sum")
    with workshop() as folder:
        capped(folder / "capped", arguments.scale, arguments.rounds)
        uncapped(folder / "uncapped", arguments.scale, arguments.rounds)


if __name__ == "__main__":
    main()
