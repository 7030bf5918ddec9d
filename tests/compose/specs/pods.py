"""What must hold of every pod: rights, volumes, quantities, words that have few values."""

import re
from collections.abc import Iterator
from typing import Any

from tests.compose.specs.work import Work

ENUMS = {
    "restartPolicy": {"Never"},  # a podFailurePolicy takes no other
    "completionMode": {"Indexed", "NonIndexed"},
    "podReplacementPolicy": {"Failed", "TerminatingOrFailed"},
    "action": {"FailJob", "FailIndex", "Ignore", "Count"},
    "operator": {"In", "NotIn", "Exists", "Equal"},
    "effect": {"NoSchedule", "PreferNoSchedule", "NoExecute"},
    "medium": {"", "Memory"},
    "fsGroupChangePolicy": {"OnRootMismatch", "Always"},
    "imagePullPolicy": {"Always", "IfNotPresent", "Never"},
    "dnsPolicy": {"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"},
}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|[kMGTPE]|[KMGTPE]i)?")
_UNITS = {"": 1.0, "m": 1e-3, "k": 1e3} | {
    f"{letter}{i}": float(base) ** power
    for power, letter in enumerate("KMGTPE", 1)
    for i, base in (("i", 1024), ("", 1000))
}


def complaints(work: Work) -> Iterator[str]:
    """Everything that is wrong with a Job's pods."""
    if len(work.pod["containers"]) != 1:
        yield f"it has {len(work.pod['containers'])} containers"
    yield from _enums(work.spec)
    yield from _rights(work)
    yield from _volumes(work)
    yield from _resources(work)
    yield from _secrets(work)


def quantity(text: object) -> float | None:
    """A Kubernetes quantity as a number; None if it is none."""
    found = _QUANTITY.fullmatch(str(text))
    return float(found[1]) * _UNITS[found[2] or ""] if found else None


def _enums(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ENUMS and inner not in ENUMS[key]:
                yield f"{key} is {inner}, which is none of {sorted(ENUMS[key])}"
            yield from _enums(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _enums(inner)


def _rights(work: Work) -> Iterator[str]:
    """The restricted Pod Security Standard, and a little more."""
    pod, own = work.pod.get("securityContext", {}), work.container.get("securityContext", {})
    if {**pod, **own}.get("runAsNonRoot") is not True or {**pod, **own}.get("runAsUser") == 0:
        yield "it may run as root"
    if {**pod, **own}.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "it has no seccomp profile"
    if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
        yield "it may gain privileges"
    if own.get("capabilities") != {"drop": ["ALL"]}:
        yield f"its capabilities are {own.get('capabilities')}"
    if own.get("readOnlyRootFilesystem") is not True:
        yield "its root file system can be written"
    if work.pod.get("automountServiceAccountToken") is not False:
        yield "it gets the cluster's token"
    yield from (f"it uses {name}" for name in ("hostNetwork", "hostPID", "hostIPC") if work.pod.get(name))


def _volumes(work: Work) -> Iterator[str]:
    volumes = {volume["name"]: volume for volume in work.pod.get("volumes", [])}
    mounts = {mount["mountPath"]: mount["name"] for mount in work.container.get("volumeMounts", [])}
    for name in set(mounts.values()) ^ set(volumes):
        yield f"{name} is {'no volume' if name not in volumes else 'not mounted'}"
    for name, volume in volumes.items():
        if not {"emptyDir", "persistentVolumeClaim"} & set(volume):
            yield f"{name} is a kind of volume that nothing here needs"
    claim = volumes.get(mounts.get("/data", ""), {}).get("persistentVolumeClaim", {})
    if claim.get("claimName") != "libmoe-data":
        yield "/data is not the volume"
    if "emptyDir" not in volumes.get(mounts.get("/tmp", ""), {}):
        yield "/tmp cannot be written"
    if work.args[0] == "train":
        yield from _shared_memory(work, volumes.get(mounts.get("/dev/shm", ""), {}).get("emptyDir", {}))


def _shared_memory(work: Work, folder: dict[str, Any]) -> Iterator[str]:
    size, limit = quantity(folder.get("sizeLimit")), quantity(work.container["resources"]["limits"]["memory"])
    if folder.get("medium") != "Memory" or not size:
        yield "/dev/shm is not in memory, or has no limit"
    elif limit and size > limit / 2:
        yield "/dev/shm may take more than half of the memory"


def _resources(work: Work) -> Iterator[str]:
    given = work.container.get("resources", {})
    for kind in ("requests", "limits"):
        for name, value in given.get(kind, {}).items():
            if quantity(value) is None:
                yield f"{value} is no quantity of {name}"
    for name in ("cpu", "memory"):
        if name not in given.get("requests", {}):
            yield f"it requests no {name}"
    if given.get("requests", {}).get("memory") != given.get("limits", {}).get("memory"):
        yield "its memory can be taken away: request and limit differ"
    gpus = [given.get(kind, {}).get("nvidia.com/gpu") for kind in ("requests", "limits")]
    if gpus[0] != gpus[1]:
        yield f"it requests {gpus[0]} GPUs of {gpus[1]}"


def _secrets(work: Work) -> Iterator[str]:
    for variable in work.container.get("env", []):
        if re.search("TOKEN|SECRET|PASSWORD", variable["name"]):
            reference = variable.get("valueFrom", {}).get("secretKeyRef", {})
            if not reference.get("optional"):
                yield f"{variable['name']} is no optional secret"
