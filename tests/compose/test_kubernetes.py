"""Every overlay for Kubernetes is rendered and checked; tests/system/test_kubernetes.py acts them out."""

import copy
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.compose.kustomize import KUBERNETES, Object, above, render
from tests.compose.specs.objects import complaints
from tests.compose.specs.work import Work, works

FOLDERS = sorted(
    str(path.parent.relative_to(KUBERNETES))
    for group in ("base", "overlays")
    for path in (KUBERNETES / group).glob("*/kustomization.yaml")
)
NODES, SET, KUBEFLOW = "overlays/train-nodes", "overlays/train-jobset", "overlays/train-kubeflow"
SHARDED = "overlays/prepare-sharded"


@functools.cache
def rendered(folder: str) -> list[Object]:
    return render(KUBERNETES / folder)


def one(objects: list[Object], kind: str) -> Any:
    (found,) = (thing for thing in objects if thing["kind"] == kind)
    return found


def job(objects: list[Object]) -> Work:
    (found,) = works(objects)
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_overlay(folder: str) -> None:
    assert complaints(rendered(folder)) == []


def test_what_there_is() -> None:
    assert {name.partition("/")[2] for name in FOLDERS} == {
        "volume", "volume-shared", "prepare", "prepare-sharded", "verify",
        "train", "train-nodes", "train-jobset", "train-kubeflow",
    }  # fmt: skip
    kinds = {folder: sorted(thing["kind"] for thing in rendered(folder)) for folder in FOLDERS}
    assert kinds[NODES] == ["Job", "Service"]
    assert kinds[SET] == ["JobSet"]
    assert kinds[KUBEFLOW] == ["TrainJob", "TrainingRuntime"]


@pytest.mark.parametrize("folder", [NODES, SET, KUBEFLOW])
def test_names_follow_a_prefix_and_a_suffix(folder: str, tmp_path: Path) -> None:
    objects = above(tmp_path, [folder], namePrefix="a-", nameSuffix="-b")
    assert complaints(objects) == []
    for thing in objects:
        assert thing["metadata"]["name"].startswith("a-libmoe")


@pytest.mark.parametrize("folder", ["base/train", NODES, SET, KUBEFLOW])
def test_kueue_is_a_component(folder: str, tmp_path: Path) -> None:
    objects = above(tmp_path, [folder], ["components/kueue"])
    assert complaints(objects) == []
    queued = [thing for thing in objects if thing["kind"] in ("Job", "JobSet", "TrainJob")]
    assert [thing["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] for thing in queued] == ["libmoe"]
    assert [thing["spec"]["suspend"] for thing in queued] == [True]


def test_machines_are_described_in_one_place() -> None:
    """Whatever starts the training, its pods are the same but for who starts them."""
    single = job(rendered("base/train"))
    for folder in (NODES, SET, KUBEFLOW):
        several = job(rendered(folder))
        for key in ("nodeSelector", "tolerations", "volumes", "securityContext"):
            assert several.pod[key] == single.pod[key]
        for key in ("resources", "image", "volumeMounts", "securityContext"):
            assert several.container[key] == single.container[key]
        assert several.args[: len(single.args)] == single.args


def test_the_number_of_nodes_is_written_once(tmp_path: Path) -> None:
    nodes = (KUBERNETES / "components/nodes/nodes.yaml").read_text()
    copied = tmp_path / "kubernetes"
    for path in KUBERNETES.rglob("*.yaml"):
        target = copied / path.relative_to(KUBERNETES)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path.read_text())
    (copied / "components/nodes/nodes.yaml").write_text(nodes.replace("parallelism: 2", "parallelism: 5"))
    for folder in (NODES, SET):
        objects = render(copied / folder)
        assert complaints(objects) == []
        assert job(objects).option("nnodes") == "5"


def test_a_missing_kubectl_fails_in_ci_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no kubectl"):
        render(KUBERNETES / "base/train")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="no kubectl"):
        render(KUBERNETES / "base/train")


def _rules(objects: list[Object]) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = job(objects).spec["podFailurePolicy"]["rules"]
    return rules


def _claim(objects: list[Object]) -> dict[str, Any]:
    claims = [volume.get("persistentVolumeClaim") for volume in job(objects).pod["volumes"]]
    (claim,) = filter(None, claims)
    return claim


