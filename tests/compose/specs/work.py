"""The Jobs in a rendered overlay, whichever object they are in."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.compose.kustomize import Object


@dataclass(frozen=True)
class Work:
    """A Job as it will be: ``name``, its spec, and what is rendered beside it."""

    name: str
    spec: dict[str, Any]
    objects: Sequence[Object]
    within: Object
    """The object that holds it: a Job itself, a JobSet or a TrainingRuntime."""

    @property
    def pod(self) -> dict[str, Any]:
        """The spec of its pods."""
        pod: dict[str, Any] = self.spec["template"]["spec"]
        return pod

    @property
    def container(self) -> dict[str, Any]:
        """The only container of a pod."""
        container: dict[str, Any] = self.pod["containers"][0]
        return container

    @property
    def args(self) -> list[str]:
        """What libmoe is told."""
        return self.container.get("args", [])

    @property
    def pods(self) -> int:
        """How many there are."""
        trainer = self.train_job["spec"]["trainer"] if self.train_job else {}
        return trainer.get("numNodes", self.spec.get("parallelism", 1))

    @property
    def train_job(self) -> Object | None:
        """What Kubeflow's trainer starts it for."""
        found = [thing for thing in self.objects if thing["kind"] == "TrainJob"]
        return found[0] if found and self.within["kind"] == "TrainingRuntime" else None

    def option(self, name: str) -> str | None:
        """The value of ``--NAME=VALUE``."""
        values = [word.partition("=")[2] for word in self.args if word.startswith(f"--{name}=")]
        return values[0] if values else None

    def hostname(self, index: int) -> str:
        """Of a pod, as the other pods reach it."""
        return f"{self.name}-{index}.{self.subdomain}"

    @property
    def subdomain(self) -> str | None:
        """Of its pods."""
        if self.within["kind"] == "Job":
            return self.pod.get("subdomain")
        if self.train_job:
            return str(self.train_job["metadata"]["name"])
        name: str = self.within["metadata"]["name"]
        return self.within["spec"].get("network", {}).get("subdomain", name)

    def environment(self, index: int) -> dict[str, str]:
        """What the container of a pod sees, less secrets: its index, then what the spec says."""
        seen = self._given(index)
        for variable in self.container.get("env", []):
            value = variable.get("value")
            if value is None:
                value = self._downward(variable["valueFrom"].get("fieldRef", {}).get("fieldPath"))
            if value is not None:
                seen[variable["name"]] = expand(value, seen)
        return seen

    def _given(self, index: int) -> dict[str, str]:
        """What those who start the pod add."""
        if self.train_job:
            return {
                "PET_NNODES": str(self.pods),
                "PET_NODE_RANK": str(index),
                "PET_MASTER_ADDR": f"{self.subdomain}-node-0-0.{self.subdomain}",
                "PET_MASTER_PORT": "29500",
            }
        return {"JOB_COMPLETION_INDEX": str(index)} if self.spec.get("completionMode") == "Indexed" else {}

    def _downward(self, path: str | None) -> str | None:
        fields = {"metadata.labels['batch.kubernetes.io/job-name']": self.name}
        if self.within["kind"] == "JobSet" and "coordinator" in self.within["spec"]:
            where = self.within["spec"]["coordinator"]
            host = f"{self.within['metadata']['name']}-{where['replicatedJob']}-{where['jobIndex']}"
            fields["metadata.annotations['jobset.sigs.k8s.io/coordinator']"] = (
                f"{host}-{where['podIndex']}.{self.subdomain}"
            )
        return fields.get(path or "")


def expand(text: str, seen: Mapping[str, str]) -> str:
    """``$(NAME)`` as the kubelet replaces it; an unknown name stays."""
    for name, value in seen.items():
        text = text.replace(f"$({name})", value)
    return text


def works(objects: Sequence[Object]) -> Iterator[Work]:
    """Every Job that these objects bring about."""
    for thing in objects:
        name = thing["metadata"]["name"]
        if thing["kind"] == "Job":
            yield Work(name, thing["spec"], objects, thing)
        elif thing["kind"] in ("JobSet", "TrainingRuntime"):
            started = [o["metadata"]["name"] for o in objects if o["kind"] == "TrainJob"] or [name]
            for replicated in replicated_jobs(thing):
                spec = replicated["template"]["spec"]
                yield Work(f"{started[0]}-{replicated['name']}-0", spec, objects, thing)


def replicated_jobs(thing: Object) -> list[dict[str, Any]]:
    """Of a JobSet, or of the one in a TrainingRuntime."""
    spec = thing["spec"] if thing["kind"] == "JobSet" else thing["spec"]["template"]["spec"]
    jobs: list[dict[str, Any]] = spec["replicatedJobs"]
    return jobs
