"""Shares out the connections that hosts allow at once, over all files that are fetched."""

import threading
from collections import Counter
from collections.abc import Mapping
from urllib.parse import urlsplit

from entrypoint.prepare.transport.retry import StoppedError

_SEGMENT_BYTES = 1 << 20
"""aria2 does not split a file finer than that."""
_LOOK_SECONDS = 0.1


class Lease:
    """Connections to a host for one file; a context manager that gives them back."""

    def __init__(self, hosts: "Hosts", host: str, connections: int) -> None:
        self._hosts = hosts
        self._host = host
        self.connections = connections

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *exception: object) -> None:
        self._hosts.give_back(self._host, self.connections)


class Hosts:
    """Who may have how many connections to whom."""

    def __init__(self, limits: Mapping[str, int], connections: int) -> None:
        """``limits``: host to connections; elsewhere two files can have ``connections`` each."""
        self._limits = limits
        self._connections = connections
        self._taken: Counter[str] = Counter()
        self._changed = threading.Condition()

    def try_lease(self, address: str, size: int | None) -> Lease | None:
        """As many connections as a file of that size can use there; None while they are not free."""
        host = urlsplit(address).netloc
        limit = self._limits.get(host, 2 * self._connections)
        useful = self._connections if size is None else max(1, size // _SEGMENT_BYTES)
        wanted = min(self._connections, useful, limit)
        with self._changed:
            if self._taken[host] + wanted > limit:
                return None
            self._taken[host] += wanted
        return Lease(self, host, wanted)

    def lease(self, address: str, size: int | None, stop: threading.Event) -> Lease:
        """The same, waiting until they are free.

        Raises:
            StoppedError: ``stop`` was set meanwhile.
        """
        while not stop.is_set():
            lease = self.try_lease(address, size)
            if lease is not None:
                return lease
            with self._changed:
                self._changed.wait(_LOOK_SECONDS)
        raise StoppedError

    def give_back(self, host: str, connections: int) -> None:
        """The file is done with them."""
        with self._changed:
            self._taken[host] -= connections
            self._changed.notify_all()
