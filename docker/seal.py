"""Gives an image the ID that its contents alone decide, where its builder wrote down what the clock said.

    python3 docker/seal.py IMAGE TIME        TIME as in 2026-01-31T12:00:00Z

BuildKit since 0.11 (Docker 23) takes these times from SOURCE_DATE_EPOCH and nothing is left to do. What an
older one made gets its configuration anew, without history, over the same layers: the engine has them, so
that what it loads are some kilobytes.
"""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from typing import Any

DOCKER = os.environ.get("DOCKER", "docker")
KEPT = ("Cmd", "Entrypoint", "Env", "ExposedPorts", "Healthcheck", "Labels", "OnBuild", "Shell", "StopSignal",
        "User", "Volumes", "WorkingDir")  # fmt: skip


def configuration(image: dict[str, Any], created: str) -> bytes:
    """The image's configuration in the OCI's words, with one time."""
    config = {key: image["Config"][key] for key in KEPT if image["Config"].get(key)}
    layers = {"type": "layers", "diff_ids": image["RootFS"]["Layers"]}
    whole = {"architecture": image["Architecture"], "os": image["Os"], "created": created}
    return json.dumps(whole | {"config": config, "rootfs": layers}, sort_keys=True).encode()


def archive(name: str, config: bytes, layers: int) -> bytes:
    """What `docker load` takes for an image whose layers it has."""
    file = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": file, "RepoTags": [name], "Layers": [f"{i}/layer.tar" for i in range(layers)]}]
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for path, content in ((file, config), ("manifest.json", json.dumps(manifest).encode())):
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


def main() -> None:
    """Seals what needs it."""
    name, created = sys.argv[1:]
    told = subprocess.run([DOCKER, "image", "inspect", name], capture_output=True)
    if told.returncode:
        return  # pushed or exported, not kept
    image = json.loads(told.stdout)[0]
    if image["Created"] == created:
        return
    config = configuration(image, created)
    tagged = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
    load = [DOCKER, "load", "--quiet"]
    sealed = archive(tagged, config, len(image["RootFS"]["Layers"]))
    subprocess.run(load, input=sealed, check=True, stdout=subprocess.DEVNULL)
    if image["RepoTags"] == [tagged]:  # nothing names the old one any more
        subprocess.run([DOCKER, "image", "rm", image["Id"]], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
