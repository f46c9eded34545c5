"""Comparing both sides: our operations and the vault's. What heals by asking is asked; the rest is reported.

The vault is another database, so the two can differ for as long as an answer is on its way. A difference
that stays is a defect of somebody: it is listed for an operator and never settled by guessing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import structlog
from sqlalchemy import bindparam, select

from gateway.kernel.store.statements import Statement, upsert
from gateway.kernel.store.unit import Lane, Reader, Store, UnitOfWork
from gateway.kernel.subjects import OperationId
from gateway.kernel.tasks.queue import enqueue
from gateway.payments.calls import RESOLVE
from gateway.payments.model import OperationState, operation_is_final
from gateway.payments.operations import (
    STATE_OF_STATUS,
    operation_row,
    succeeded_operations,
)
from gateway.payments.tables import reconciliation
from wallets.vault.port import OperationResult, Vault

log = structlog.get_logger(__name__)

_GET = Statement(select(reconciliation.c.cursor).where(reconciliation.c.name == bindparam("name")))
_SET = upsert(reconciliation, ["name"], lambda new: {"cursor": new.cursor, "at_ms": new.at_ms})
_NAME = "vault"
_PAGE = 200


class DifferenceKind(StrEnum):
    UNKNOWN_HERE = "unknown_here"
    """The vault did something we have no operation for."""
    MISSING_AT_VAULT = "missing_at_vault"
    """We recorded a success the vault does not know."""
    STATE = "state"
    AMOUNT = "amount"


@dataclass(frozen=True, slots=True)
class Difference:
    """One operation on which the two sides disagree."""

    operation_id: str
    kind: DifferenceKind
    here: str
    at_vault: str


async def reconcile(store: Store, vault: Vault) -> list[Difference]:
    """Compare what changed at the vault since the last run; what we still wait for is asked about."""
    differences: list[Difference] = []
    cursor = await store.read(_cursor)
    while True:
        page = await vault.operations_since(cursor, _PAGE)
        if not page.operations:
            break
        differing = await store.read(partial(_compare_page, page.operations))
        cursor = page.cursor
        differences += await store.write(partial(_settle, differing, cursor), lane=Lane.BACKGROUND)
    for found in differences:
        log.error(
            "payments.difference",
            operation_id=found.operation_id,
            kind=found.kind,
            here=found.here,
            at_vault=found.at_vault,
        )
    return differences


async def compare_all(store: Store, vault: Vault) -> list[Difference]:
    """Compare every operation of both sides, from the beginning; changes nothing."""
    differences: list[Difference] = []
    cursor, seen = "", set()
    while True:
        page = await vault.operations_since(cursor, _PAGE)
        if not page.operations:
            break
        cursor = page.cursor
        for result in page.operations:
            seen.add(str(result.operation_id))
        differences += await store.read(partial(_compare_page, page.operations))
    after = ""
    while True:
        rows = await store.read(partial(_succeeded, after))
        if not rows:
            return differences
        after = rows[-1]
        for operation_id in rows:
            known = operation_id in seen or await vault.operation(OperationId(operation_id)) is not None
            if not known:
                differences.append(
                    Difference(operation_id, DifferenceKind.MISSING_AT_VAULT, "succeeded", "absent")
                )


def _succeeded(after: str, reader: Reader) -> list[str]:
    return succeeded_operations(reader, after, _PAGE)


def _cursor(reader: Reader) -> str:
    row = reader.row(_GET, {"name": _NAME})
    return "" if row is None else str(row.cursor)


def _settle(found: list[Difference], cursor: str, uow: UnitOfWork) -> list[Difference]:
    """Keep the cursor; what we still wait for is asked about instead of reported."""
    differences = []
    for difference in found:
        row = operation_row(uow, difference.operation_id)
        if row is not None and not operation_is_final(OperationState(row.state)):
            asked = {"operation_id": difference.operation_id, "abandon": False}
            enqueue(uow, RESOLVE, row.order_id, asked)
        else:
            differences.append(difference)
    uow.run(_SET, {"name": _NAME, "cursor": cursor, "at_ms": uow.now_ms})
    return differences


def _compare_page(results: tuple[OperationResult, ...], reader: Reader) -> list[Difference]:
    differences: list[Difference] = []
    for result in results:
        row = operation_row(reader, result.operation_id)
        if row is None:
            # An abandoned id that we never wrote is no money; everything else is.
            if result.kind is not None:
                differences.append(
                    Difference(
                        result.operation_id, DifferenceKind.UNKNOWN_HERE, "absent", result.status.value
                    )
                )
            continue
        expected = STATE_OF_STATUS[result.status]
        if row.state != expected and operation_is_final(expected):
            differences.append(
                Difference(result.operation_id, DifferenceKind.STATE, row.state, result.status.value)
            )
        elif (
            expected is OperationState.SUCCEEDED
            and result.amount is not None
            and (result.amount.amount_minor, result.amount.currency) != (row.amount_minor, row.currency)
        ):
            differences.append(
                Difference(
                    result.operation_id,
                    DifferenceKind.AMOUNT,
                    f"{row.amount_minor} {row.currency}",
                    str(result.amount),
                )
            )
    return differences
