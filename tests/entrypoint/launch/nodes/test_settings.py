"""Which node this is: flags, then torchrun's, Kubernetes' and SLURM's variables."""

import pytest

from entrypoint.launch.nodes.settings import Flag, Place, find_place
from libmoe.config.errors import ConfigError

SLURM = {"SLURM_NNODES": "4", "SLURM_NODEID": "3", "SLURM_JOB_NODELIST": "gpu[01-03,07]"}
KUBERNETES = {"JOB_COMPLETION_INDEX": "2", "PET_NNODES": "3", "PET_MASTER_ADDR": "job-0.libmoe"}


def flags(**given: str | int) -> dict[str, Flag]:
    return {name: Flag(value, f"--{name.replace('_', '-')}") for name, value in given.items()}


def where(place: Place) -> tuple[int, int, str, int]:
    return place.nodes, place.rank, place.master_addr, place.master_port


def test_nothing_said_is_one_node() -> None:
    assert where(find_place({}, {})) == (1, 0, "127.0.0.1", 29500)


def test_slurm_alone() -> None:
    place = find_place({}, SLURM)
    assert where(place) == (4, 3, "gpu01", 29500)
    assert place.sentence() == (
        "4 (SLURM_NNODES), this is 3 (SLURM_NODEID), node 0 at gpu01:29500 (SLURM_JOB_NODELIST, default)"
    )


def test_a_step_on_fewer_nodes_counts_from_its_own_first() -> None:
    assert find_place({}, SLURM | {"SLURM_STEP_NODELIST": "gpu[02-03]"}).master_addr == "gpu02"


def test_an_indexed_job() -> None:
    place = find_place({}, KUBERNETES)
    assert where(place) == (3, 2, "job-0.libmoe", 29500)
    assert place.origins["node_rank"] == "JOB_COMPLETION_INDEX"


def test_each_value_comes_from_the_first_that_speaks() -> None:
    pet = {"PET_NODE_RANK": "1", "PET_MASTER_PORT": "4444", "PET_NNODES": "5:5"}
    place = find_place(flags(master_addr="here"), {**SLURM, **KUBERNETES, **pet})
    assert where(place) == (5, 1, "here", 4444)
    assert set(place.origins.values()) == {"--master-addr", "PET_NODE_RANK", "PET_MASTER_PORT", "PET_NNODES"}
    assert find_place(flags(node_rank=0), {**SLURM, **KUBERNETES, **pet}).rank == 0


def test_one_node_of_a_sweep_trains_by_itself() -> None:
    assert where(find_place(flags(nnodes=1), KUBERNETES))[:2] == (1, 0)


@pytest.mark.parametrize(
    ("given", "environ", "sentence"),
    [
        (flags(nnodes=2), {}, "not which one this is: --node-rank"),
        (flags(nnodes=2, node_rank=2, master_addr="a"), {}, "node 2, but --nnodes asks for 2 nodes.* 0 to 1"),
        (flags(nnodes=2, node_rank=1), {}, "where node 0 is: .*--master-addr"),
        (flags(nnodes=1, node_rank=1), {}, "there is only node 0"),
        (flags(node_rank=1), {}, "nothing says of how many: give --nnodes"),
        ({}, {"JOB_COMPLETION_INDEX": "1"}, "JOB_COMPLETION_INDEX says .* node 1, .*--nnodes 1 if each"),
        ({}, {"PET_NNODES": "1:4"}, "lets the number of nodes change"),
        ({}, {"PET_NNODES": "two"}, "PET_NNODES is 'two', which is not a number"),
        ({}, {"PET_NNODES": "0"}, "one at least"),
        ({}, SLURM | {"SLURM_JOB_NODELIST": "gpu["}, "node list 'gpu\\[' cannot be read"),
        ({}, SLURM | {"SLURM_LOCALID": "1"}, "--ntasks-per-node=1"),
        (
            flags(nnodes=2, node_rank=0, master_addr="a"),
            {"PET_MASTER_PORT": "99999"},
            "99999, which is not a port",
        ),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Flag], environ: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        find_place(given, environ)
