"""A model whose algorithm comes from outside: built, saved, and loaded where nobody has imported it yet."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from libmoe.config import algorithms
from libmoe.config.errors import ConfigError
from libmoe.config.run import RunSpec
from libmoe.model import LibmoeForConditionalGeneration
from libmoe.model.build import build_model
from libmoe.moe.routers import registry

MakeSpec = Callable[..., RunSpec]
GUIDE = Path(__file__).parents[3] / "docs" / "moe.md"


def forget(name: str) -> None:
    """As in a process that has not imported it."""
    del registry._ROUTERS[name, "published"]
    algorithms.registered.discard(name)
    for module in [module for module in sys.modules if module.startswith("libmoe_plugin_")]:
        del sys.modules[module]


def test_the_documentations_algorithm_is_loaded_with_the_model(
    make_spec: MakeSpec, tmp_path: Path, batch: dict[str, torch.Tensor]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    path = tmp_path / "my_routers.py"
    path.write_text(code)
    spec = make_spec("sft", {"moe": {"plugin": str(path), "name": "smoe_tempered"}})
    model = build_model(spec).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(3):
        loss = model(**batch).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[2] < losses[0]
    model.save_pretrained(tmp_path / "model")
    expected = model.eval()(**batch).logits
    forget("smoe_tempered")
    loaded = LibmoeForConditionalGeneration.from_pretrained(tmp_path / "model")
    assert torch.equal(loaded(**batch).logits, expected)
    forget("smoe_tempered")
    path.unlink()
    with pytest.raises(ConfigError, match=r"moe\.plugin names the file .*my_routers\.py, which is not there"):
        LibmoeForConditionalGeneration.from_pretrained(tmp_path / "model")
