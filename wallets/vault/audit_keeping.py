"""Handing out the audit trail and letting the oldest of it go.

Twelve months are kept, three of them at hand (PCI DSS 4.0.1, 10.5.1); here thirteen are, and nothing is
removed by itself. Database triggers refuse to remove anything younger, whoever asks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import bindparam, delete, select

from gateway.kernel.clock import rfc3339
from gateway.kernel.errors import InvalidError
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Lane, Store, UnitOfWork
from wallets.vault.audit import Action, Actor, note
from wallets.vault.audit_chain import purge_statement
from wallets.vault.keys import KeyRing
from wallets.vault.kms import Kms
from wallets.vault.tables import audit, audit_seal

RETENTION_MS = 395 * 24 * 3_600_000
_ROWS_PER_PAGE = 1_000

_PAGE = Statement(
    select(audit)
    .where(
        audit.c.audit_id > bindparam("after_id"),
        audit.c.at_ms >= bindparam("from_ms"),
        audit.c.at_ms < bindparam("until_ms"),
    )
    .order_by(audit.c.audit_id)
    .limit(_ROWS_PER_PAGE)
)
_LAST_OLD_SEAL = Statement(
    select(audit_seal.c.seal_no, audit_seal.c.last_id, audit_seal.c.head)
    .where(audit_seal.c.sealed_at_ms < bindparam("before_ms"))
    .order_by(audit_seal.c.seal_no.desc())
    .limit(1)
)
_DELETE_ROWS = Statement(delete(audit).where(audit.c.audit_id <= bindparam("last_id")))
_DELETE_SEALS = Statement(delete(audit_seal).where(audit_seal.c.seal_no < bindparam("seal_no")))


async def export_audit(
    store: Store, actor: Actor, from_ms: int = 0, until_ms: int = 2**62
) -> AsyncIterator[dict[str, Any]]:
    """Yield the rows of a time, oldest first, as documents. That they were read is itself recorded first."""
    said = f"{from_ms}..{until_ms}"
    await store.write(lambda uow: note(uow, actor, Action.AUDIT_READ, "vault_audit", detail=said))
    after_id = 0
    while rows := await _page(store, after_id, from_ms, until_ms):
        after_id = rows[-1].audit_id
        for row in rows:
            yield {**row._asdict(), "at": rfc3339(row.at_ms)}


async def purge_audit(
    store: Store, kms: Kms, ring: KeyRing, actor: Actor, before_ms: int, now_ms: int
) -> int:
    """Remove sealed rows from before ``before_ms`` and return the last row that is gone (0: none).

    The last seal before stays as what the rest of the chain goes on from, and the purge is on the record,
    with a code under the audit key: a beginning that merely went missing is told from this.
    Raises InvalidError ``vault.audit_kept`` for a time within the retention, KeyUseError.
    """
    if before_ms > now_ms - RETENTION_MS:
        raise InvalidError("vault.audit_kept", "The audit trail of the last thirteen months is kept.")
    values = {"before_ms": before_ms}
    last = await store.read(lambda reader: reader.row(_LAST_OLD_SEAL, values))
    if last is None:
        return 0
    code = await kms.mac((await ring.keys()).audit_key_id, purge_statement(last.seal_no, last.head))

    def purge(uow: UnitOfWork) -> int:
        if not uow.run(_DELETE_ROWS, {"last_id": last.last_id}):
            return 0
        uow.run(_DELETE_SEALS, {"seal_no": last.seal_no})
        note(uow, actor, Action.AUDIT_PURGE, str(last.seal_no), detail=code.hex())
        return int(last.last_id)

    return await store.write(purge, lane=Lane.BACKGROUND)


async def _page(store: Store, after_id: int, from_ms: int, until_ms: int) -> list[Any]:
    values = {"after_id": after_id, "from_ms": from_ms, "until_ms": until_ms}
    return await store.read(lambda reader: reader.rows(_PAGE, values))
