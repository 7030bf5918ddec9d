"""A real web server whose connections can be capped."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.prepare.processes import require
from entrypoint.ports import free_port


@contextmanager
def nginx(folder: Path, root: Path, bytes_per_second: int = 0) -> Iterator[str]:
    """Serves a folder on loopback; 0 is as fast as it goes."""
    require("nginx")
    port = free_port("127.0.0.1")
    settings = folder / "nginx.conf"
    settings.write_text(
        f"""
        daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
        {"user root;" if Path("/root").owner() == Path.home().owner() else ""}
        events {{ worker_connections 256; }}
        http {{
          access_log off; sendfile on; types {{ }} default_type application/octet-stream;
          client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
          uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          server {{ listen 127.0.0.1:{port}; root {root}; limit_rate {bytes_per_second}; }}
        }}"""
    )
    server = subprocess.Popen([shutil.which("nginx") or "nginx", "-c", settings], stderr=subprocess.DEVNULL)
    try:
        _wait(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _wait(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit("nginx does not start.")
