"""Minting as a whole: one contract, its lanes, and how they start, stop and recover."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import structlog
from sqlalchemy import func, select

from gateway.kernel.errors import UnavailableError
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, Store
from wallets.minting import deployment
from wallets.minting.backlog import Backlog, mints_that_wait
from wallets.minting.chain.deploy import deployment_data
from wallets.minting.chain.port import ChainClient, ChainUnavailable
from wallets.minting.claims import LaneKey
from wallets.minting.contract.artifact import load_artifact
from wallets.minting.deployment import Contract
from wallets.minting.lane import MintLane
from wallets.minting.model import (
    ContractState,
    MintingSettings,
    OnClaimed,
    OnOutcomes,
    ReturnState,
    TxState,
)
from wallets.minting.own_contracts import own_contracts
from wallets.minting.requests import MINTS_SIGNAL
from wallets.minting.tables import chain_tx, mint
from wallets.minting.waiting import LaneDuties
from wallets.signer import Signer

log = structlog.get_logger(__name__)

TREASURY_KEY = "treasury"
_SETUP_LOCK = "minting.setup"

_RETURNS = Statement(
    select(func.count().label("count"))
    .select_from(mint)
    .where(mint.c.return_state == ReturnState.REQUESTED.value)
)
_OPEN = Statement(
    select(func.count().label("count"))
    .select_from(chain_tx)
    .where(chain_tx.c.state.in_([TxState.CLAIMED.value, TxState.SIGNED.value, TxState.MINED.value]))
)


@dataclass(frozen=True, slots=True)
class MintingStatus:
    """For metrics and health. ``last_errors`` holds what each lane that is backing off waits for.

    ``queued`` counts what the lanes take next, ``held`` what waits for its merchant's gas of the next day,
    ``parked`` what waits for a person.
    """

    contract: str
    chain_id: int
    queued: int
    open_transactions: int
    returns_waiting: int
    last_errors: tuple[str, ...]
    held: int = 0
    parked: int = 0


def minter_keys(settings: MintingSettings) -> list[str]:
    """Return the names of the keys that must be able to pay for gas, the contract's owner first."""
    return [f"minter/{index}" for index in range(settings.minters + int(settings.code_minter))]


async def minter_addresses(signer: Signer, settings: MintingSettings) -> list[str]:
    """Return the addresses of `minter_keys`, for instance to fund them on the embedded chain."""
    return [await signer.address(key) for key in minter_keys(settings)]


async def known_chain(store: Store) -> int | None:
    """Return the chain that this database has minted on, None if there was none or more than one."""
    known = [one for one in await store.read(deployment.contracts) if _stands(one)]
    return known[0].chain_id if len(known) == 1 else None


class Minting:
    """`open` it, `start` it once, and `stop` it before the store and the chain client close."""

    def __init__(self, store: Store, contract: Contract, lanes: Sequence[MintLane]) -> None:
        """Use `open`."""
        self._store = store
        self._contract = contract
        self._lanes = lanes
        self._running: list[asyncio.Task[None]] = []
        for lane in lanes:
            lane.contract = contract.address
        store.signals.on(MINTS_SIGNAL, self.wake)

    @classmethod
    async def open(
        cls,
        client: ChainClient,
        signer: Signer,
        store: Store,
        settings: MintingSettings,
        *,
        on_outcomes: OnOutcomes,
        on_claimed: OnClaimed,
    ) -> Self:
        """Return it with the contract deployed, exactly once, and every lane's key allowed to mint.

        The first start sends transactions and waits until they are final, at most ``start_timeout_s``; a
        later one needs no chain. Raises UnavailableError ``minting.minter_unfunded`` if a key cannot pay for
        its first transactions, ``minting.not_ready`` at the time limit, ``minting.contract_missing`` if the
        chain does not have the contract that was deployed: it is another chain, or its state was lost.
        """
        keys = minter_keys(settings)
        addresses = [await signer.address(key) for key in keys]
        try:
            chain_id = await client.chain_id()
        except ChainUnavailable:
            known = await known_chain(store)
            if known is None:
                raise
            # The node is away, the shop is not: mints wait in their queue.
            chain_id = known
        lane_keys = [LaneKey(key, address, chain_id) for key, address in zip(keys, addresses, strict=True)]
        lanes = [
            MintLane(
                client,
                signer,
                store,
                settings,
                key,
                _duties(index, settings),
                on_outcomes=on_outcomes,
                on_claimed=on_claimed,
            )
            for index, key in enumerate(lane_keys)
        ]
        contract = await store.read(lambda reader: deployment.contract_of(reader, chain_id))
        is_ready = await store.read(lambda reader: deployment.enabled(reader, lane_keys))
        if contract is None or not _stands(contract) or not is_ready:
            setup = _Setup(client, signer, store, settings, lanes)
            try:
                async with asyncio.timeout(settings.start_timeout_s):
                    contract = await setup.run()
            except TimeoutError as error:
                raise UnavailableError(
                    "minting.not_ready", "The contract is not deployed yet; the next start goes on."
                ) from error
        await _check_present(client, contract)
        for own in await store.read(own_contracts):
            if own.chain_id != chain_id:
                log.error(
                    "minting.contract_on_another_chain",
                    merchant_id=own.merchant_id,
                    contract=own.name,
                    chain_id=own.chain_id,
                )
        return cls(store, contract, lanes)

    @property
    def contract(self) -> str:
        """The contract's address."""
        return self._contract.address

    @property
    def chain_id(self) -> int:
        """The chain's EIP-155 id."""
        return self._contract.chain_id

    def start(self) -> None:
        """Begin working, with what an earlier process left open first; call it on the running event loop."""
        assert not self._running
        for lane in self._lanes:
            lane.wake()
            self._running.append(asyncio.create_task(lane.run(), name=f"mint-lane {lane.key.key_ref}"))

    async def stop(self) -> None:
        """Finish the step at hand of every lane. What is open stays in its rows."""
        for lane in self._lanes:
            lane.stop()
        await asyncio.gather(*self._running)
        self._running.clear()

    async def recover(self) -> None:
        """Do one step of every lane: sign what was claimed, send what was signed, settle what is in blocks.

        `start` does the same by itself; this is for those who want it done before they go on. Raises what the
        chain raises.
        """
        for lane in self._lanes:
            await lane.step()

    def wake(self) -> None:
        """Something may have been queued."""
        for lane in self._lanes:
            lane.wake()

    async def status(self) -> MintingStatus:
        """Return counts for metrics and health."""

        def count(reader: Reader) -> tuple[Backlog, list[int]]:
            found = [reader.row(statement) for statement in (_OPEN, _RETURNS)]
            return mints_that_wait(reader), [0 if row is None else row.count for row in found]

        mints, (in_flight, returns) = await self._store.read(count)
        errors = tuple(lane.last_error for lane in self._lanes if lane.last_error is not None)
        return MintingStatus(
            self.contract, self.chain_id, mints.queued, in_flight, returns, errors, mints.held, mints.parked
        )


