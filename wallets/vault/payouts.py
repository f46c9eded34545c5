"""Sending money to a stored method without a capture to refer to: the first unit records it as sent.

Nothing is taken from an allowance: the merchant pays. Who may ask for it, how much and how often is decided
and approved on the order side.
"""

from __future__ import annotations

from gateway.kernel.store.unit import UnitOfWork
from wallets.vault import delegated, methods
from wallets.vault.abilities import CANNOT
from wallets.vault.authorizing import Begun
from wallets.vault.crypto import open_record
from wallets.vault.kms import Kms
from wallets.vault.model import OperationState, is_usable
from wallets.vault.operation_rows import GET, INSERT, Row, as_row, new_row
from wallets.vault.port import OperationKind, Payout
from wallets.vault.providers.port import PayoutOrder
from wallets.vault.registry import Providers


def begin_payout(uow: UnitOfWork, request: Payout, request_digest: str, providers: Providers) -> Begun:
    """Record the payout as sent, or as refused with the code of the rule it breaks."""
    method = uow.row(methods.GET, {"payment_method_id": request.payment_method_id})
    refusal = None
    if not is_usable(request.amount):
        refusal = "vault.amount_invalid"
    elif method is None or method.customer_id != request.customer_id or method.removed_at_ms is not None:
        refusal = "vault.method_unknown"
    elif delegated.is_delegated(method.customer_id):
        refusal = "vault.method_delegated"
    else:
        able = providers.able(method.provider)
        refusal = None if able is not None and able.payout else CANNOT
    values = new_row(
        request.operation_id,
        OperationKind.PAYOUT,
        OperationState.SENT if refusal is None else OperationState.REFUSED,
        uow.now_ms,
        request_digest=request_digest,
        payment_method_id=request.payment_method_id,
        amount=request.amount if is_usable(request.amount) else None,
        refusal=refusal,
        provider=None if method is None else method.provider,
    )
    if not uow.run(INSERT, values):
        return Begun(uow.row(GET, values), is_new=False)
    return Begun(as_row(values), is_new=True, method=method)


async def payout_order(kms: Kms, request: Payout, method: Row) -> PayoutOrder:
    """Open the method's record for the provider. Raises RecordUnreadableError, KeysUnavailableError."""
    plain = await open_record(kms, methods.place_of(method), methods.record_of(method))
    return PayoutOrder(
        request.operation_id, methods.instrument(method.kind, plain), request.amount, request.merchant_id
    )
