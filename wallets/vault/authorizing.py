"""Authorizing: the first unit inserts the spend, consumes the allowance and records the attempt as sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.kernel.store.unit import UnitOfWork
from wallets.vault import allowances, methods
from wallets.vault.crypto import open_record
from wallets.vault.kms import Kms
from wallets.vault.model import OperationState, is_usable, refusal_by_terms
from wallets.vault.operation_rows import GET, INSERT, REFUSE, Row, as_row, new_row
from wallets.vault.port import Authorize, OperationKind
from wallets.vault.providers.port import AuthorizeOrder


@dataclass(frozen=True, slots=True)
class Begun:
    """What the first unit of an operation did."""

    row: Row
    is_new: bool
    """False: the id was known, the row is the stored one."""
    parent_reference: str | None = None
    method: Any = None
    """The stored method of a new authorization."""

    @property
    def is_to_be_sent(self) -> bool:
        return self.is_new and self.row.state == OperationState.SENT


def begin_authorize(uow: UnitOfWork, request: Authorize, request_digest: str) -> Begun:
    """Record the authorization as sent, or as refused with the code of the rule it breaks.

    A refusal is stored: a copy of the request that arrives later gets it too, even when the allowance has
    room again.
    """
    terms = request.allowance
    method = None
    refusal = refusal_by_terms(request, uow.now_ms)
    if refusal is None:
        method = uow.row(methods.GET, {"payment_method_id": terms.payment_method_id})
        if method is None or method.customer_id != terms.customer_id:
            refusal = "vault.method_unknown"
    values = new_row(
        request.operation_id,
        OperationKind.AUTHORIZE,
        OperationState.SENT if refusal is None else OperationState.REFUSED,
        uow.now_ms,
        request_digest=request_digest,
        allowance_id=terms.allowance_id,
        payment_method_id=terms.payment_method_id,
        amount=request.amount if is_usable(request.amount) else None,
        refusal=refusal,
    )
    if not uow.run(INSERT, values):
        return Begun(uow.row(GET, values), is_new=False)
    if refusal is None:
        refusal = allowances.spend(uow, request)
        if refusal is not None:
            uow.run(REFUSE, {"operation_id_": request.operation_id, "refusal": refusal})
            values["state"], values["refusal"] = OperationState.REFUSED, refusal
    return Begun(as_row(values), is_new=True, method=method)


async def authorize_order(kms: Kms, request: Authorize, method: Any) -> AuthorizeOrder:
    """Decrypt the card for the provider. Raises RecordUnreadableError."""
    place = methods.place_of(method)
    plain = await open_record(kms, place, methods.record_of(method))
    return AuthorizeOrder(
        request.operation_id,
        methods.clear_card(plain),
        request.amount,
        request.merchant_id,
        request.order_id,
        request.channel,
        request.request_challenge,
        request.network_transaction_id,
    )
