"""Idempotency keys of ACP requests: one outcome per key, kept for 30 days (V21, P7, P8).

A key belongs to a caller and a path. Its row is made before anything is done (the claim), and gets its
answer in the unit that makes the effect. A request that died in between leaves a claim that runs out; the
next one with the key and the same body takes it over and goes on. Whoever lost a claim changes nothing.
The body holds a card number, so the row has a MAC of its canonical form.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from gateway.kernel.documents import decode, encode
from gateway.kernel.store.statements import Statement, insert_new
from gateway.kernel.store.unit import Reader, UnitOfWork
from wallets.vault.tables import idempotency

KEPT_MS = 30 * 24 * 3_600_000
"""Longer than the 24 hours that ACP asks for: a headset may come back late."""
CLAIM_MS = 60_000
"""Longer than a request takes with a slow provider."""
_SWEPT = 100
_NO_MAC = b""

_KEY = (
    idempotency.c.principal == bindparam("principal_"),
    idempotency.c.path == bindparam("path_"),
    idempotency.c.idempotency_key == bindparam("key_"),
)
_GET = Statement(select(idempotency).where(*_KEY))
_INSERT = insert_new(idempotency)
_TAKE_OVER = Statement(
    update(idempotency)
    .where(*_KEY, idempotency.c.claim == bindparam("lost_claim"), idempotency.c.status.is_(None))
    .values(
        claim=idempotency.c.claim + 1,
        claimed_until_ms=bindparam("until_ms"),
        mac_key_id=bindparam("new_mac_key_id"),
        body_mac=bindparam("new_body_mac"),
        customer_id=bindparam("new_customer_id"),
    )
)
_FINISH = Statement(
    update(idempotency)
    .where(*_KEY, idempotency.c.claim == bindparam("own_claim"), idempotency.c.status.is_(None))
    .values(status=bindparam("new_status"), answer=bindparam("new_answer"))
)
_RELEASE = Statement(
    update(idempotency)
    .where(*_KEY, idempotency.c.claim == bindparam("own_claim"), idempotency.c.status.is_(None))
    .values(body_mac=bindparam("no_mac"), claimed_until_ms=bindparam("now_ms"))
)
_FORGET = Statement(delete(idempotency).where(*_KEY, idempotency.c.created_at_ms <= bindparam("before_ms")))
_DEAD = Statement(
    select(idempotency)
    .where(idempotency.c.status.is_(None), idempotency.c.claimed_until_ms <= bindparam("before_ms"))
    .order_by(idempotency.c.claimed_until_ms)
    .limit(_SWEPT)
)
_BURY = Statement(
    delete(idempotency).where(
        *_KEY, idempotency.c.claim == bindparam("own_claim"), idempotency.c.status.is_(None)
    )
)
_OLD = Statement(
    select(idempotency.c.principal, idempotency.c.path, idempotency.c.idempotency_key)
    .where(idempotency.c.created_at_ms <= bindparam("before_ms"))
    .limit(_SWEPT)
)


@dataclass(frozen=True, slots=True)
class RequestKey:
    """An idempotency key in its scope."""

    principal: str
    path: str
    key: str

    def params(self) -> dict[str, Any]:
        return {"principal_": self.principal, "path_": self.path, "key_": self.key}


class Held(Enum):
    """Why a key cannot be claimed."""

    OTHER_BODY = "other body"
    IN_FLIGHT = "in flight"


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to answer a key."""

    number: int


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: dict[str, Any]


def mac_key_of(reader: Reader, key: RequestKey) -> str | None:
    """Return the MAC key that a known key's body was written under; None for a new one."""
    row = reader.row(_GET, key.params())
    return None if row is None else str(row.mac_key_id)


def claim(
    uow: UnitOfWork, key: RequestKey, mac_key_id: str, body_mac: bytes, customer_id: str
) -> Claim | Answer | Held | None:
    """Claim the key, or say what stands against it: the stored answer, another body, or another request.

    Returns None when the row was written under another MAC key than this MAC: look again.
    """
    params = key.params()
    row = uow.row(_GET, params)
    if row is not None and row.created_at_ms + KEPT_MS <= uow.now_ms:
        uow.run(_FORGET, {**params, "before_ms": uow.now_ms - KEPT_MS})
        row = None
    if row is None:
        fresh = {
            "principal": key.principal,
            "path": key.path,
            "idempotency_key": key.key,
            "mac_key_id": mac_key_id,
            "body_mac": body_mac,
            "customer_id": customer_id,
            "claim": 1,
            "claimed_until_ms": uow.now_ms + CLAIM_MS,
            "status": None,
            "answer": None,
            "created_at_ms": uow.now_ms,
        }
        if uow.run(_INSERT, fresh):
            return Claim(1)
        row = uow.row(_GET, params)
        assert row is not None
    is_free = row.status is None and row.body_mac == _NO_MAC
    if row.mac_key_id != mac_key_id and not is_free:
        return None
    if row.body_mac != body_mac and not is_free:
        return Held.OTHER_BODY
    if row.status is not None:
        return Answer(row.status, decode(row.answer))
    if uow.now_ms < row.claimed_until_ms:
        return Held.IN_FLIGHT
    taken = uow.run(
        _TAKE_OVER,
        {
            **params,
            "lost_claim": row.claim,
            "until_ms": uow.now_ms + CLAIM_MS,
            "new_mac_key_id": mac_key_id,
            "new_body_mac": body_mac,
            "new_customer_id": customer_id,
        },
    )
    return Claim(row.claim + 1) if taken else Held.IN_FLIGHT


def finish(uow: UnitOfWork, key: RequestKey, own: Claim, answer: Answer) -> bool:
    """Store the answer with the effect of this unit; False if the claim was lost, then there must be none."""
    values = {"own_claim": own.number, "new_status": answer.status, "new_answer": encode(answer.body)}
    return uow.run(_FINISH, {**key.params(), **values}) == 1


def release(uow: UnitOfWork, key: RequestKey, own: Claim) -> None:
    """Let go of a request without an answer: the key is free, for this body or a better one.

    The row stays until `bury`: a card may have been stored.
    """
    uow.run(_RELEASE, {**key.params(), "own_claim": own.number, "no_mac": _NO_MAC, "now_ms": uow.now_ms})


def dead(reader: Reader, before_ms: int) -> list[Any]:
    """Return a batch of keys that nobody has worked on since then and that have no answer."""
    return reader.rows(_DEAD, {"before_ms": before_ms})


def bury(uow: UnitOfWork, row: Any) -> bool:
    """Forget such a key; False if somebody has taken it up again."""
    key = RequestKey(row.principal, row.path, row.idempotency_key)
    return uow.run(_BURY, {**key.params(), "own_claim": row.claim}) == 1


def sweep(uow: UnitOfWork) -> None:
    """Forget a batch of keys that are older than they are kept."""
    before = {"before_ms": uow.now_ms - KEPT_MS}
    for row in uow.rows(_OLD, before):
        uow.run(_FORGET, {**RequestKey(*row).params(), **before})
