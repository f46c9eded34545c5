"""Going on with a payment that a guardian has agreed to: at once, or after what was under way has failed."""

from __future__ import annotations

from typing import Any

from gateway.kernel.documents import decode
from gateway.orders.beginning import begin_payment, waits_for_payment
from gateway.orders.declining import owed
from gateway.orders.guardian_asking import REQUIRED
from gateway.orders.process import ProcessRules
from gateway.orders.purchase import Purchase
from gateway.payments import intents
from gateway.payments.guardians import amount_asked, request_row, requests_of
from gateway.payments.guardians_model import APPROVAL_VALID_MS, GuardianState
from gateway.payments.spending import allowance_of, spending_of


def go_on(purchase: Purchase, approval_id: str, rules: ProcessRules) -> None:
    """Authorize with the allowance that was refused, under a new operation id."""
    if not waits_for_payment(purchase):
        # Paid another way, or being paid; if that comes to nothing, `go_on_after_yes` goes on.
        return
    attempt = refused_attempt(purchase, approval_id)
    spending = spending_of(attempt)
    assert spending is not None
    begin_payment(
        purchase.uow,
        purchase,
        payment_method_id=attempt.payment_method_id,
        vault_customer_id=spending.terms.customer_id,
        device_id=spending.device_id,
        action_ms=rules.action_ms,
        spending=spending,
    )


def go_on_after_yes(purchase: Purchase, rules: ProcessRules) -> bool:
    """After an attempt that paid nothing: go on with a yes that came while it was under way.

    False if the newest question has no yes, or that was tried, is over, or is for less than is owed.
    """
    uow = purchase.uow
    newest = next(reversed(requests_of(uow, purchase.order_id)), None)
    if newest is None or not waits_for_payment(purchase):
        return False
    asked, needed = amount_asked(newest), owed(purchase)
    if asked.currency != needed.currency or asked.amount_minor < needed.amount_minor:
        return False
    if newest.decided_at_ms is None or uow.now_ms >= newest.decided_at_ms + APPROVAL_VALID_MS:
        return False
    if newest.state == GuardianState.APPROVED:
        # The vault is being told, and the payment goes on when it knows.
        purchase.keep_for_attempt(uow.now_ms + rules.action_ms)
        return True
    if newest.state != GuardianState.DONE:
        return False
    if any(_tried_it(one, newest) for one in intents.attempts_of(uow, purchase.order_id)):
        return False
    go_on(purchase, newest.approval_id, rules)
    return True


def refused_attempt(purchase: Purchase, approval_id: str) -> Any:
    """Return the attempt that could not go on without the guardian."""
    row = request_row(purchase.uow, approval_id)
    assert row is not None
    attempts = intents.attempts_of(purchase.uow, purchase.order_id)
    return next(one for one in attempts if one.operation_id == row.operation_id)


def _tried_it(attempt: Any, row: Any) -> bool:
    """Whether an attempt could use the guardian's yes to this question: of the same allowance, since the
    question, and not refused for want of a yes that came a moment later."""
    if allowance_of(attempt) != row.allowance_id:
        return False
    if attempt.operation_id == row.operation_id or attempt.created_at_ms < row.created_at_ms:
        return False
    if attempt.created_at_ms > row.decided_at_ms or attempt.decline is None:
        return True
    return bool(decode(attempt.decline)["code"] != REQUIRED)
