"""SLURM's host lists."""

import pytest

from entrypoint.launch.nodes.nodelist import expand


@pytest.mark.parametrize(
    ("nodelist", "hosts"),
    [
        ("login1", "login1"),
        ("gpu[01-03,07],login1", "gpu01 gpu02 gpu03 gpu07 login1"),
        ("a[9-11]", "a9 a10 a11"),
        ("rack[1-2]node[08-09].site", "rack1node08.site rack1node09.site rack2node08.site rack2node09.site"),
        ("n[1,3-4]x,m-2,k[5]", "n1x n3x n4x m-2 k5"),
    ],
)
def test_hosts_in_order(nodelist: str, hosts: str) -> None:
    assert expand(nodelist) == hosts.split()


@pytest.mark.parametrize("nodelist", ["", "gpu[", "gpu[1-", "gpu[a-b]", "a,,b", "gpu]1[", "(null) x"])
def test_what_is_no_list(nodelist: str) -> None:
    with pytest.raises(ValueError, match=r"names no host|not a range"):
        expand(nodelist)
