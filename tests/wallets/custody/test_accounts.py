from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.store.schema import metadata
from gateway.kernel.store.sqlite import SqliteStore, connect
from wallets.custody.accounts import Custody, account_of
from wallets.custody.local_signer import LocalSigner
from wallets.custody.sealed_seed import SealedSeed


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    path = tmp_path / "gateway.db"
    raw, core = connect(path)
    metadata.create_all(core)
    core.close()
    raw.close()
    clock = ManualClock()
    opened = SqliteStore(path, clock, TimeSortedIds(clock), strict=True, rehearse=True)
    yield opened
    await opened.close()


@pytest.fixture
def signer() -> LocalSigner:
    return LocalSigner(SealedSeed(bytes(range(64))))


async def test_a_customer_has_one_account(store: SqliteStore, signer: LocalSigner) -> None:
    custody = Custody(signer, store)
    address = await custody.ensure_account("cus_1")
    assert await custody.ensure_account("cus_1") == address
    assert await Custody(signer, store).ensure_account("cus_1") == address
    account = await custody.account("cus_1")
    assert await signer.address(account.key_ref) == address


async def test_accounts_are_numbered_densely(store: SqliteStore, signer: LocalSigner) -> None:
    custody = Custody(signer, store)
    accounts = await asyncio.gather(*(custody.account(f"cus_{index}") for index in range(200)))
    assert sorted(account.account_index for account in accounts) == list(range(200))
    assert len({account.address for account in accounts}) == 200


async def test_concurrent_callers_get_the_same_account(store: SqliteStore, signer: LocalSigner) -> None:
    both = [Custody(signer, store), Custody(signer, store)]
    addresses = await asyncio.gather(*(both[index % 2].ensure_account("cus_1") for index in range(50)))
    assert len(set(addresses)) == 1


async def test_an_account_is_read_in_a_unit_of_somebody_else(store: SqliteStore, signer: LocalSigner) -> None:
    assert await store.read(lambda reader: account_of(reader, "cus_1")) is None
    address = await Custody(signer, store).ensure_account("cus_1")
    account = await store.write(lambda uow: account_of(uow, "cus_1"))
    assert account is not None
    assert (account.address, account.key_ref) == (address, "customer/0")


async def test_an_account_whose_address_was_never_stored_is_completed(
    store: SqliteStore, signer: LocalSigner
) -> None:
    class Dying:
        async def address(self, key_ref: str) -> str:
            raise RuntimeError("the process ends here")

    dying: Any = Dying()
    with pytest.raises(RuntimeError):
        await Custody(dying, store).ensure_account("cus_1")
    assert await store.read(lambda reader: account_of(reader, "cus_1")) is None
    account = await Custody(signer, store).account("cus_1")
    assert account.account_index == 0
    assert await store.read(lambda reader: account_of(reader, "cus_1")) == account
