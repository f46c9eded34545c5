"""Whether an outside wallet runs code when it is given a token. Custodial accounts are known to have none."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, select, update

from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Lane, Store, UnitOfWork
from wallets.minting.chain.port import ChainClient
from wallets.minting.model import MintState, Receiver
from wallets.minting.tables import mint

_AT_ONCE = 50
_REMEMBERED = 10_000
_GOOD_FOR_S = 600.0

_UNKNOWN = Statement(
    select(mint.c.leg_id, mint.c.recipient, mint.c.attempts)
    .where(mint.c.state == MintState.QUEUED.value, mint.c.receiver == Receiver.UNKNOWN.value)
    .order_by(mint.c.queued_at_ms)
    .limit(_AT_ONCE)
)
_SORT = Statement(
    update(mint)
    .where(
        mint.c.leg_id == bindparam("leg_id_"),
        mint.c.state == MintState.QUEUED.value,
        mint.c.receiver == Receiver.UNKNOWN.value,
    )
    .values(receiver=bindparam("receiver"))
)


class Recipients:
    """Asks the chain once per address and remembers the answer for ten minutes.

    A wrong "no code" is nearly harmless: the contract isolates every recipient with code, wherever it is in a
    batch, and reverts as a whole if the batch has not the gas for that. Then such recipients go alone.
    """

    def __init__(self, client: ChainClient, store: Store) -> None:
        self._client = client
        self._store = store
        self._known: OrderedDict[str, tuple[float, Receiver]] = OrderedDict()

    async def sort(self) -> int:
        """Sort queued mints to outside wallets, at most fifty; returns how many."""
        unknown: list[Any] = await self._store.read(lambda reader: reader.rows(_UNKNOWN))
        if not unknown:
            return 0
        # What was in a batch that was reverted goes alone, whatever the chain says of it now: a wallet that
        # gets code after it was asked about (EIP-7702), and burns gas, spoils one batch and no second.
        fresh = {row.recipient for row in unknown if not row.attempts}
        kinds = {address: await self._kind(address) for address in fresh}
        found = [
            {
                "leg_id_": row.leg_id,
                "receiver": (Receiver.CODE if row.attempts else kinds[row.recipient]).value,
            }
            for row in unknown
        ]
        await self._store.write(lambda uow: _record(uow, found), lane=Lane.BACKGROUND)
        return len(unknown)

    async def _kind(self, address: str) -> Receiver:
        now = asyncio.get_running_loop().time()
        at, kind = self._known.get(address, (0.0, Receiver.UNKNOWN))
        if kind is Receiver.UNKNOWN or now - at > _GOOD_FOR_S:
            # An account delegated by EIP-7702 has code too, and may refuse.
            kind = Receiver.CODE if await self._client.code(address) else Receiver.PLAIN
            self._known[address] = (now, kind)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return kind


def _record(uow: UnitOfWork, found: Sequence[dict[str, str]]) -> None:
    uow.run_many(_SORT, found)
