"""Which node of how many this is: what the command line says, else the scheduler that started it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from entrypoint.launch.nodes.nodelist import expand
from libmoe.config.errors import ConfigError

_PORT = 29500


@dataclass(frozen=True)
class Place:
    """This node among all; ``origins`` has where each value came from."""

    nodes: int = 1
    rank: int = 0
    master_addr: str = "127.0.0.1"
    master_port: int = _PORT
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Where node 0 waits for the others."""
        return f"{self.master_addr}:{self.master_port}"

    def sentence(self) -> str:
        """The place in words, with origins."""
        if self.nodes == 1:
            return f"1 ({self.origins['nnodes']})" if "nnodes" in self.origins else "1"
        return (
            f"{self.nodes} ({self.origins['nnodes']}), this is {self.rank} ({self.origins['node_rank']}), "
            f"node 0 at {self.where} "
            f"({self.origins['master_addr']}, {self.origins['master_port']})"
        )


@dataclass(frozen=True)
class Flag:
    """A value of the command line and how it was given: the flag's or the variable's name."""

    value: str | int
    origin: str


def find_place(flags: Mapping[str, Flag], environ: Mapping[str, str]) -> Place:
    """Each of ``nnodes``, ``node_rank``, ``master_addr`` and ``master_port`` from the first that speaks:
    flags, torchrun's ``PET_*``, a Kubernetes Indexed Job's index, SLURM.

    Raises:
        ConfigError: a value is missing, wrong, or does not fit another.
    """
    found = {
        name: spoken
        for name in ("nnodes", "node_rank", "master_addr", "master_port")
        if (spoken := _first(name, flags, environ))
    }
    nodes, rank = _number(found, "nnodes"), _number(found, "node_rank")
    if nodes is None:
        if rank:
            raise ConfigError(
                f"{found['node_rank'].origin} says that this is node {rank}, but nothing says of how many: "
                "give --nnodes, or --nnodes 1 if each node trains by itself."
            )
        return Place()
    if nodes < 1:
        raise ConfigError(f"{found['nnodes'].origin} asks for {nodes} nodes: it takes one at least.")
    if nodes == 1:
        return _single(found, flags, rank)
    _check_one_task_a_node(found["nnodes"], environ)
    if rank is None:
        raise ConfigError(
            f"{found['nnodes'].origin} asks for {nodes} nodes, but not which one this is: --node-rank."
        )
    if not 0 <= rank < nodes:
        raise ConfigError(
            f"{found['node_rank'].origin} says that this is node {rank}, but {found['nnodes'].origin} asks "
            f"for {nodes} nodes, which are 0 to {nodes - 1}."
        )
    if "master_addr" not in found:
        raise ConfigError(
            f"{found['nnodes'].origin} asks for {nodes} nodes, but nothing says where node 0 is: "
            "give its name or address as --master-addr, the same on all nodes."
        )
    port = _number(found, "master_port")
    if port is not None and not 0 < port < 2**16:
        raise ConfigError(f"{found['master_port'].origin} gives {port}, which is not a port.")
    origins = {"master_port": "default"} | {name: flag.origin for name, flag in found.items()}
    return Place(nodes, rank, str(found["master_addr"].value), port or _PORT, origins)


def _single(found: Mapping[str, Flag], flags: Mapping[str, Flag], rank: int | None) -> Place:
    if rank and "node_rank" in flags:
        raise ConfigError(
            f"{flags['node_rank'].origin} says that this is node {rank}, but there is only node 0."
        )
    return Place(origins={"nnodes": found["nnodes"].origin})


def _first(name: str, flags: Mapping[str, Flag], environ: Mapping[str, str]) -> Flag | None:
    if name in flags:
        return flags[name]
    for source in (_torchrun, _indexed_job, _slurm):
        if spoken := source(name, environ):
            return spoken
    return None


def _torchrun(name: str, environ: Mapping[str, str]) -> Flag | None:
    variable = f"PET_{name.upper()}"
    value = environ.get(variable)
    if not value:
        return None
    low, _, high = value.partition(":")
    if name == "nnodes" and high:
        if low != high:
            raise ConfigError(f"{variable}={value} lets the number of nodes change; libmoe wants it fixed.")
        value = low
    return Flag(value, variable)


def _indexed_job(name: str, environ: Mapping[str, str]) -> Flag | None:
    index = environ.get("JOB_COMPLETION_INDEX")
    return Flag(index, "JOB_COMPLETION_INDEX") if name == "node_rank" and index else None


def _slurm(name: str, environ: Mapping[str, str]) -> Flag | None:
    variables: dict[str, tuple[tuple[str, ...], Callable[[str], str]]] = {
        "nnodes": (("SLURM_NNODES",), str),
        "node_rank": (("SLURM_NODEID",), str),
        "master_addr": (("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"), _first_host),
    }
    names, read = variables.get(name, ((), str))
    variable = next((known for known in names if environ.get(known)), None)
    return Flag(read(environ[variable]), variable) if variable else None


def _first_host(nodelist: str) -> str:
    try:
        return expand(nodelist)[0]
    except ValueError as error:
        raise ConfigError(
            f"SLURM's node list {nodelist!r} cannot be read ({error}): give node 0's name as --master-addr."
        ) from error


def _check_one_task_a_node(nodes: Flag, environ: Mapping[str, str]) -> None:
    if nodes.origin == "SLURM_NNODES" and environ.get("SLURM_LOCALID", "0") != "0":
        raise ConfigError(
            "SLURM started several tasks on this node, but libmoe starts the ranks itself: "
            "use srun --ntasks-per-node=1."
        )


def _number(found: Mapping[str, Flag], name: str) -> int | None:
    if name not in found:
        return None
    try:
        return int(found[name].value)
    except ValueError:
        raise ConfigError(f"{found[name].origin} is {found[name].value!r}, which is not a number.") from None
