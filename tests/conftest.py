"""What tests of several packages share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.chance import choose_seed
from tests.support.seed import Seed, make_seed
from tests.support.stepped_gateway import make_plain_seed

choose_seed()


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are processors: most tests wait for other processes most of the time."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Seed:
    """The sample catalog's data directory, made once."""
    return make_seed(tmp_path_factory.mktemp("seed") / "data")


@pytest.fixture(scope="session")
def plain_seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for a gateway that mints nothing, made once."""
    return make_plain_seed(tmp_path_factory.mktemp("plain") / "data")
