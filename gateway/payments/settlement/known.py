"""Our side: the operations of a provider that its file may speak of, found in one walk through the time
around it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from sqlalchemy import bindparam, select

from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, Store
from gateway.payments.model import OperationState
from gateway.payments.settlement.model import KINDS, Known
from gateway.payments.settlement.tables import settlement_line
from gateway.payments.settlement.tariffs import REFERENCES
from gateway.payments.tables import payment_intent, payment_operation
from wallets.vault.port import OperationKind

_PAGE = 2000
_LONGEST_MS = 8 * 86_400_000
"""How long before it succeeds an operation may have been begun."""
_O, _I, _L = payment_operation.c, payment_intent.c, settlement_line.c
_COLUMNS = (
    _O.operation_id,
    _O.kind,
    _O.state,
    _O.currency,
    _O.amount_minor,
    _O.order_id,
    _I.merchant_id,
    _O.provider_reference,
    _O.created_at_ms,
    _O.updated_at_ms,
)
_JOINED = payment_operation.outerjoin(payment_intent, _I.order_id == _O.order_id)
_BEGUN_BETWEEN = Statement(
    select(*_COLUMNS)
    .select_from(_JOINED)
    .where(
        _O.operation_id > bindparam("after"),
        _O.operation_id < bindparam("until"),
        _O.kind.in_(sorted({kind.value for kind in KINDS.values()})),
    )
    .order_by(_O.operation_id)
    .limit(bindparam("most"))
)
_BY_ID = Statement(select(*_COLUMNS).select_from(_JOINED).where(_O.operation_id == bindparam("operation_id")))
_CHARGED = Statement(
    select(_L.operation_id)
    .where(
        _L.source == bindparam("source"),
        _L.provider_reference == bindparam("reference"),
        _L.type == "charge",
        _L.operation_id.is_not(None),
    )
    .limit(1)
)


class OurSide:
    """Operations by our id and by the provider's name."""

    def __init__(self) -> None:
        self._by_id: dict[str, Known] = {}
        self._by_reference: dict[tuple[str, OperationKind], list[Known]] = {}

    def add(self, known: Known) -> None:
        if known.operation_id in self._by_id:
            return
        self._by_id[known.operation_id] = known
        if known.provider_reference:
            key = (known.provider_reference, known.kind)
            self._by_reference.setdefault(key, []).append(known)

    def by_id(self, operation_id: str) -> Known | None:
        return self._by_id.get(operation_id)

    def by_reference(self, reference: str, kind: OperationKind) -> list[Known]:
        """All operations of a kind under one name: a provider may name several captures alike."""
        return self._by_reference.get((reference, kind), [])

    def __iter__(self) -> Any:
        return iter(self._by_id.values())


async def operations_between(
    store: Store, source: str, from_ms: int, until_ms: int, wanted: Iterable[str] | None = None
) -> OurSide:
    """Walk through the operations that may have been done in a time, of the provider ``source``.

    Kept are those that succeeded in it, and any that has one of the ``wanted`` ids or references.
    """
    names = frozenset(wanted or ())
    ours = OurSide()
    after, until = f"op_{max(0, from_ms - _LONGEST_MS):012x}", f"op_{until_ms:012x}g"
    while True:
        page = await store.read(partial(_page, after=after, until=until))
        for row in page:
            inside = row.state == OperationState.SUCCEEDED and from_ms <= row.updated_at_ms < until_ms
            named = row.operation_id in names or row.provider_reference in names
            if (inside or named) and _done_at(source, row):
                ours.add(_known(row))
        if len(page) < _PAGE:
            return ours
        after = page[-1].operation_id


def operation(reader: Reader, source: str, operation_id: str) -> Known | None:
    """Return one operation of a provider, whenever it was."""
    row = reader.row(_BY_ID, {"operation_id": operation_id})
    return None if row is None or not _done_at(source, row) else _known(row)


def charged_operation(reader: Reader, source: str, reference: str) -> Known | None:
    """Return the capture that an earlier line settled under this name."""
    row = reader.row(_CHARGED, {"source": source, "reference": reference})
    return None if row is None else operation(reader, source, row.operation_id)


def _done_at(source: str, row: Any) -> bool:
    """Whether it may be this provider's: its name there looks like one of its names, or is not known here."""
    return row.provider_reference is None or row.provider_reference.startswith(REFERENCES.get(source, ("",)))


def _page(reader: Reader, after: str, until: str) -> list[Any]:
    return reader.rows(_BEGUN_BETWEEN, {"after": after, "until": until, "most": _PAGE})


def _known(row: Any) -> Known:
    return Known(
        row.operation_id,
        OperationKind(row.kind),
        row.state == OperationState.SUCCEEDED,
        Money(row.amount_minor, row.currency),
        row.order_id,
        row.merchant_id,
        row.provider_reference,
        row.created_at_ms,
        row.updated_at_ms,
    )
