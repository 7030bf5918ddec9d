"""As much of a cluster as a Job needs: pods are containers, and a small controller obeys its rules."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.compose.specs.pods import quantity
from tests.compose.specs.work import Work, expand


@dataclass
class Cluster:
    """A network on which pods find each other, and the folder behind the volume's claim."""

    docker: str
    volume: Path
    network: str = field(default_factory=lambda: f"libmoe-{uuid.uuid4().hex[:8]}")

    def __enter__(self) -> Cluster:
        self.call("network", "create", self.network)
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(AssertionError):
            self.call("network", "rm", self.network)

    def call(self, *words: str) -> str:
        """What Docker prints."""
        done = subprocess.run([self.docker, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self, work: Work, index: int) -> str:
        """A pod's container, as the kubelet would make it."""
        pod, container = work.pod, work.container
        rights, own = pod["securityContext"], container["securityContext"]
        environment = work.environment(index)
        name = f"{work.name}-{index}"
        words = ["run", "--detach", "--network", self.network, "--hostname", name]
        if "subdomain" in pod:
            words += ["--network-alias", f"{name}.{pod['subdomain']}"]
        words += [
            "--user",
            f"{rights['runAsUser']}:{rights['runAsGroup']}",
            "--group-add",
            str(rights["fsGroup"]),
        ]
        words += [f"--cap-drop={capability}" for capability in own["capabilities"]["drop"]]
        words += ["--read-only"] if own["readOnlyRootFilesystem"] else []
        words += [] if own["allowPrivilegeEscalation"] else ["--security-opt", "no-new-privileges"]
        words += [word for mount in self._mounts(pod, container) for word in mount]
        words += [f"--env={key}={value}" for key, value in environment.items()]
        return self.call(
            *words, container["image"], *(expand(word, environment) for word in container["args"])
        )

    def _mounts(self, pod: dict[str, Any], container: dict[str, Any]) -> Iterator[tuple[str, str]]:
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for mount in container["volumeMounts"]:
            volume, path = volumes[mount["name"]], mount["mountPath"]
            if "persistentVolumeClaim" in volume:
                self.volume.chmod(0o2777)  # what fsGroup does
                yield "--volume", f"{self.volume}:{path}"
            elif path == "/dev/shm":
                yield "--shm-size", str(int(quantity(volume["emptyDir"]["sizeLimit"]) or 0))
            else:
                yield "--tmpfs", f"{path}:exec,mode=1777"


@dataclass
class Controller:
    """Starts a Job's pods and starts them again, as its rules say."""

    cluster: Cluster
    work: Work
    pods: dict[int, str] = field(default_factory=dict)
    disrupted: set[str] = field(default_factory=set)
    """Pods that the cluster told to leave."""
    ended: list[tuple[int, int]] = field(default_factory=list)
    """Index and exit code of every pod that ended."""
    logs: list[str] = field(default_factory=list)
    counted: int = 0
    failed: bool = False

    def __enter__(self) -> Controller:
        for index in range(self.work.pods):
            self.pods[index] = self.cluster.start(self.work, index)
        return self

    def __exit__(self, *exception: object) -> None:
        for pod in self.pods.values():
            self.cluster.call("rm", "--force", pod)

    def until(self, happened: Callable[[], object]) -> None:
        """Goes on until something has happened that pods that run bring about."""
        deadline = time.monotonic() + 400
        while not happened():
            assert self.pods, self.said()
            assert time.monotonic() < deadline, self.said()
            self._look()
            time.sleep(0.05)

    def until_end(self) -> None:
        """Goes on until the Job is complete or failed."""
        self.until(lambda: not self.pods)

    def lose(self, index: int) -> None:
        """A machine loses its power."""
        self.cluster.call("kill", self.pods[index])

    def drain(self, index: int) -> None:
        """A machine is wanted back; its pod gets its grace period."""
        self.disrupted.add(self.pods[index])
        self.cluster.call("kill", "--signal", "TERM", self.pods[index])

    def said(self) -> str:
        """The logs of all pods there were and are."""
        return "\n".join([*self.logs, *map(self._log, self.pods.values())])

    def _log(self, pod: str) -> str:
        done = subprocess.run([self.cluster.docker, "logs", pod], capture_output=True, text=True)
        return f"{pod[:8]}\n{done.stdout}{done.stderr}"

    def _look(self) -> None:
        for index, pod in list(self.pods.items()):
            state = json.loads(self.cluster.call("inspect", "--format", "{{json .State}}", pod))
            if state["Running"]:
                continue
            code = state["ExitCode"]
            self.ended.append((index, code))
            self.logs.append(self._log(pod))
            self.cluster.call("rm", pod)
            del self.pods[index]
            if code and self._again(pod, code):
                self.pods[index] = self.cluster.start(self.work, index)
        if self.failed:
            self.__exit__()
            self.pods.clear()

    def _again(self, pod: str, code: int) -> bool:
        """Whether a failed pod is replaced; counts it, or fails the Job, as the first rule that fits says."""
        for rule in self.work.spec["podFailurePolicy"]["rules"]:
            if rule["action"] == "Ignore" and pod in self.disrupted:
                return True
            if rule["action"] == "FailJob" and code in rule["onExitCodes"]["values"]:
                self.failed = True
                return False
        self.counted += 1
        self.failed = self.counted > self.work.spec["backoffLimit"]
        return not self.failed
