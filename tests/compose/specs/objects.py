"""What must hold of a rendered overlay: Kubernetes' schemas, and what is known of others' objects."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import kubernetes_validate

from tests.compose.kustomize import Object
from tests.compose.specs import jobs, pods
from tests.compose.specs.work import replicated_jobs, works

VERSION = "1.37"
KNOWN: dict[str, dict[str, set[str]]] = {
    # The fields of other projects' objects that these specs may use, by where they stand.
    "JobSet": {
        "spec": {"coordinator", "failurePolicy", "network", "replicatedJobs", "suspend"},
        "spec.coordinator": {"replicatedJob", "jobIndex", "podIndex"},
        "spec.failurePolicy": {"maxRestarts", "restartStrategy", "rules"},
        "spec.failurePolicy.rules": {"name", "action", "onJobFailureReasons", "targetReplicatedJobs"},
        "spec.replicatedJobs": {"name", "replicas", "template"},
    },
    "TrainingRuntime": {
        "spec": {"mlPolicy", "template"},
        "spec.mlPolicy": {"numNodes", "torch"},
        "spec.template": {"metadata", "spec"},
        "spec.template.spec": {"failurePolicy", "replicatedJobs"},
        "spec.template.spec.failurePolicy": {"maxRestarts", "rules"},
        "spec.template.spec.failurePolicy.rules": {"name", "action", "onJobFailureReasons"},
        "spec.template.spec.replicatedJobs": {"name", "replicas", "template"},
    },
    "TrainJob": {
        "spec": {"runtimeRef", "trainer", "suspend"},
        "spec.runtimeRef": {"apiGroup", "kind", "name"},
        "spec.trainer": {"numNodes"},
    },
}
API = {
    "JobSet": "jobset.x-k8s.io/v1alpha2",
    "TrainingRuntime": "trainer.kubeflow.org/v1alpha1",
    "TrainJob": "trainer.kubeflow.org/v1alpha1",
}
ACTIONS = {"FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"}
REASONS = {"PodFailurePolicy", "BackoffLimitExceeded", "DeadlineExceeded"}
ACCESS = {"ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"}


def complaints(objects: Sequence[Object]) -> list[str]:
    """Everything that is wrong."""
    found = [f"{name(thing)}: {problem}" for thing in objects for problem in _object(thing, objects)]
    for work in works(objects):
        problems = [*_schema(_as_job(work.spec)), *jobs.complaints(work), *pods.complaints(work)]
        found += [f"{work.name}: {problem}" for problem in problems]
    return found


def name(thing: Object) -> str:
    """For a person."""
    return f"{thing['kind']} {thing['metadata']['name']}"


def _object(thing: Object, objects: Sequence[Object]) -> Iterator[str]:
    kind = thing["kind"]
    if len(thing["metadata"]["name"]) > 50:
        yield "its name leaves no room for what is appended to it"
    if kind not in KNOWN:
        yield from _schema(thing)
    elif thing["apiVersion"] != API[kind]:
        yield f"its version is {thing['apiVersion']}"
    for path, fields in KNOWN.get(kind, {}).items():
        for place in _at(thing, path.split(".")):
            yield from (f"{path} has no {key}" for key in set(place) - fields)
    if kind in ("JobSet", "TrainingRuntime"):
        yield from _job_set(thing)
    if kind in ("TrainJob", "TrainingRuntime"):
        yield from _train_job(thing, objects)
    if kind == "PersistentVolumeClaim":
        yield from _claim(thing["spec"])


def _schema(thing: Object) -> Iterator[str]:
    try:
        kubernetes_validate.validate(thing, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{error.message} at {'.'.join(map(str, error.path))}"


def _as_job(spec: dict[str, Any]) -> Object:
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "any"}, "spec": spec}


def _job_set(thing: Object) -> Iterator[str]:
    spec = thing["spec"] if thing["kind"] == "JobSet" else thing["spec"]["template"]["spec"]
    names = {job["name"] for job in replicated_jobs(thing)}
    if spec.get("coordinator", {}).get("replicatedJob", next(iter(names))) not in names:
        yield "its coordinator is in none of its Jobs"
    for rule in spec.get("failurePolicy", {}).get("rules", []):
        if not re.fullmatch(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", rule["name"]):
            yield f"{rule['name']} is no name of a rule"
        if rule["action"] not in ACTIONS or not set(rule["onJobFailureReasons"]) <= REASONS:
            yield f"{rule} does what no JobSet does"
    if ("FailJobSet", ["PodFailurePolicy"]) not in [
        (rule["action"], rule["onJobFailureReasons"])
        for rule in spec.get("failurePolicy", {}).get("rules", [])
    ]:
        yield "it tries again what fails the same way every time"


def _train_job(thing: Object, objects: Sequence[Object]) -> Iterator[str]:
    if thing["kind"] == "TrainJob":
        runtime = thing["spec"]["runtimeRef"]
        if (runtime["kind"], runtime["name"]) not in [(o["kind"], o["metadata"]["name"]) for o in objects]:
            yield f"there is no runtime {runtime['name']}"
        return
    (job,) = replicated_jobs(thing)
    labels = job["template"].get("metadata", {}).get("labels", {})
    if labels.get("trainer.kubeflow.org/trainjob-ancestor-step") != "trainer":
        yield "the trainer does not find its Job"
    if [c["name"] for c in job["template"]["spec"]["template"]["spec"]["containers"]] != ["node"]:
        yield "the trainer does not find its container"


def _claim(spec: dict[str, Any]) -> Iterator[str]:
    if not set(spec["accessModes"]) <= ACCESS:
        yield f"it is accessed by {spec['accessModes']}"
    if pods.quantity(spec["resources"]["requests"]["storage"]) is None:
        yield f"it wants {spec['resources']['requests']['storage']}"


def _at(value: Any, path: list[str]) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for inner in value:
            yield from _at(inner, path)
    elif not path:
        yield value
    elif path[0] in value:
        yield from _at(value[path[0]], path[1:])
