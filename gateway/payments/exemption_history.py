"""What a payment method has paid without authentication, as the running limits of exemptions count it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, bindparam, case, func, or_, select

from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader
from gateway.payments.authentication import last_authenticated_ms
from gateway.payments.exemptions import Asked, History, choose_exemption, regime_of
from gateway.payments.model import AttemptState
from gateway.payments.tables import payment_attempt, payment_intent
from wallets.vault.port import Exemption

_KEPT = payment_intent.c.authorized_minor - payment_intent.c.voided_minor
_UNDER_WAY = payment_attempt.c.state == AttemptState.AUTHORIZING.value
_COUNTED = Statement(
    select(
        func.count().label("payments"),
        func.coalesce(func.sum(case((_UNDER_WAY, payment_intent.c.amount_minor), else_=_KEPT)), 0).label(
            "amount_minor"
        ),
    )
    .select_from(
        payment_attempt.join(payment_intent, payment_intent.c.order_id == payment_attempt.c.order_id)
    )
    .where(
        payment_attempt.c.payment_method_id == bindparam("payment_method_id"),
        payment_attempt.c.exemption.is_not(None),
        payment_attempt.c.created_at_ms > bindparam("after_ms"),
        # Executed ones and those under way; what was declined or voided does not count.
        or_(_UNDER_WAY, and_(payment_attempt.c.state == AttemptState.AUTHORIZED.value, _KEPT > 0)),
        payment_intent.c.currency == bindparam("currency"),
    )
)


@dataclass(frozen=True, slots=True)
class ExemptionRules:
    """What the operator lets the gateway ask for."""

    offered: frozenset[Exemption]
    fraud_rate_ppm: int | None = None


def history_of(reader: Reader, payment_method_id: str, currency: str) -> History:
    """Return what was asked for under an exemption, and not refused, since the method's owner was last
    authenticated."""
    after_ms = last_authenticated_ms(reader, payment_method_id)
    row = reader.row(
        _COUNTED, {"payment_method_id": payment_method_id, "after_ms": after_ms, "currency": currency}
    )
    assert row is not None
    return History(int(row.amount_minor), row.payments)


def exemption_for(
    reader: Reader, rules: ExemptionRules, country: str, payment_method_id: str, amount: Money, channel: str
) -> Exemption | None:
    """Return the exemption that a customer's payment asks for, by the regime of their country."""
    regime = regime_of(country)
    if regime is None:
        return None
    return choose_exemption(
        regime,
        Asked(
            amount=amount,
            channel=channel,
            at_ms=reader.now_ms,
            history=history_of(reader, payment_method_id, regime.currency),
            fraud_rate_ppm=rules.fraud_rate_ppm,
            offered=rules.offered,
        ),
    )
