"""Idempotency keys: one outcome per (principal, operation, key), for as long as the order exists.

A repeat with the same body gets what the first one made; with another body it is refused (422). What is
stored is the id of the thing made, so a repeat is answered with its present state. A request that was refused
stores nothing: it may be sent again under its key.
"""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import BaseModel
from sqlalchemy import bindparam, select

from gateway.kernel.documents import decode, encode
from gateway.kernel.errors import InvalidError
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.orders.tables import idempotency

_GET = Statement(
    select(idempotency.c.request_hash, idempotency.c.result).where(
        idempotency.c.principal == bindparam("principal"),
        idempotency.c.operation == bindparam("operation"),
        idempotency.c.key == bindparam("key"),
    )
)
_INSERT = insert_into(idempotency)


def request_hash(body: BaseModel) -> str:
    """Return a hash of the body as it was understood: field order and 1 versus 1.0 do not matter."""
    return hashlib.blake2b(body.__pydantic_serializer__.to_json(body), digest_size=16).hexdigest()


def earlier_result(reader: Reader, principal: str, operation: str, key: str, hash_: str) -> Any | None:
    """Return what the key made before, or None if it is new.

    Raises InvalidError ``idempotency.conflict`` when the key was used with another body.
    """
    row = reader.row(_GET, {"principal": principal, "operation": operation, "key": key})
    if row is None:
        return None
    if row.request_hash != hash_:
        raise InvalidError("idempotency.conflict", "This key was used with another request.", param="$.key")
    return decode(row.result)


def keep_result(uow: UnitOfWork, principal: str, operation: str, key: str, hash_: str, result: Any) -> None:
    """Store what the key made, in the unit that makes it."""
    uow.run(
        _INSERT,
        {
            "principal": principal,
            "operation": operation,
            "key": key,
            "request_hash": hash_,
            "result": encode(result),
            "at_ms": uow.now_ms,
        },
    )
