"""An allowance that an attempt spends is kept with it and read back whole."""

from __future__ import annotations

from typing import Any

from gateway.kernel.documents import decode
from gateway.kernel.money import Money
from gateway.kernel.subjects import PaymentMethodId
from gateway.payments.spending import Spending, spending_of, spending_text
from wallets.vault.port import AllowanceId, AllowanceReason, AllowanceTerms, SpentItem


class Attempt:
    """A row with nothing but what it spends."""

    def __init__(self, spending: str | None) -> None:
        self.spending = spending


def terms(**changes: Any) -> AllowanceTerms:
    given: dict[str, Any] = {
        "allowance_id": AllowanceId("alw_1"),
        "payment_method_id": PaymentMethodId("pm_1"),
        "customer_id": "cus_1",
        "merchant_id": "mer_1",
        "order_id": None,
        "channel": "ar",
        "place_id": None,
        "device_id": None,
        "reason": AllowanceReason.RECURRING,
        "max_amount": Money(5_000, "EUR"),
        "max_uses": 3,
        "expires_at_ms": 2_000,
        **changes,
    }
    return AllowanceTerms(**given)


def test_every_term_and_circumstance_is_kept() -> None:
    whole = Spending(
        terms(
            order_id="ord_1",
            channel=frozenset({"ar", "metaverse"}),
            place_id="loft",
            device_id="dev_1",
            not_before_ms=1_000,
            world_id="wld_1",
            device_key="thumbprint",
            category="books",
            max_item=Money(900, "EUR"),
            max_per_hour=Money(1_500, "EUR"),
            guardian_id="cus_2",
            guardian_above=Money(0, "EUR"),
            session_id="ses_1",
        ),
        device_id="dev_1",
        items=(SpentItem("books", Money(800, "EUR")), SpentItem("ebooks", Money(0, "EUR"))),
        world_id="wld_1",
        session_id="ses_1",
        device_key="thumbprint",
    )
    assert spending_of(Attempt(spending_text(whole))) == whole
    bare = Spending(terms())
    assert Spending.from_document(decode(spending_text(bare) or "")) == bare


def test_an_attempt_for_its_order_alone_keeps_nothing() -> None:
    assert spending_text(None) is None
    assert spending_of(Attempt(None)) is None