def _limits(objects: list[Object]) -> dict[str, Any]:
    limits: dict[str, Any] = job(objects).container["resources"]["limits"]
    return limits


def _env(objects: list[Object], **values: str) -> None:
    job(objects).container.setdefault("env", []).extend(
        {"name": name, "value": value} for name, value in values.items()
    )


HARM: list[tuple[str, Callable[[list[Object]], Any], str]] = [
    # schemas
    ("base/train", lambda o: job(o).spec.update(backofLimit=1), "backofLimit"),
    (NODES, lambda o: job(o).spec.update(completions="2"), "'2' is not of type"),
    (SET, lambda o: job(o).pod.update(subdomains="x"), "subdomains"),
    (SET, lambda o: o[0]["spec"].update(maxRestarts=3), "spec has no maxRestarts"),
    (SET, lambda o: o[0].update(apiVersion="jobset.x-k8s.io/v1"), "its version is"),
    (SET, lambda o: o[0]["spec"]["coordinator"].update(replicatedJob="x"), "in none of its Jobs"),
    (SET, lambda o: o[0]["spec"]["failurePolicy"]["rules"][0].update(name="a-b"), "no name of a rule"),
    (SET, lambda o: o[0]["spec"]["failurePolicy"]["rules"][0].update(action="Fail"), "what no JobSet does"),
    (SET, lambda o: o[0]["spec"]["failurePolicy"].update(rules=[]), "it tries again what fails"),
    (KUBEFLOW, lambda o: one(o, "TrainJob")["spec"]["runtimeRef"].update(name="x"), "there is no runtime x"),
    (KUBEFLOW, lambda o: one(o, "TrainJob")["spec"].update(numNodes=2), "spec has no numNodes"),
    (KUBEFLOW, lambda o: job(o).args.append("--nnodes=3"), "2 pods for 3 nodes"),
    (KUBEFLOW, lambda o: job(o).container.update(name="libmoe"), "does not find its container"),
    ("base/volume", lambda o: o[0]["spec"].update(accessModes=["ReadWriteAny"]), "accessed by"),
    ("base/volume", lambda o: o[0]["spec"]["resources"]["requests"].update(storage="2Tb"), "it wants 2Tb"),
    ("base/train", lambda o: o[0]["metadata"].update(name="x" * 51), "leaves no room"),
    # failures
    ("base/train", lambda o: _rules(o)[1]["onExitCodes"].update(values=[2, 65, 73, 75]), "Job fails on"),
    ("base/train", lambda o: _rules(o)[1]["onExitCodes"].update(operator="NotIn"), "Job fails on"),
    ("base/train", lambda o: _rules(o)[1]["onExitCodes"].update(containerName="x"), "no container is x"),
    ("base/train", lambda o: _rules(o)[0]["onPodConditions"][0].update(status="False"), "pods are ignored"),
    ("base/train", lambda o: _rules(o)[0].update(action="Ignored"), "action is Ignored"),
    ("base/train", lambda o: job(o).spec.pop("podReplacementPolicy"), "replaced while it still ends"),
    ("base/train", lambda o: job(o).spec.pop("backoffLimit"), "how often it is tried again"),
    (SET, lambda o: job(o).spec.update(backoffLimit=3), "a failed pod does not fail its Job"),
    ("base/train", lambda o: job(o).pod.update(restartPolicy="OnFailure"), "restartPolicy is OnFailure"),
    ("base/train", lambda o: job(o).pod.update(terminationGracePeriodSeconds=30), "no time to save"),
    # commands
    ("base/train", lambda o: job(o).args.append("--nodes=2"), "No such option"),
    ("base/train", lambda o: job(o).args.pop(1), "Missing option '--stage'"),
    ("base/train", lambda o: job(o).container.update(command=["libmoe"]), "replaces the image's entry point"),
    (NODES, lambda o: _env(o, LIBMOE_TRAIN_MASTER="x"), "LIBMOE_TRAIN_MASTER is no option"),
    (NODES, lambda o: job(o).container["env"].pop(0), "$(JOB_NAME) is nothing"),
    # several pods
    (SHARDED, lambda o: job(o).spec.update(completions=5), "4 pods for 5 completions"),
    (SHARDED, lambda o: job(o).args.__setitem__(4, "--shard=0/4"), "the share is 0/4 with 4 pods"),
    (SHARDED, lambda o: job(o).spec.pop("backoffLimitPerIndex"), "stops the others"),
    (NODES, lambda o: job(o).spec.update(backoffLimitPerIndex=1), "leaves the others waiting"),
    (NODES, lambda o: job(o).args.__setitem__(3, "--nnodes=3"), "2 pods for 3 nodes"),
    (NODES, lambda o: job(o).spec.pop("completionMode"), "not which one this is"),
    (NODES, lambda o: job(o).container["env"].pop(1), "nothing says where node 0 is"),
    (NODES, lambda o: _env(o, LIBMOE_TRAIN_MASTER_ADDR="x"), "looks for node 0 at x"),
    (NODES, lambda o: job(o).pod.update(subdomain="x"), "there is no Service x"),
    (NODES, lambda o: one(o, "Service")["spec"].pop("publishNotReadyAddresses"), "none to pods that start"),
    (NODES, lambda o: one(o, "Service")["spec"].update(clusterIP="10.0.0.1"), "gives no names"),
    (NODES, lambda o: one(o, "Service")["spec"]["selector"].update(x="y"), "the Service selects"),
    (NODES, lambda o: one(o, "Service")["spec"]["ports"][0].update(port=29400), "has ports {29400}"),
    # rights, volumes, quantities
    ("base/train", lambda o: job(o).pod["securityContext"].update(runAsUser=0), "may run as root"),
    ("base/train", lambda o: job(o).pod["securityContext"].pop("runAsNonRoot"), "may run as root"),
    ("base/train", lambda o: job(o).pod["securityContext"].pop("seccompProfile"), "no seccomp profile"),
    ("base/train", lambda o: job(o).container.pop("securityContext"), "may gain privileges"),
    ("base/train", lambda o: job(o).container.pop("securityContext"), "its capabilities are None"),
    ("base/train", lambda o: job(o).container.pop("securityContext"), "root file system can be written"),
    ("base/train", lambda o: job(o).pod.pop("automountServiceAccountToken"), "gets the cluster's token"),
    ("base/train", lambda o: job(o).pod.update(hostIPC=True), "it uses hostIPC"),
    ("base/train", lambda o: job(o).pod["volumes"].pop(0), "shm is no volume"),
    ("base/train", lambda o: job(o).container["volumeMounts"].pop(0), "shm is not mounted"),
    ("base/train", lambda o: job(o).container["volumeMounts"].pop(2), "/tmp cannot be written"),
    ("base/train", lambda o: _claim(o).update(claimName="x"), "/data is"),
    ("base/train", lambda o: job(o).pod["volumes"][0]["emptyDir"].pop("medium"), "/dev/shm is not in memory"),
    ("base/train", lambda o: job(o).pod["volumes"][0]["emptyDir"].update(sizeLimit="200Gi"), "than half"),
    ("base/train", lambda o: _limits(o).update(memory="256GB"), "256GB is no"),
    ("base/train", lambda o: job(o).container["resources"]["requests"].update(memory="1Gi"), "limit differ"),
    ("base/train", lambda o: job(o).container["resources"]["requests"].pop("cpu"), "requests no cpu"),
    ("base/train", lambda o: _limits(o).update({"nvidia.com/gpu": "4"}), "8 GPUs of 4"),
    ("base/train", lambda o: job(o).pod["containers"].append({"name": "x", "image": "x"}), "2 containers"),
    ("base/train", lambda o: _env(o, HF_TOKEN="hf_x"), "HF_TOKEN is no optional secret"),
]  # fmt: skip


@pytest.mark.parametrize(("folder", "harm", "complaint"), HARM, ids=[complaint for *_, complaint in HARM])
def test_each_rule_sees_what_breaks_it(
    folder: str, harm: Callable[[list[Object]], Any], complaint: str
) -> None:
    objects = copy.deepcopy(rendered(folder))
    harm(objects)
    assert any(complaint in found for found in complaints(objects)), complaints(objects)
