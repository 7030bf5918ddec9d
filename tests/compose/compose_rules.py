"""What compose's schema does not say of our files: each rule yields what breaks it."""

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.compose import command_line

COMPOSE = Path(__file__).parents[2] / "compose"
RESTRICTED = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")

Services = dict[str, dict[str, Any]]


def services(*files: str) -> Services:
    """The services of files laid over each other, with what they extend and the defaults of variables."""
    laid: Services = {}
    for file in files:
        for name in _read(file)["services"]:
            laid[name] = _over(laid.get(name, {}), _extended(file, name))
    return laid


def variables(text: str) -> dict[str, set[str]]:
    """The defaults that a file gives each variable."""
    found: dict[str, set[str]] = {}
    for name, default in _VARIABLE.findall(text):
        found.setdefault(name, set()).add(default)
    return found


def complaints(laid: Services) -> list[str]:
    """Everything that is wrong."""
    return [
        f"{name}: {problem}"
        for name, service in laid.items()
        for rule in (_rights, _command, _dependencies, _node, _mirror)
        for problem in rule(service, laid)
    ]


def _rights(service: Mapping[str, Any], laid: Services) -> Iterator[str]:
    for key, value in RESTRICTED.items():
        if service.get(key) != value:
            yield f"{key} is {service.get(key)}"
    if str(service.get("user", "0")).split(":")[0] == "0":
        yield "it runs as root"
    for port in service.get("ports", []):
        if not port.startswith("127.0.0.1:"):
            yield f"port {port} is open to other machines"


def _command(service: Mapping[str, Any], laid: Services) -> Iterator[str]:
    if "entrypoint" not in service:
        yield from command_line.complaints(service.get("command", []), environment(service))


def _dependencies(service: Mapping[str, Any], laid: Services) -> Iterator[str]:
    for name, how in service.get("depends_on", {}).items():
        if name not in laid:
            yield f"it waits for {name}, which is no service"
        elif how["condition"] == "service_healthy" and "healthcheck" not in laid[name]:
            yield f"it waits for the health of {name}, which has no check"
        elif how["condition"] == "service_completed_successfully" and laid[name].get("restart"):
            yield f"it waits for the end of {name}, which is started again"


def _node(service: Mapping[str, Any], laid: Services) -> Iterator[str]:
    mine = environment(service)
    if "LIBMOE_TRAIN_NNODES" not in mine:
        return
    nodes = [environment(other) for other in laid.values() if "LIBMOE_TRAIN_NNODES" in environment(other)]
    ranks = sorted(node.get("LIBMOE_TRAIN_NODE_RANK", "") for node in nodes)
    if ranks != [str(rank) for rank in range(len(nodes))] or mine["LIBMOE_TRAIN_NNODES"] != str(len(nodes)):
        yield f"of {mine['LIBMOE_TRAIN_NNODES']} nodes, there are {ranks}"
    master = laid.get(mine.get("LIBMOE_TRAIN_MASTER_ADDR", ""), {})
    if environment(master).get("LIBMOE_TRAIN_NODE_RANK") != "0":
        yield f"node 0 is not at {mine.get('LIBMOE_TRAIN_MASTER_ADDR')}"


def _mirror(service: Mapping[str, Any], laid: Services) -> Iterator[str]:
    words = service.get("command", [])
    if "--mirror" in words:
        host, port = words[words.index("--mirror") + 1].removeprefix("http://").split(":")
        if host not in laid or f"--port {port}" not in " ".join(laid[host]["command"]):
            yield f"nobody serves {host}:{port}"
        elif "hub" not in service.get("depends_on", {}):
            yield f"it does not wait for {host}"


def environment(service: Mapping[str, Any]) -> dict[str, str]:
    """What a service is given by value; a name alone is passed on."""
    given = service.get("environment", {})
    return {name: str(value) for name, value in given.items()} if isinstance(given, dict) else {}


def _extended(file: str, name: str) -> dict[str, Any]:
    service = dict(_read(file)["services"][name])
    extends = service.pop("extends", None)
    if not extends:
        return service
    return _over(_extended(extends.get("file", file), extends["service"]), service)


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    result = copy.deepcopy(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = _over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _read(file: str) -> dict[str, Any]:
    text = (COMPOSE / file).read_text()
    content: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(lambda found: found[2] or "", text))
    return content
