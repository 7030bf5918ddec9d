"""Fetches artifacts, several at once, each from its URLs in order of preference; waits for what may pass."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType

from entrypoint.catalog.schema import Artifact
from entrypoint.prepare.events import Emit, Failed, Skipped, Waiting
from entrypoint.prepare.options import FETCHED_AT_ONCE, Options
from entrypoint.prepare.transport.aria2 import Aria2
from entrypoint.prepare.transport.download import BadBytesError, Download
from entrypoint.prepare.transport.hosts import Hosts, Lease
from entrypoint.prepare.transport.record import Record
from entrypoint.prepare.transport.retry import Patience, RefusedError, StoppedError, UnreachableError
from entrypoint.prepare.transport.source import Resolver
from entrypoint.prepare.transport.tool import TOOL
from entrypoint.volume import Volume
from libmoe.config.errors import DataError, LibmoeError, UnavailableError


@dataclass(frozen=True)
class Fetched:
    """An artifact whose bytes are in the partial folder, whole and verified."""

    artifact: Artifact
    record: Record


class Fetcher:
    """Fetches while the context lasts; leaving it stops what is under way and keeps what came."""

    def __init__(self, volume: Volume, options: Options, limits: Mapping[str, int], emit: Emit) -> None:
        """``limits``: host to the connections it allows."""
        self._volume = volume
        self._options = options
        self._hosts = Hosts(limits, options.connections)
        self._emit = emit
        self._stop = threading.Event()
        self._aria2 = Aria2(volume, self._stop)
        self._resolver = Resolver(options.addresses, TOOL)
        self._pool = ThreadPoolExecutor(FETCHED_AT_ONCE, thread_name_prefix="fetch")
        self.failures: list[LibmoeError] = []

    def __enter__(self) -> "Fetcher":
        self._volume.partials.mkdir(parents=True, exist_ok=True)
        self._aria2.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._aria2.__exit__(kind, error, trace)
        self._resolver.__exit__(kind, error, trace)

    def fetch(self, artifacts: Sequence[Artifact]) -> Iterator[Fetched]:
        """Each artifact once it is whole and verified, in the order they get there.

        A source that is bad or away is noted in `failures`, and the other artifacts go on.

        Raises:
            VolumeError: the volume is full or cannot be written.
        """
        waiting, running = list(artifacts), set[Future[Fetched]]()
        while waiting or running:
            running |= self._start(waiting, FETCHED_AT_ONCE - len(running))
            future = wait(running, return_when=FIRST_COMPLETED).done.pop()
            running.remove(future)  # one at a time: whoever takes it may be long, and the next is on its way
            try:
                yield future.result()
            except (DataError, UnavailableError) as error:
                self.failures.append(error)

    def _start(self, waiting: list[Artifact], slots: int) -> set[Future[Fetched]]:
        """Starts, in their order, the artifacts whose hosts have connections free."""
        started = set[Future[Fetched]]()
        for artifact in list(waiting):
            if len(started) == slots:
                break
            lease = self._hosts.try_lease(self._address(artifact.urls[0]), artifact.expected_size)
            if lease is not None:
                waiting.remove(artifact)
                started.add(self._pool.submit(self._fetch, artifact, lease))
        return started

    def _fetch(self, artifact: Artifact, lease: Lease) -> Fetched:
        reasons: list[tuple[str, RefusedError]] = []
        urls = [(url, len(artifact.urls) > 1) for url in artifact.urls]
        for number, (url, others) in enumerate(urls):
            try:
                with self._lease(artifact, url) if number else lease as granted:
                    return Fetched(artifact, self._fetch_from(artifact, url, granted.connections, others))
            except RefusedError as refusal:
                self._emit(Skipped(artifact.name, self._address(url), str(refusal)))
                reasons.append((url, refusal))
                if refusal.slow:  # better than nothing, if it comes to that
                    urls.append((url, False))
        error = self._give_up(artifact, reasons)
        self._emit(Failed(artifact.name, str(error)))
        raise error

    def _fetch_from(self, artifact: Artifact, url: str, connections: int, others: bool) -> Record:
        retry = self._options.retry
        patience = Patience(retry, others)
        download = Download(
            artifact,
            url,
            self._volume,
            self._resolver,
            self._aria2,
            connections,
            retry,
            self._stop,
            self._emit,
        )
        was_bad = False
        while True:
            before = download.have()
            try:
                return download.run()
            except BadBytesError as error:
                if was_bad:
                    raise RefusedError(f"{error}, twice", bad=True) from error
                was_bad = True
            except UnreachableError as error:
                if download.have() > before:
                    patience.reset()
                seconds = patience.wait(error)
                self._emit(Waiting(artifact.name, self._address(url), str(error), seconds))
                if self._stop.wait(seconds):
                    raise StoppedError from error

    def _address(self, url: str) -> str:
        return self._options.addresses.rewrite(url)

    def _lease(self, artifact: Artifact, url: str) -> Lease:
        return self._hosts.lease(self._address(url), artifact.expected_size, self._stop)

    def _give_up(self, artifact: Artifact, reasons: Sequence[tuple[str, RefusedError]]) -> LibmoeError:
        mirror = self._options.addresses.mirror
        tried = "; ".join(f"{self._address(url)} {refusal}" for url, refusal in reasons)
        if any(refusal.bad for _, refusal in reasons):
            return DataError(
                f"{artifact.name} is not what the catalogue promises: {tried}. Nothing of it was "
                "kept: use another source with --mirror, or correct the catalogue if the file was replaced."
            )
        if mirror:
            return UnavailableError(
                f"{artifact.name} is not available from the mirror: {tried}. "
                f"Check that {mirror} {'runs and ' if mirror.startswith('http') else ''}holds this file, "
                "or leave --mirror out."
            )
        return UnavailableError(
            f"{artifact.name} is not available: {tried}. Check the network (and HF_TOKEN if it is gated), "
            "or use another source with --mirror."
        )
