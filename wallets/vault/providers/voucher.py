"""Vouchers: stored value that this installation issued, spent by conditional update.

A code is 26 random characters (130 bits), shown once when it is issued; only its SHA-256 is kept. An
authorization takes its amount out of the balance at once, a void or refund puts it back. The tables are in
the vault's own database.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, bindparam, select, update

from gateway.kernel.errors import InvalidError
from gateway.kernel.ids import Id
from gateway.kernel.money import MAX_AMOUNT_MINOR, Money
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Store, UnitOfWork
from gateway.kernel.subjects import OperationId
from wallets.vault.declines import classified
from wallets.vault.inserts import insert_named
from wallets.vault.port import DeclineClass, MethodKind, OperationKind
from wallets.vault.providers.port import (
    AuthorizeOrder,
    Capabilities,
    ClearCard,
    FollowUpOrder,
    Lookup,
    NoAnswerError,
    Outcome,
    PassedInstrument,
    PayoutOrder,
    ProviderAnswer,
)
from wallets.vault.secret import Secret
from wallets.vault.tables import voucher, voucher_operation

NAME = "voucher"
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's: no letter that looks like a digit."""
_CODE_LENGTH = 26
_LOOK_ALIKES = str.maketrans("OIL", "011", "- ")
_ABSENT = "absent"
_INSUFFICIENT, _EXPIRED = "voucher:insufficient", "voucher:expired"

_AMOUNT: BindParameter[int] = bindparam("amount")
_OF_VOUCHER = (
    voucher.c.voucher_id == bindparam("voucher_id_"),
    voucher.c.currency == bindparam("currency_"),
)
_ISSUE = insert_named(
    voucher,
    "voucher_id code_digest last4 issued_minor balance_minor currency expires_at_ms created_at_ms",
)
_BY_CODE = Statement(select(voucher).where(voucher.c.code_digest == bindparam("code_digest")))
_BY_ID = Statement(select(voucher).where(voucher.c.voucher_id == bindparam("voucher_id")))
_SPEND = Statement(
    update(voucher)
    .where(*_OF_VOUCHER, voucher.c.balance_minor >= _AMOUNT, voucher.c.expires_at_ms > bindparam("now_ms"))
    .values(balance_minor=voucher.c.balance_minor - _AMOUNT)
)
_PUT_BACK = Statement(
    update(voucher)
    .where(*_OF_VOUCHER, voucher.c.balance_minor + _AMOUNT <= voucher.c.issued_minor)
    .values(balance_minor=voucher.c.balance_minor + _AMOUNT)
)
_GET = Statement(
    select(voucher_operation).where(voucher_operation.c.operation_id == bindparam("operation_id"))
)
_INSERT = insert_named(
    voucher_operation,
    "operation_id kind parent_id voucher_id amount_minor currency outcome failure received_at_ms",
    taken_minor=0,
)
_TAKE = Statement(
    update(voucher_operation)
    .where(
        voucher_operation.c.operation_id == bindparam("parent_id_"),
        voucher_operation.c.kind == bindparam("kind_"),
        voucher_operation.c.currency == bindparam("currency_"),
        voucher_operation.c.outcome == "succeeded",
        voucher_operation.c.amount_minor - voucher_operation.c.taken_minor >= _AMOUNT,
    )
    .values(taken_minor=voucher_operation.c.taken_minor + _AMOUNT)
    .returning(voucher_operation.c.voucher_id)
)
_RAISE = Statement(
    update(voucher_operation)
    .where(voucher_operation.c.operation_id == bindparam("parent_id_"))
    .values(amount_minor=voucher_operation.c.amount_minor + _AMOUNT)
)


Decided = tuple[str, str | None, str | None]
"""Outcome, why not, and the voucher that it is about."""


class VoucherId(Id):
    prefix = "vch"


@dataclass(frozen=True, slots=True)
class VoucherFacts:
    """What may be shown of a voucher."""

    voucher_id: VoucherId
    last4: str
    balance: Money
    expires_at_ms: int


