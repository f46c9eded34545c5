"""What tests of several packages share."""

from __future__ import annotations

import pytest

from tests.support.seed import Seed, make_seed


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Seed:
    """The sample catalog's data directory, made once."""
    return make_seed(tmp_path_factory.mktemp("seed") / "data")
