"""What has to be made ready before an order can be paid in the way that was chosen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from gateway.commands.context import Context
from gateway.identity.device_proof import device_key_of
from gateway.identity.model import DevicePrincipal
from gateway.kernel.errors import NotFoundError
from gateway.orders.alternatives import ALLOWANCE, PAY_LINK, STORED_METHOD
from gateway.orders.idempotency import earlier_result
from gateway.payments.pay_links import new_token
from gateway.payments.spending import Spending
from gateway.protocol.messages import PaymentChoice
from wallets.vault.port import AllowanceId, AllowanceTerms, MethodKind, PassedMethod
from wallets.vault.secret import Secret

_CASH = PassedMethod(MethodKind.CASH, Secret("cash"), "cash")
"""The promise to pay in person; the vault keeps one for each customer."""
_DELEGATED = "vt_"


@dataclass(frozen=True, slots=True)
class Asked:
    """The command that chooses: its operation, key and hash, and the quote or order that it is about."""

    operation: str
    key: str
    request_hash: str
    subject: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A way to pay, ready for the unit that decides."""

    kind: str = STORED_METHOD
    payment_method_id: str | None = None
    link_token: str | None = None
    spending: Spending | None = None


async def prepare_payment(
    context: Context, who: DevicePrincipal, choice: PaymentChoice, asked: Asked
) -> Prepared:
    """Return the kind, with the stored method, the promise, the allowance, or the token of a link.

    Whether the merchant offers it is decided with the order, whether an allowance covers it by the vault.
    Raises NotFoundError ``allowance.unknown``, InvalidError ``device_proof.invalid``, UnavailableError.
    """
    if choice.kind == STORED_METHOD:
        return Prepared(payment_method_id=choice.payment_method_id)
    if choice.kind == PAY_LINK:
        return Prepared(PAY_LINK, link_token=new_token())
    if choice.kind == ALLOWANCE:
        return await _allowance(context, who, choice, asked)
    promise = await context.vault.store_method(who.customer_id, _CASH)
    return Prepared(choice.kind, promise.payment_method_id)


async def _allowance(context: Context, who: DevicePrincipal, choice: PaymentChoice, asked: Asked) -> Prepared:
    allowance_id = choice.allowance_id or ""
    earlier = partial(
        earlier_result,
        principal=who.customer_id,
        operation=asked.operation,
        key=asked.key,
        hash_=asked.request_hash,
    )
    if await context.store.read(earlier) is not None:
        # Answered before: the same again, whatever has become of the allowance.
        return Prepared(ALLOWANCE)
    terms = await _terms(context, who, allowance_id)
    device_key = None
    if choice.device_proof is not None:
        device_key = device_key_of(
            choice.device_proof,
            allowance_id=allowance_id,
            subject=asked.subject,
            now_ms=context.clock.now_ms(),
        )
    spending = Spending(
        terms,
        device_id=who.device_id,
        world_id=who.world_id,
        session_id=who.session_id,
        device_key=device_key,
    )
    return Prepared(ALLOWANCE, terms.payment_method_id, spending=spending)


async def _terms(context: Context, who: DevicePrincipal, allowance_id: str) -> AllowanceTerms:
    """Return what was allowed; another customer's allowance is not there.

    A delegated token belongs to nobody here: whoever holds it may name it, and the session it is for must
    fit.
    """
    try:
        named = AllowanceId.parse(allowance_id)
    except ValueError as error:
        raise _unknown() from error
    found = await context.vault.allowance(named)
    if found is None:
        raise _unknown()
    if not named.startswith(_DELEGATED) and found.terms.customer_id != who.customer_id:
        raise _unknown()
    return found.terms


def _unknown() -> NotFoundError:
    return NotFoundError(
        "allowance.unknown", "There is no such allowance.", param="$.body.payment.allowance_id"
    )