class VoucherBook:
    """`Provider` over the vouchers of this installation."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.capabilities = Capabilities(
            name=NAME,
            test_numbers=None,
            partial_capture=True,
            most_captures=1_000,
            partial_void=True,
            partial_refund=True,
            challenge=False,
            incremental_authorization=True,
            idempotency_key_kept_ms=10 * 365 * 86_400_000,
            lookup_fences=True,
            absent_is_final_after_ms=0,
            kinds=frozenset({MethodKind.VOUCHER}),
            void_after_capture=True,
            moto=True,
            merchant_initiated=True,
        )

    async def issue(self, amount: Money, expires_at_ms: int) -> tuple[VoucherFacts, Secret]:
        """Make a voucher and return it with its code, which is never shown again."""
        if not 0 < amount.amount_minor <= MAX_AMOUNT_MINOR:
            raise InvalidError("voucher.amount", "The amount must be positive.", param="$.amount")
        code = "".join(secrets.choice(_ALPHABET) for _ in range(_CODE_LENGTH))

        def insert(uow: UnitOfWork) -> VoucherFacts:
            voucher_id = uow.new_id(VoucherId)
            row = {
                "voucher_id": voucher_id,
                "code_digest": _digest(code),
                "last4": code[-4:],
                "issued_minor": amount.amount_minor,
                "balance_minor": amount.amount_minor,
                "currency": amount.currency,
                "expires_at_ms": expires_at_ms,
                "created_at_ms": uow.now_ms,
            }
            uow.run(_ISSUE, row)
            return VoucherFacts(voucher_id, code[-4:], amount, expires_at_ms)

        return await self._store.write(insert), Secret(code)

    async def of_code(self, code: Secret) -> VoucherFacts | None:
        """Return the voucher of a code as people type it: any case, blanks, hyphens, O for 0."""
        plain = code.reveal().upper().translate(_LOOK_ALIKES)
        return await self._facts(_BY_CODE, {"code_digest": _digest(plain)})

    async def facts(self, voucher_id: str) -> VoucherFacts | None:
        return await self._facts(_BY_ID, {"voucher_id": voucher_id})

    async def verify(self, card: ClearCard) -> ProviderAnswer:
        return ProviderAnswer(Outcome.FAILED, failure="provider.kind_not_taken")

    async def authorize(self, order: AuthorizeOrder) -> ProviderAnswer:
        assert isinstance(order.card, PassedInstrument), "routed by kind"
        voucher_id = order.card.reference.reveal()

        def spend(uow: UnitOfWork) -> Decided:
            return _spend(uow, voucher_id, order.amount)

        return await self._once(OperationKind.AUTHORIZE, order.operation_id, None, order.amount, spend)

    async def capture(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._follow_up(OperationKind.CAPTURE, OperationKind.AUTHORIZE, order)

    async def void(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._follow_up(OperationKind.VOID, OperationKind.AUTHORIZE, order)

    async def refund(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._follow_up(OperationKind.REFUND, OperationKind.CAPTURE, order)

    async def increment(self, order: FollowUpOrder) -> ProviderAnswer:
        def grow(uow: UnitOfWork) -> Decided:
            parent = uow.row(_GET, {"operation_id": order.parent_id})
            if parent is None or parent.kind != OperationKind.AUTHORIZE or parent.outcome != "succeeded":
                return "failed", "provider.not_open", None
            decided = _spend(uow, parent.voucher_id, order.amount)
            if decided[0] == "succeeded":
                uow.run(_RAISE, {"parent_id_": order.parent_id, "amount": order.amount.amount_minor})
            return decided

        return await self._once(
            OperationKind.INCREMENT, order.operation_id, order.parent_id, order.amount, grow
        )

    async def payout(self, order: PayoutOrder) -> ProviderAnswer:
        raise NotImplementedError("the flag payout says no")

    async def find(self, lookup: Lookup) -> ProviderAnswer | None:
        def look(uow: UnitOfWork) -> Any:
            fence = _row(lookup.operation_id, None, None, None, None, _ABSENT, None, uow.now_ms)
            return None if uow.run(_INSERT, fence) else uow.row(_GET, fence)

        # The same lock as a request's: one of the two is first, whole.
        found = await self._store.write(look, locks=(_lock(lookup.operation_id),))
        return None if found is None or found.outcome == _ABSENT else _answer(found)

    async def close(self) -> None:
        """The store is the vault's, which closes it."""

    async def _facts(self, statement: Statement, values: dict[str, Any]) -> VoucherFacts | None:
        row = await self._store.read(lambda reader: reader.row(statement, values))
        if row is None:
            return None
        balance = Money(row.balance_minor, row.currency)
        return VoucherFacts(VoucherId(row.voucher_id), row.last4, balance, row.expires_at_ms)

    async def _follow_up(
        self, kind: OperationKind, of: OperationKind, order: FollowUpOrder
    ) -> ProviderAnswer:
        amount = {"amount": order.amount.amount_minor, "currency_": order.amount.currency}

        def take(uow: UnitOfWork) -> Decided:
            parent = uow.row(_TAKE, {"parent_id_": order.parent_id, "kind_": of.value, **amount})
            if parent is None:
                return "failed", "provider.not_open", None
            if kind is not OperationKind.CAPTURE:
                put_back = uow.run(_PUT_BACK, {"voucher_id_": parent.voucher_id, **amount})
                assert put_back, "what comes back was taken out before"
            return "succeeded", None, parent.voucher_id

        return await self._once(kind, order.operation_id, order.parent_id, order.amount, take)

    async def _once(
        self,
        kind: OperationKind,
        operation_id: OperationId,
        parent_id: OperationId | None,
        amount: Money,
        act: Callable[[UnitOfWork], Decided],
    ) -> ProviderAnswer:
        """Act and write the outcome down in one unit, unless the id is known."""

        def receive(uow: UnitOfWork) -> Any:
            known = uow.row(_GET, {"operation_id": operation_id})
            if known is not None:
                return known
            outcome, failure, voucher_id = act(uow)
            row = _row(operation_id, kind, parent_id, voucher_id, amount, outcome, failure, uow.now_ms)
            uow.run(_INSERT, row)
            return uow.row(_GET, row)

        row = await self._store.write(receive, locks=(_lock(operation_id),))
        if row.outcome == _ABSENT:
            return ProviderAnswer(Outcome.FAILED, failure="provider.refused_after_lookup")
        if (row.kind, row.parent_id, row.amount_minor, row.currency) != (
            kind.value,
            parent_id,
            amount.amount_minor,
            amount.currency,
        ) and row.kind != OperationKind.AUTHORIZE:
            raise NoAnswerError("the operation id was used for another request")
        return _answer(row)


