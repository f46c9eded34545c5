"""Makes requests of one customer at one merchant, so that a test states only what it is about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateway.kernel.clock import Clock
from gateway.kernel.ids import IdSource
from gateway.kernel.money import Money
from gateway.kernel.store.sqlite import connect
from gateway.kernel.subjects import OperationId
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.port import (
    AllowanceId,
    AllowanceReason,
    AllowanceTerms,
    Authorize,
    Capture,
    CardEntry,
    OperationResult,
    OperationStatus,
    Refund,
    StoredMethod,
    Void,
)
from wallets.vault.providers import test_cards

CUSTOMER = "cus_ada"
MERCHANT = "mer_lamps"
ORDER = "ord_1"
HOUR_MS = 3_600_000


def eur(amount_minor: int) -> Money:
    return Money(amount_minor, "EUR")


def card(number: str = test_cards.VISA, **changes: Any) -> CardEntry:
    code = "1234" if number == test_cards.AMEX else "123"
    entry = CardEntry.typed(number, 12, 2031, code, "Ada Lovelace")
    return replace(entry, **changes)


class Shop:
    def __init__(self, vault: EmbeddedVault, clock: Clock, ids: IdSource) -> None:
        self.vault = vault
        self.clock = clock
        self.ids = ids

    def op(self) -> OperationId:
        return self.ids.new(OperationId)

    async def method(self, number: str = test_cards.VISA, customer: str = CUSTOMER) -> StoredMethod:
        return await self.vault.tokenize(customer, card(number))

    def terms(self, method: StoredMethod, amount: Money, **changes: Any) -> AllowanceTerms:
        terms = AllowanceTerms(
            allowance_id=self.ids.new(AllowanceId),
            payment_method_id=method.payment_method_id,
            customer_id=CUSTOMER,
            merchant_id=MERCHANT,
            order_id=ORDER,
            channel="ar",
            place_id=None,
            device_id=None,
            reason=AllowanceReason.ONE_TIME,
            max_amount=amount,
            max_uses=3,
            expires_at_ms=self.clock.now_ms() + HOUR_MS,
        )
        return replace(terms, **changes)

    def request(self, terms: AllowanceTerms, amount: Money, **changes: Any) -> Authorize:
        request = Authorize(
            operation_id=self.op(),
            allowance=terms,
            amount=amount,
            customer_id=CUSTOMER,
            merchant_id=MERCHANT,
            order_id=ORDER,
            channel="ar",
        )
        return replace(request, **changes)

    async def authorized(self, number: str = test_cards.VISA, amount: Money | None = None) -> Authorize:
        """Authorize, see it succeed, and return the request."""
        amount = amount or eur(1000)
        request = self.request(self.terms(await self.method(number), amount), amount)
        assert (await self.vault.authorize(request)).status is OperationStatus.SUCCEEDED
        return request

    async def capture(self, authorization: OperationId, amount: Money) -> OperationResult:
        return await self.vault.capture(Capture(self.op(), authorization, amount))

    async def void(self, authorization: OperationId, amount: Money | None = None) -> OperationResult:
        return await self.vault.void(Void(self.op(), authorization, amount))

    async def refund(self, capture: OperationId, amount: Money) -> OperationResult:
        return await self.vault.refund(Refund(self.op(), capture, amount))


def refused(result: OperationResult) -> str | None:
    """The code of a refusal; fails when the operation was not refused."""
    assert result.status is OperationStatus.REFUSED, result
    return result.refusal


def sql(path: Any, text: str, *values: Any) -> list[Any]:
    """Look into a database file, or spoil it."""
    raw, core = connect(path)
    try:
        return raw.execute(text, values).fetchall()
    finally:
        core.close()
        raw.close()
