"""Authorizing: the first unit inserts the spend, consumes the allowance and records the attempt as sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.kernel.store.unit import UnitOfWork
from wallets.vault import allowances, attempts, delegated, guardian, methods
from wallets.vault.abilities import CANNOT, refusal_of_authorize
from wallets.vault.crypto import open_record
from wallets.vault.kms import Kms
from wallets.vault.model import OperationState, Refusal, is_usable, refusal_by_terms
from wallets.vault.operation_rows import (
    GET,
    INSERT,
    INSERT_SCOPED,
    REFUSE,
    SCOPED,
    Row,
    as_row,
    limit_text,
    new_row,
)
from wallets.vault.port import Authorize, Initiation, OperationKind
from wallets.vault.providers.port import AuthorizeOrder, Capabilities
from wallets.vault.registry import Providers


@dataclass(frozen=True, slots=True)
class Begun:
    """What the first unit of an operation did."""

    row: Row
    is_new: bool
    """False: the id was known, the row is the stored one."""
    parent_reference: str | None = None
    method: Any = None
    """The stored method of a new authorization."""
    is_released: bool = False
    """A void that needs no call: the provider has released the rest with its only capture."""
    is_waiting: bool = False
    """A void that is not sent before something else is decided, see `follow_ups.waiting_void`."""

    @property
    def is_to_be_sent(self) -> bool:
        return self.is_new and self.row.state == OperationState.SENT


def begin_authorize(uow: UnitOfWork, request: Authorize, request_digest: str, providers: Providers) -> Begun:
    """Record the authorization as sent, or as refused with the code of the rule it breaks.

    A refusal is stored: a copy of the request that arrives later gets it too, even when the allowance has
    room again.
    """
    terms = request.allowance
    method = None
    refusal = refusal_by_terms(request, uow.now_ms)
    was_declined = False
    if refusal is None:
        method = uow.row(attempts.METHOD, {"payment_method_id": terms.payment_method_id})
        if method is None or method.customer_id != terms.customer_id or method.removed_at_ms is not None:
            refusal = Refusal("vault.method_unknown")
        elif (cannot := _cannot(providers, request, method)) is not None:
            refusal = Refusal(cannot)
        elif delegated.is_delegated(method.customer_id) and not delegated.fits(
            uow, terms.allowance_id, terms.payment_method_id
        ):
            refusal = Refusal("vault.method_delegated")
        elif attempts.has_history(method):
            was_declined = True
            refusal = attempts.refusal(uow, request, method)
    values = new_row(
        request.operation_id,
        OperationKind.AUTHORIZE,
        OperationState.SENT if refusal is None else OperationState.REFUSED,
        uow.now_ms,
        request_digest=request_digest,
        allowance_id=terms.allowance_id,
        payment_method_id=terms.payment_method_id,
        amount=request.amount if is_usable(request.amount) else None,
        refusal=None if refusal is None else refusal.code,
        limit=None if refusal is None else refusal.limit,
        order_id=request.order_id if terms.order_id is None else None,
        initiation=None if request.initiation is Initiation.CUSTOMER else request.initiation.value,
        hour_minor=None if refusal or terms.max_per_hour is None else request.amount.amount_minor,
        provider=None if method is None else method.provider,
    )
    is_scoped = any(values[name] is not None for name in SCOPED)
    if not uow.run(INSERT_SCOPED if is_scoped else INSERT, values):
        return Begun(uow.row(GET, values), is_new=False)
    if refusal is None:
        refusal = _take(uow, request, values)
        if refusal is not None:
            limit = limit_text(refusal.limit)
            uow.run(
                REFUSE,
                {
                    "operation_id_": request.operation_id,
                    "refusal": refusal.code,
                    "refused_limit": limit,
                },
            )
            values.update(
                state=OperationState.REFUSED, refusal=refusal.code, refused_limit=limit, hour_minor=None
            )
        elif was_declined:
            attempts.reserve(uow, request, method)
    return Begun(as_row(values), is_new=True, method=method)


def _cannot(providers: Providers, request: Authorize, method: Any) -> str | None:
    able = providers.able(method.provider)
    return CANNOT if able is None else refusal_of_authorize(able, request)


def _take(uow: UnitOfWork, request: Authorize, values: dict[str, Any]) -> Refusal | None:
    """Use the guardian's approval where one is needed, and spend from the allowance."""
    if not guardian.is_needed(request):
        return allowances.spend(uow, request)
    approval = guardian.use(uow, request)
    if isinstance(approval, Refusal):
        return approval
    refusal = allowances.spend(uow, request)
    if refusal is None:
        values["approval_id"] = approval
    else:
        guardian.free(uow, approval, request.operation_id)
    return refusal


async def authorize_order(kms: Kms, request: Authorize, method: Any, able: Capabilities) -> AuthorizeOrder:
    """Open the method's record for the provider. Raises RecordUnreadableError, KeysUnavailableError.

    An exemption is only a request: one that the provider cannot pass on is not asked for.
    """
    place = methods.place_of(method)
    plain = await open_record(kms, place, methods.record_of(method))
    return AuthorizeOrder(
        request.operation_id,
        methods.instrument(method.kind, plain),
        request.amount,
        request.merchant_id,
        request.order_id,
        request.channel,
        request.request_challenge,
        request.network_transaction_id,
        request.initiation,
        request.merchant_reason,
        request.exemption if request.exemption in able.exemptions else None,
        request.authentication,
    )