def _spend(uow: UnitOfWork, voucher_id: str, amount: Money) -> Decided:
    values = {"voucher_id_": voucher_id, "amount": amount.amount_minor, "currency_": amount.currency}
    if uow.run(_SPEND, {**values, "now_ms": uow.now_ms}):
        return "succeeded", None, voucher_id
    found = uow.row(_BY_ID, {"voucher_id": voucher_id})
    if found is None or found.currency != amount.currency:
        return "failed", "provider.voucher_unknown", voucher_id
    return "declined", _EXPIRED if uow.now_ms >= found.expires_at_ms else _INSUFFICIENT, voucher_id


def _lock(operation_id: OperationId) -> str:
    return f"voucher:{operation_id}"


def _digest(code: str) -> bytes:
    return hashlib.sha256(b"vitrine.voucher.v1\x00" + code.encode()).digest()


def _row(
    operation_id: OperationId,
    kind: OperationKind | None,
    parent_id: OperationId | None,
    voucher_id: str | None,
    amount: Money | None,
    outcome: str,
    failure: str | None,
    now_ms: int,
) -> dict[str, Any]:
    return {
        "operation_id": operation_id,
        "kind": None if kind is None else kind.value,
        "parent_id": parent_id,
        "voucher_id": voucher_id,
        "amount_minor": None if amount is None else amount.amount_minor,
        "currency": None if amount is None else amount.currency,
        "outcome": outcome,
        "failure": failure,
        "received_at_ms": now_ms,
    }


def _answer(row: Any) -> ProviderAnswer:
    outcome = Outcome(row.outcome)
    reference = f"{NAME}_{row.operation_id.rpartition('_')[2]}"
    if outcome is Outcome.DECLINED:
        refused = classified(row.failure, DeclineClass.HARD_NEVER)
        return ProviderAnswer(outcome, reference, decline=refused)
    return ProviderAnswer(outcome, reference, failure=row.failure)
