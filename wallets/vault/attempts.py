"""Attempts that networks count: which card may be tried again, and from when on (P11).

A card is its fingerprint or its PAR, never a token: two customers who store one card share its attempts.
A card without a recorded attempt costs nothing but the look into an index inside the read of its method.
Every declined authorization is recorded; while a card has such a record, its next authorizations are
recorded when they are sent, so that a crowd of them cannot pass the cap together.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Text, bindparam, delete, func, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from gateway.kernel.store.statements import Statement, insert_new
from gateway.kernel.store.unit import Reader, UnitOfWork
from wallets.vault.decline_data import Blocks
from wallets.vault.declines import CAPS, caps_of, network_of, ruling
from wallets.vault.model import OperationState, Refusal
from wallets.vault.port import Authorize, Decline, Initiation, Limit
from wallets.vault.tables import allowance, attempt, method, operation

MOST_READ = 1_000
LONGEST_MS = max(cap.within_ms for caps in CAPS.values() for cap in caps)
"""After this an attempt counts no more; what a code forbids stays forbidden."""


def _latest(column: str) -> ColumnElement[Any]:
    return (
        select(func.max(attempt.c.at_ms)).where(attempt.c[column] == method.c[column]).scalar_subquery()
    ).label(f"latest_by_{column}")


METHOD = Statement(
    select(method, _latest("fingerprint"), _latest("account_reference")).where(
        method.c.payment_method_id == bindparam("payment_method_id")
    )
)
"""A stored method, and when its card was last recorded here."""

_CARD = or_(
    attempt.c.fingerprint == bindparam("fingerprint"),
    attempt.c.account_reference == bindparam("account_reference", type_=Text),
)
_LOCK = Statement(
    select(attempt.c.operation_id)
    .where(_CARD)
    .order_by(attempt.c.operation_id)
    .limit(MOST_READ)
    .with_for_update()
)
_OF_CARD = Statement(
    select(attempt, operation.c.state)
    .join(operation, operation.c.operation_id == attempt.c.operation_id)
    .where(_CARD)
    .order_by(attempt.c.at_ms, attempt.c.operation_id)
    .limit(MOST_READ)
)
_INSERT = insert_new(attempt)
_DECLINED = Statement(
    update(attempt)
    .where(attempt.c.operation_id == bindparam("operation_id_"))
    .values(
        code=bindparam("code"),
        advice=bindparam("advice"),
        blocks=bindparam("blocks"),
        counts=bindparam("counts"),
        wait_until_ms=bindparam("wait_until_ms"),
    )
)
_LASTING = or_(
    attempt.c.blocks != Blocks.NONE.value,
    attempt.c.at_ms > bindparam("counting_since_ms"),
)
_KNOWN_UNDER = Statement(
    select(attempt.c.operation_id)
    .where(
        # Without a key: of a version that did not keep it.
        or_(attempt.c.fingerprint_key_id == bindparam("key_id"), attempt.c.fingerprint_key_id.is_(None)),
        attempt.c.fingerprint.is_not(None),
    )
    .limit(1)
)
_NEEDED_UNDER = Statement(
    select(attempt.c.operation_id)
    .where(attempt.c.fingerprint_key_id == bindparam("key_id"), _LASTING)
    .limit(1)
)
REFINGERPRINT = Statement(
    update(attempt)
    .where(attempt.c.fingerprint == bindparam("old_fingerprint"))
    .values(fingerprint=bindparam("new_fingerprint"), fingerprint_key_id=bindparam("new_key_id"))
)
"""What networks count of a card goes on counting under its new fingerprint."""
_FORGET = Statement(delete(attempt).where(attempt.c.operation_id == bindparam("operation_id")))
_WHERE_DECLINED = Statement(
    select(method, allowance.c.merchant_id, allowance.c.order_id)
    .join(allowance, allowance.c.payment_method_id == method.c.payment_method_id)
    .where(allowance.c.allowance_id == bindparam("allowance_id"))
)


def has_history(stored: Any) -> bool:
    """Whether the card of a row of `METHOD` was recorded here."""
    return stored.latest_by_fingerprint is not None or stored.latest_by_account_reference is not None


def are_known_under(reader: Reader, key_id: str) -> bool:
    """Whether attempts may still be known by fingerprints under this key."""
    return reader.row(_KNOWN_UNDER, {"key_id": key_id}) is not None


def need_key(reader: Reader, key_id: str) -> bool:
    """Whether what networks forbid or count would be forgotten with this key of fingerprints."""
    values = {"key_id": key_id, "counting_since_ms": reader.now_ms - LONGEST_MS}
    return reader.row(_NEEDED_UNDER, values) is not None


def refusal(uow: UnitOfWork, request: Authorize, stored: Any) -> Refusal | None:
    """Return why the networks' rules forbid this attempt now, or None. Forgets what counts no more."""
    card = _card_of(stored)
    # Waits for others who are about to try this card; what they recorded is read after that.
    uow.rows(_LOCK, card)
    known: list[Any] = []
    over: list[Any] = []
    for row in uow.rows(_OF_CARD, card):
        (over if _is_over(row, uow.now_ms) else known).append(row)
    uow.run_many(_FORGET, [{"operation_id": row.operation_id} for row in over])
    for row in known:
        if _forbids(row, request):
            return Refusal("vault.retry_forbidden", Limit("attempts", "attempts", 0, 0, 1))
    waits = [row.wait_until_ms for row in known if (row.wait_until_ms or 0) > uow.now_ms]
    if waits:
        return Refusal("vault.retry_too_early", Limit("attempts", "attempts", 0, 0, 1, max(waits)))
    return _over_cap(known, network_of(stored.kind, stored.brand), uow.now_ms)


