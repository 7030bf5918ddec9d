import tomllib
from pathlib import Path

import pytest

from entrypoint.sample.build import CATALOG, build


@pytest.fixture(scope="session")
def served(tmp_path_factory) -> Path:
    """The sample as a tree to be served; read only."""
    root = tmp_path_factory.mktemp("served")
    build(root)
    return root


@pytest.fixture(scope="session")
def catalogue() -> dict:
    """The checked-in catalogue, as plain data."""
    return tomllib.loads(CATALOG.read_text(encoding="utf-8"))
