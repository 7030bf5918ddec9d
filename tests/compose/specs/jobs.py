"""What must hold of every Job: it ends as the exit codes say, and its pods find each other."""

import re
from collections.abc import Iterator
from typing import Any

import click

from entrypoint.cli import libmoe
from entrypoint.launch.nodes.settings import Flag, Place, find_place
from libmoe.config.errors import ConfigError, DataError, LibmoeError, UsageError, VolumeError
from tests.compose import command_line
from tests.compose.specs.work import Work, expand

FINAL = sorted(error.exit_code for error in (UsageError, DataError, VolumeError, ConfigError))
"""How a command ends that would end so again."""
DISRUPTED = {"type": "DisruptionTarget", "status": "True"}
SAVING_SECONDS = 300
"""A checkpoint of the largest preset takes less."""


def complaints(work: Work) -> Iterator[str]:
    """Everything that is wrong with a Job."""
    yield from _failures(work)
    yield from _command(work)
    if work.spec.get("completionMode") == "Indexed":
        yield from _indexes(work)
    if work.args[0] == "train":
        if work.pod.get("terminationGracePeriodSeconds", 30) < SAVING_SECONDS:
            yield "there is no time to save a checkpoint"
        if work.pods > 1:
            yield from _nodes(work)


def _failures(work: Work) -> Iterator[str]:
    rules = work.spec.get("podFailurePolicy", {}).get("rules", [])
    ignored = [condition for rule in rules if rule["action"] == "Ignore" for condition in _conditions(rule)]
    if ignored != [DISRUPTED]:
        yield f"pods are ignored that end with {ignored}"
    failing = [rule.get("onExitCodes", {}) for rule in rules if rule["action"] == "FailJob"]
    if [(codes.get("operator"), sorted(codes.get("values", []))) for codes in failing] != [("In", FINAL)]:
        yield f"the Job fails on {failing}, not on {FINAL}"
    if names := {codes["containerName"] for codes in failing if "containerName" in codes}:
        yield from (f"no container is {name}" for name in names - {work.container["name"]})
    if work.spec.get("podReplacementPolicy") != "Failed":
        yield "a pod is replaced while it still ends"
    if work.within["kind"] == "Job" and "backoffLimit" not in work.spec:
        yield "nothing says how often it is tried again"
    if work.within["kind"] != "Job" and work.spec.get("backoffLimit") != 0:
        yield "a failed pod does not fail its Job, so the others are not started again"


def _conditions(rule: dict[str, Any]) -> list[dict[str, str]]:
    return rule.get("onPodConditions") or [rule]


def _command(work: Work) -> Iterator[str]:
    environment = work.environment(0)
    if "command" in work.container:
        yield "it replaces the image's entry point"
    words = [expand(word, environment) for word in work.args]
    yield from command_line.complaints(words, environment)
    unknown = [name for text in [*words, *environment.values()] for name in re.findall(r"\$\((\w+)\)", text)]
    yield from (f"$({name}) is nothing" for name in unknown)


def _indexes(work: Work) -> Iterator[str]:
    completions, per_index = work.spec.get("completions"), work.spec.get("backoffLimitPerIndex")
    if completions != work.spec.get("parallelism"):
        yield f"{work.spec.get('parallelism')} pods for {completions} completions"
    if work.args[0] == "prepare":
        if work.option("shard") != f"$(JOB_COMPLETION_INDEX)/{completions}":
            yield f"the share is {work.option('shard')} with {completions} pods"
        if per_index is None:
            yield "a share that fails stops the others"
    elif per_index is not None:
        yield "a node that fails for good leaves the others waiting"


def _nodes(work: Work) -> Iterator[str]:
    for index in range(work.pods):
        try:
            place = _place(work, index)
        except LibmoeError as error:
            yield f"pod {index}: {error}"
            continue
        if place.nodes != work.pods:
            yield f"{work.pods} pods for {place.nodes} nodes"
        if place.rank != index or place.master_addr != work.hostname(0):
            yield f"pod {index} is node {place.rank} and looks for node 0 at {place.master_addr}"
    if work.within["kind"] == "Job":
        yield from _service(work)


def _place(work: Work, index: int) -> Place:
    """What a pod makes of its flags and environment."""
    environment = work.environment(index)
    command = libmoe.get_command(click.Context(libmoe), work.args[0])
    assert command
    variables = {parameter.envvar: parameter.name for parameter in command.params}
    flags = {str(variables.get(name)): Flag(value, name) for name, value in environment.items()}
    for word in work.args[1:]:
        name, _, value = word.partition("=")
        flags[name.removeprefix("--").replace("-", "_")] = Flag(expand(value, environment), name)
    return find_place(flags, environment)


def _service(work: Work) -> Iterator[str]:
    """The pods have names, all of them and at once."""
    services = {
        thing["metadata"]["name"]: thing["spec"] for thing in work.objects if thing["kind"] == "Service"
    }
    service = services.get(work.subdomain or "")
    if service is None:
        yield f"there is no Service {work.subdomain}"
        return
    if service.get("clusterIP") != "None" or not service.get("publishNotReadyAddresses"):
        yield "the Service gives no names, or none to pods that start"
    if service.get("selector") != {"batch.kubernetes.io/job-name": work.name}:
        yield f"the Service selects {service.get('selector')}"
    ports = {port["port"] for port in service.get("ports", [])}
    own = {port["containerPort"] for port in work.container.get("ports", [])}
    if not ports == own == {Place().master_port}:
        yield f"the Service has ports {ports}, the pod {own}, and libmoe uses {Place().master_port}"
