"""A process that ends anywhere: around any commit, signature or broadcast. Then every effect once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_chain import FakeChain
from tests.wallets.minting.lane_world import LeapClock, World, new_store
from wallets.minting.requests import request_return


class CrashError(Exception):
    """The process ends here."""


class Fuse:
    """Counts the steps that matter and burns at one of them."""

    def __init__(self, at: int | None) -> None:
        self.at = at
        self.steps: list[str] = []

    def step(self, name: str) -> None:
        self.steps.append(name)
        if len(self.steps) - 1 == self.at:
            raise CrashError(name)


class CrashingStore:
    """A store whose process may end just before or just after a commit."""

    def __init__(self, store: Any, fuse: Fuse) -> None:
        self._store = store
        self._fuse = fuse
        self.dialect = store.dialect
        self.signals = store.signals

    async def read(self, query: Any) -> Any:
        return await self._store.read(query)

    async def write(self, unit: Any, **options: Any) -> Any:
        name = getattr(unit, "__qualname__", repr(unit)).split(".<locals>")[0]
        self._fuse.step(f"before {name}")
        value = await self._store.write(unit, **options)
        self._fuse.step(f"after {name}")
        return value


class CrashingSigner:
    """A signer whose process may end once it has signed."""

    def __init__(self, signer: Any, fuse: Fuse) -> None:
        self._signer = signer
        self._fuse = fuse

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*args: Any) -> Any:
            value = await getattr(self._signer, name)(*args)
            if name != "address":
                self._fuse.step(f"after {name}")
            return value

        return call


class CrashingChain:
    """A chain that takes a transaction from a process that does not live to hear of it."""

    def __init__(self, chain: FakeChain, fuse: Fuse) -> None:
        self._chain = chain
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chain, name)

    async def send_raw(self, raw: bytes) -> bytes:
        tx_hash = await self._chain.send_raw(raw)
        self._fuse.step("after send_raw")
        return tx_hash


async def _live(shop: World, legs: list[str]) -> None:
    """One life of the process: open, define, request, mint, return; each part only if it is not done."""
    minting = await shop.open(batch_items=3, code_minter=True)
    await shop.define(1)
    await shop.define(2, cap=10, numbered=True)
    if not legs:
        requests = [shop.a_request(1, customer=index) for index in range(4)]
        requests += [shop.a_request(2, serial=serial, customer=serial) for serial in (1, 2)]
        legs.extend(await shop.request(*requests))
    await shop.settle(minting)
    await shop.store.write(lambda uow: request_return(uow, legs[0]))
    await shop.settle(minting)


async def _run(directory: Path, at: int | None) -> tuple[Fuse, FakeChain, World, list[str]]:
    directory.mkdir()
    chain, clock, legs, fuse = FakeChain(), LeapClock(), [], Fuse(at)
    store = new_store(directory, clock)
    shop = World(CrashingStore(store, fuse), CrashingChain(chain, fuse), clock)
    shop.signer = CrashingSigner(shop.signer, fuse)
    try:
        await _live(shop, legs)
    except CrashError:
        await store.close()
        survivor = World(new_store(directory, clock), chain, clock)
        survivor.order_id = shop.order_id
        if not legs:
            # The request itself may have been committed though its caller did not live to know.
            legs.extend(view.leg_id for view in await survivor.mints())
        shop = survivor
        await _live(shop, legs)
    return fuse, chain, shop, legs


async def test_a_process_that_ends_anywhere_is_resumed_with_every_effect_once(tmp_path: Path) -> None:
    fuse, *_ = await _run(tmp_path / "whole", None)
    assert {"after sign_transaction", "after send_raw", "after sign_digest"} <= set(fuse.steps)
    for at, name in enumerate(fuse.steps):
        _, chain, shop, legs = await _run(tmp_path / str(at), at)
        where = f"crash {at}: {name}"
        assert len(legs) == 6, where
        assert len(chain.state.contracts) == 1, where
        assert chain.state.supply == {1: 4, 2: 2}, where
        assert chain.state.balances["treasury", 1] == 1, where
        assert len(chain.state.serials) == 2, where
        await shop.check_told_once(legs)
        assert (await shop.told(legs[0]))[-1] == "returned", where
        assert (await shop.told(legs[0])).count("returned") == 1, where
        nonces = [tx.nonce for tx in await shop.txs() if tx.lane.endswith("minter/0")]
        assert nonces == list(range(len(nonces))), where
        store = shop.store
        await getattr(store, "_store", store).close()


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash of the process, not of the machine: no need to wait for the disk in a hundred short lives."""
    import gateway.kernel.store.sqlite as module

    connect = module.connect

    def without_sync(path: Path, *, read_only: bool = False) -> Any:
        raw, core = connect(path, read_only=read_only)
        raw.execute("PRAGMA synchronous=OFF")
        return raw, core

    monkeypatch.setattr(module, "connect", without_sync)
