"""A whole vault on SQLite and on PostgreSQL, and somebody who writes to its database past it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.pool import NullPool

from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import TimeSortedIds
from tests.support.postgres import require_server
from tests.wallets.vault.sealing import one_card_key
from tests.wallets.vault.shop import Shop
from wallets.vault.audit import Actor
from wallets.vault.audit_chain import Head
from wallets.vault.audit_verifying import Verdict, verify_audit
from wallets.vault.embedded import EmbeddedVault, open_embedded_vault
from wallets.vault.kms_local import LocalKms

CUSTODIAN = Actor("custodian", "kim", "desk-7")


class Vaults:
    """One database and its keys; any number of vaults opened on them, one after another or together."""

    def __init__(self, directory: Path, url: str, core_url: str) -> None:
        self.directory = directory
        self.url = url
        """Empty on SQLite."""
        self._core_url = core_url
        self.clock = SystemClock()
        self.ids = TimeSortedIds(self.clock)
        self._open: list[EmbeddedVault] = []

    @property
    def keys(self) -> Path:
        return self.directory / "keys"

    @property
    def kms(self) -> LocalKms:
        """The keys as another process sees them: nothing of them is remembered."""
        return LocalKms(self.keys)

    async def open(self, **options: Any) -> EmbeddedVault:
        vault = await open_embedded_vault(
            self.directory,
            self.clock,
            self.ids,
            database_url=self.url,
            make_card_key=one_card_key,
            strict=True,
            **options,
        )
        self._open.append(vault)
        return vault

    async def close(self, vault: EmbeddedVault) -> None:
        self._open.remove(vault)
        await vault.close()

    async def close_all(self) -> None:
        for vault in list(self._open):
            await self.close(vault)

    def shop(self, vault: EmbeddedVault) -> Shop:
        return Shop(vault, self.clock, self.ids)

    def sql(self, text: str, **values: Any) -> list[tuple[Any, ...]]:
        """Run SQL on a connection of its own, as somebody who has come at the database would."""
        from sqlalchemy import text as core_text

        engine = create_engine(self._core_url, poolclass=NullPool)
        if not self.url:
            event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA busy_timeout=30000"))
        with engine.begin() as connection:
            result = connection.execute(core_text(text), values)
            return [tuple(row) for row in result] if result.returns_rows else []

    def past_the_triggers(self, text: str) -> None:
        """Change the audit trail as an administrator of the database could."""
        if self.url:
            self.sql(f"SET session_replication_role = replica; {text}")
            return
        kept = self.sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        for name, _ in kept:
            self.sql(f"DROP TRIGGER {name}")
        self.sql(text)
        for _, made in kept:
            self.sql(made.replace(":", r"\:"))

    async def verdict(self, vault: EmbeddedVault, *anchors: Head) -> Verdict:
        return await verify_audit(vault.store, self.kms, anchors)


@pytest.fixture(params=["sqlite", "postgresql"])
async def vaults(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Vaults]:
    """Import it into a test module."""
    if request.param == "sqlite":
        found = Vaults(tmp_path / "vault", "", f"sqlite:///{tmp_path / 'vault' / 'vault.db'}")
        yield found
        await found.close_all()
        return
    server = require_server()
    name = server.create_database()
    core_url = server.url(name)
    found = Vaults(tmp_path / "vault", core_url.replace("+psycopg", ""), core_url)
    yield found
    await found.close_all()
    server.drop_database(name)
