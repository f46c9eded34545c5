"""Minting without a chain, for a stepped gateway: what a lane would record, when the test says so.

Mints are claimed and settled as the lanes do it, with the same moves and the same outcomes; only that no
transaction is signed or sent. An address may refuse tokens, and an edition may be sold out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import select, update

from gateway.kernel.events.model import Event
from gateway.kernel.store.unit import UnitOfWork
from gateway.orders.mint_facts import MintFacts
from gateway.orders.quotes import QuoteRules
from tests.support.stepped_gateway import SteppedGateway
from wallets.custody.linking import unlink_wallet
from wallets.custody.tables import custody_account, linked_wallet
from wallets.minting.model import MintOutcome, MintState, OutcomeKind, ReturnState, SkipCode
from wallets.minting.tables import mint

CHAIN_ID = 31337
CONTRACT = "0x00000000000000000000000000000000000000c0"
ACCOUNT = "0x00000000000000000000000000000000000000a1"
"""The customer's account here."""


class PaperLane:
    """The only lane of a gateway that was opened without minting."""

    def __init__(self, gateway: SteppedGateway) -> None:
        self._gateway = gateway
        self._facts = MintFacts(gateway.context.process)
        self._last_number = 0
        self.refusing: set[str] = set()
        """Addresses that take no tokens."""
        self.sold_out = False

    async def begin(self) -> None:
        """Let tokens be sold, into an account of the customer."""
        gateway = self._gateway
        gateway.context = replace(
            gateway.context,
            quotes=QuoteRules(mint=True),
            placing=replace(gateway.context.placing, chain_id=CHAIN_ID),
        )
        account = {
            "customer_id": gateway.who.customer_id,
            "account_index": 0,
            "address": ACCOUNT,
            "created_at_ms": 0,
        }
        await gateway.store.write(lambda uow: uow.core(custody_account.insert().values(account)))

    async def link(self, wallet_id: str, *, chain_id: int = CHAIN_ID, customer_id: str = "") -> str:
        """Link a wallet of the customer and return its address."""
        address = "0x" + wallet_id.encode().hex().zfill(40)
        row = {
            "wallet_id": wallet_id,
            "customer_id": customer_id or self._gateway.who.customer_id,
            "chain_id": chain_id,
            "address": address,
            "kind": "key",
            "message": "",
            "signature": "",
            "linked_at_ms": 0,
        }
        await self._gateway.store.write(lambda uow: link_unasked(uow, row))
        return address

    async def unlink(self, wallet_id: str) -> None:
        """Unlink a wallet."""
        customer_id = self._gateway.who.customer_id
        await self._gateway.store.write(lambda uow: unlink_wallet(uow, customer_id, wallet_id))

    async def export(self) -> None:
        """Give the customer the key of their account."""
        await self._gateway.store.write(
            lambda uow: uow.core(update(custody_account).values(exported_at_ms=1))
        )

    async def claim(self) -> int:
        """Claim what is queued: the point of no return. Returns how many."""

        def work(uow: UnitOfWork) -> int:
            found = _rows(uow, mint.c.state == MintState.QUEUED.value)
            number = self._last_number
            for row in found:
                number += 1
                numbered = row.purchase_number or number
                _set(uow, row, state=MintState.SENT.value, purchase_number=numbered)
            return len(found)

        claimed = await self._gateway.store.write(work)
        self._last_number += claimed
        return claimed

    async def settle(self, *, final: bool = True) -> None:
        """Tell what became of what was claimed, all at once as of one transaction."""
        await self._gateway.store.write(lambda uow: self._settle(uow, final=final))

    async def run(self) -> None:
        """Claim and settle, and give back what is asked back."""
        await self.claim()
        await self.settle()
        await self._gateway.store.write(self._return)

    async def lose(self) -> None:
        """A reorganization takes the block of what was minted and is not final, and it is not minted again."""

        def work(uow: UnitOfWork) -> None:
            for row in _rows(uow, mint.c.state == MintState.MINTED.value):
                _set(uow, row, state=MintState.SENT.value)
                self._tell(uow, row, OutcomeKind.REOPENED)
                _set(uow, row, state=MintState.SKIPPED.value, skip_reason=SkipCode.RECEIVER_REFUSED.value)
                self._tell(uow, row, OutcomeKind.SKIPPED, SkipCode.RECEIVER_REFUSED)

        await self._gateway.store.write(work)

    def _settle(self, uow: UnitOfWork, *, final: bool) -> None:
        for row in _rows(uow, mint.c.state == MintState.SENT.value):
            reason = None
            if row.recipient in self.refusing:
                reason = SkipCode.RECEIVER_REFUSED
            elif self.sold_out:
                reason = SkipCode.SOLD_OUT
            if reason is not None:
                _set(uow, row, state=MintState.SKIPPED.value, skip_reason=reason.value)
                self._tell(uow, row, OutcomeKind.SKIPPED, reason)
            else:
                _set(uow, row, state=(MintState.FINAL if final else MintState.MINTED).value)
                self._tell(uow, row, OutcomeKind.MINTED, final=final)

    def _return(self, uow: UnitOfWork) -> None:
        for row in _rows(uow, mint.c.return_state == ReturnState.REQUESTED.value):
            assert row.holder_key is not None, "nobody here can sign for a wallet outside"
            _set(uow, row, return_state=ReturnState.RETURNED.value)
            self._tell(uow, row, OutcomeKind.RETURNED)

    def _tell(
        self,
        uow: UnitOfWork,
        row: Any,
        kind: OutcomeKind,
        reason: SkipCode | None = None,
        *,
        final: bool = True,
    ) -> None:
        outcome = MintOutcome(
            row.leg_id,
            row.order_id,
            kind,
            int(row.token_id),
            row.serial,
            CONTRACT,
            CHAIN_ID,
            "0x" + "ab" * 32,
            7,
            reason,
            final,
        )
        self._facts.record(uow, [outcome])


def link_unasked(uow: UnitOfWork, row: dict[str, Any]) -> None:
    """Link a wallet under a name of the test's, without any proof that it is the customer's."""
    uow.core(linked_wallet.insert().values(row))
    told = {name: row[name] for name in ("wallet_id", "chain_id", "address", "kind")}
    uow.emit(Event(row["customer_id"], "wallet.linked", told))


def _rows(uow: UnitOfWork, which: Any) -> list[Any]:
    return list(uow.core(select(mint).where(which).order_by(mint.c.leg_id)))


def _set(uow: UnitOfWork, row: Any, **values: Any) -> None:
    uow.core(update(mint).where(mint.c.leg_id == row.leg_id).values(values))
