"""What has to be made ready before an order can be paid in the way that was chosen."""

from __future__ import annotations

from gateway.commands.context import Context
from gateway.orders.alternatives import PAY_LINK, STORED_METHOD
from gateway.payments.pay_links import new_token
from gateway.protocol.messages import PaymentChoice
from wallets.vault.port import MethodKind, PassedMethod
from wallets.vault.secret import Secret

_CASH = PassedMethod(MethodKind.CASH, Secret("cash"), "cash")
"""The promise to pay in person; the vault keeps one for each customer."""


async def prepare_payment(
    context: Context, customer_id: str, choice: PaymentChoice
) -> tuple[str, str | None, str | None]:
    """Return the kind, the stored method or the promise, and the token of a link.

    Whether the merchant offers it is decided with the order.
    """
    if choice.kind == STORED_METHOD:
        return choice.kind, choice.payment_method_id, None
    if choice.kind == PAY_LINK:
        return choice.kind, None, new_token()
    promise = await context.vault.store_method(customer_id, _CASH)
    return choice.kind, promise.payment_method_id, None
