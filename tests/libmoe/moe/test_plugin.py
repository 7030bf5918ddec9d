"""Algorithms from outside; the documentation's example is one of them."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from libmoe.config import algorithms
from libmoe.config.errors import ConfigError
from libmoe.config.schema import MoEConfig
from libmoe.moe import MoEMLP
from libmoe.moe.routers import make_router, registry

MakeLayer = Callable[..., MoEMLP]
GUIDE = Path(__file__).parents[3] / "docs" / "moe.md"


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Whatever is imported and registered meanwhile is forgotten."""
    routers, names, modules = dict(registry._ROUTERS), set(algorithms.registered), set(sys.modules)
    yield
    registry._ROUTERS.clear()
    registry._ROUTERS.update(routers)
    algorithms.registered.intersection_update(names)
    for module in set(sys.modules) - modules:
        del sys.modules[module]


@pytest.fixture
def example(tmp_path: Path, forgetful: None) -> Path:
    """The documentation's code block as a file."""
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    path = tmp_path / "my_routers.py"
    path.write_text(code)
    return path


def test_the_example_is_short(example: Path) -> None:
    assert len(example.read_text().splitlines()) < 60


def test_the_example_starts_as_the_dense_layer_and_learns(
    make_layer: MakeLayer, dense: nn.Module, x: Tensor, example: Path
) -> None:
    layer = make_layer(distinct=False, plugin=str(example), name="smoe_tempered")
    torch.testing.assert_close(layer(x), dense(x), rtol=1e-14, atol=1e-15)
    target = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    losses = []
    for _ in range(40):
        loss = (layer(x) - target).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.6 * losses[0]
    assert layer.router.log_temperature.abs() > 0.01


def test_a_module_by_its_name(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(example.parent)
    router = make_router(8, MoEConfig(plugin="my_routers", name="smoe_tempered"))
    assert type(router).__module__ == "my_routers"


def test_a_name_that_this_process_has_registered_needs_no_plugin(example: Path) -> None:
    make_router(8, MoEConfig(plugin=str(example), name="smoe_tempered"))
    make_router(8, MoEConfig(name="smoe_tempered"))


@pytest.mark.usefixtures("forgetful")
def test_what_is_wrong_with_a_plugin(example: Path, tmp_path: Path) -> None:
    broken, lacking = tmp_path / "broken.py", tmp_path / "lacking.py"
    broken.write_text("import libmoe\n1 / 0")
    lacking.write_text("import no_such_dependency")
    for settings, problem in [
        ({"plugin": "no_such.module"}, r"'no_such.module' cannot be imported: install its package, put its"),
        ({"plugin": "gone.py"}, r"names the file gone.py, which is not there \(seen from /.*\): correct"),
        ({"plugin": str(broken)}, r"fails when it is imported \(ZeroDivisionError: division by zero\)"),
        ({"plugin": str(lacking)}, r"fails when it is imported \(ModuleNotFoundError: .*no_such_dependency"),
        ({"plugin": str(example), "name": "smoe_tempred"}, r"does not register it\): did you mean 'smoe_tem"),
    ]:
        with pytest.raises(ConfigError, match=problem):
            make_router(8, MoEConfig(**{"name": "smoe_tempered", **settings}))


@pytest.mark.usefixtures("forgetful")
def test_a_name_is_not_taken_twice(tmp_path: Path, example: Path) -> None:
    path = tmp_path / "taken.py"
    path.write_text(example.read_text().replace("smoe_tempered", "smoe"))
    with pytest.raises(
        ConfigError, match=r"registers the algorithm 'smoe', which libmoe\.moe\.routers\.smoe has"
    ):
        make_router(8, MoEConfig(plugin=str(path), name="smoe"))