class _Setup:
    """The first start: the owner's lane carries out the deployment and what allows the other keys to mint."""

    def __init__(
        self,
        client: ChainClient,
        signer: Signer,
        store: Store,
        settings: MintingSettings,
        lanes: Sequence[MintLane],
    ) -> None:
        self._client = client
        self._signer = signer
        self._store = store
        self._settings = settings
        self._owner = lanes[0]
        self._keys = [lane.key for lane in lanes]

    async def run(self) -> Contract:
        """Return the contract once it stands and every key may mint on it."""
        await self._check_funded()
        owner = self._owner.key
        nonces = {key: await self._client.nonce(key.address) for key in self._keys}
        await self._store.write(lambda uow: deployment.prepare_lanes(uow, nonces))
        creation = deployment_data(
            load_artifact(),
            base_uri=self._settings.base_uri,
            treasury=await self._signer.address(TREASURY_KEY),
            royalty_receiver=await self._signer.address(TREASURY_KEY),
            royalty_bps=self._settings.royalty_bps,
        )
        await self._store.write(lambda uow: deployment.deploy_once(uow, owner, creation), locks=[_SETUP_LOCK])
        while True:
            contract = await self._store.read(lambda reader: deployment.contract_of(reader, owner.chain_id))
            assert contract is not None
            if contract.state is ContractState.FAILED:
                raise UnavailableError(
                    "minting.not_ready", "The chain reverted the deployment of the contract."
                )
            if _stands(contract):
                address = contract.address
                await self._store.write(
                    functools.partial(
                        deployment.enable_once, owner=owner, contract=address, lanes=self._keys
                    ),
                    locks=[_SETUP_LOCK],
                )
                if await self._store.read(lambda reader: deployment.enabled(reader, self._keys)):
                    return contract
            await self._step()

    async def _step(self) -> None:
        try:
            wait_s, _ = await self._owner.step()
        except ChainUnavailable as error:
            log.warning("minting.waits_for_chain", error=repr(error))
            wait_s = 1.0
        await asyncio.sleep(min(wait_s, self._settings.poll_ms / 1000))

    async def _check_funded(self) -> None:
        for key in self._keys:
            if not await self._client.balance(key.address):
                raise UnavailableError(
                    "minting.minter_unfunded",
                    f"The account {key.address} ({key.key_ref}) cannot pay for gas; fund it.",
                )


def _duties(index: int, settings: MintingSettings) -> LaneDuties:
    if index == settings.minters:
        return LaneDuties(plain=False, code=True, first=False)
    return LaneDuties(plain=True, code=not settings.code_minter and index == 0, first=index == 0)


def _stands(contract: Contract) -> bool:
    return contract.state is ContractState.DEPLOYED


async def _check_present(client: ChainClient, contract: Contract) -> None:
    try:
        code = await client.code(contract.address)
    except ChainUnavailable as error:
        log.warning("minting.contract_not_checked", error=repr(error))
        return
    if not code:
        raise UnavailableError(
            "minting.contract_missing",
            f"The contract {contract.address} is not on chain {contract.chain_id}, where it was deployed.",
        )
