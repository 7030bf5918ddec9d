"""What kubectl makes of our kustomizations."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

KUBERNETES = Path(__file__).parents[2] / "compose/kubernetes"

Object = dict[str, Any]


def render(folder: Path) -> list[Object]:
    """The objects that ``kubectl apply --kustomize FOLDER`` would send."""
    if shutil.which("kubectl") is None:
        missing = "There is no kubectl to render the Kubernetes overlays with: install 1.27 or newer."
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def above(
    folder: Path, resources: Sequence[str], components: Sequence[str] = (), **fields: Any
) -> list[Object]:
    """The same for a kustomization that a user lays over ours, as in ``namePrefix="a-"``."""
    content = {
        "resources": [_relative(name, folder) for name in resources],
        "components": [_relative(name, folder) for name in components],
        **fields,
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return render(folder)


def _relative(name: str, folder: Path) -> str:
    return os.path.relpath(KUBERNETES / name, folder.resolve())