def reserve(uow: UnitOfWork, request: Authorize, stored: Any) -> None:
    """Record that an attempt is under way with a card that was declined before."""
    uow.run(
        _INSERT,
        {
            "operation_id": request.operation_id,
            **_card_of(stored),
            "fingerprint_key_id": stored.fingerprint_key_id,
            "network": network_of(stored.kind, stored.brand),
            "at_ms": uow.now_ms,
            "code": None,
            "advice": None,
            "blocks": None,
            "counts": 1,
            "wait_until_ms": None,
            "merchant_id": request.merchant_id,
            "order_id": request.order_id,
            "initiation": request.initiation.value,
        },
    )


def declined(uow: UnitOfWork, row: Any, answer: Decline) -> None:
    """Record a declined authorization and what follows from it."""
    found = uow.row(_WHERE_DECLINED, {"allowance_id": row.allowance_id})
    assert found is not None, "an authorization has its allowance and method"
    network = network_of(found.kind, found.brand)
    rules = ruling(network, answer.code, answer.advice)
    outcome = {
        "code": answer.code,
        "advice": answer.advice,
        "blocks": rules.blocks.value,
        "counts": int(rules.counts),
        "wait_until_ms": uow.now_ms + rules.wait_ms if rules.wait_ms else None,
    }
    if uow.run(_DECLINED, {**outcome, "operation_id_": row.operation_id}):
        return
    card = _card_of(found)
    if card == _NO_CARD or (rules.blocks is Blocks.NONE and not rules.counts):
        return
    uow.run(
        _INSERT,
        {
            "operation_id": row.operation_id,
            **card,
            "fingerprint_key_id": found.fingerprint_key_id,
            "network": network,
            # When it was sent: that is when the network counts it.
            "at_ms": row.sent_at_ms,
            **outcome,
            "merchant_id": found.merchant_id,
            "order_id": found.order_id or row.order_id,
            "initiation": row.initiation or Initiation.CUSTOMER.value,
        },
    )


_NO_CARD = {"fingerprint": None, "account_reference": None}


def _card_of(stored: Any) -> dict[str, Any]:
    return {"fingerprint": stored.fingerprint, "account_reference": stored.account_reference}


def _is_over(row: Any, now_ms: int) -> bool:
    """Whether an attempt means nothing any more: it was no decline, or its time has passed."""
    if row.state not in _ATTEMPTED:
        return True
    lasting = row.blocks is not None and row.blocks != Blocks.NONE
    return not lasting and row.at_ms + LONGEST_MS <= now_ms


_ATTEMPTED = frozenset({OperationState.SENT, OperationState.REQUIRES_ACTION, OperationState.DECLINED})


def _forbids(row: Any, request: Authorize) -> bool:
    match row.blocks:
        case Blocks.CARD:
            return True
        case Blocks.MERCHANT:
            same = (request.merchant_id, request.initiation)
            return bool((row.merchant_id, row.initiation) == same)
        case Blocks.MERCHANT_INITIATED:
            return request.initiation is Initiation.MERCHANT and row.merchant_id == request.merchant_id
        case Blocks.ORDER:
            return bool(row.order_id == request.order_id and row.merchant_id == request.merchant_id)
        case _:
            return False


def _over_cap(known: list[Any], network: str, now_ms: int) -> Refusal | None:
    """Return the refusal of the cap that holds longest, if one is reached."""
    reached: list[Limit] = []
    for cap in caps_of(network):
        counted = [row.at_ms for row in known if row.counts and row.at_ms + cap.within_ms > now_ms]
        if len(counted) >= cap.most:
            # Room again when so many of the oldest have gone that one fewer than the cap is left.
            free_at_ms = counted[len(counted) - cap.most] + cap.within_ms
            reached.append(Limit("attempts", "attempts", cap.most, len(counted), 1, free_at_ms))
    if not reached:
        return None
    return Refusal("vault.attempts_exceeded", max(reached, key=lambda limit: limit.retry_at_ms or 0))
