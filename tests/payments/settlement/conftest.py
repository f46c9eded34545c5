"""Books and payments on SQLite and PostgreSQL."""

from __future__ import annotations

from tests.ledger.conftest import clock, database, migrated_file, migrated_postgres, store
from tests.payments.settlement.world import World

__all__ = ["clock", "database", "migrated_file", "migrated_postgres", "store"]

import pytest

from gateway.kernel.store.unit import Store


@pytest.fixture
def world(store: Store) -> World:
    return World(store)
