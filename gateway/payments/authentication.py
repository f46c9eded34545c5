"""Rows of strong customer authentications: opened with a challenge, decided once, voided by a change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Text, bindparam, case, func, literal_column, select, update

from gateway.kernel.errors import ConflictError, NotFoundError
from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.payments.authentication_model import (
    AUTHENTICATION_MOVES,
    CAME_BACK,
    LONGEST_MS,
    SEVERAL_BROWSERS,
    AuthenticationId,
    AuthenticationMethod,
    AuthenticationState,
    browser_digest,
    is_decided,
    issuer_return,
    liability_of,
    new_action_id,
    new_nonce,
    new_user_code,
    same_digest,
    state_at,
    user_code_digest,
)
from gateway.payments.intents import inline, sources
from gateway.payments.tables import payment_authentication
from wallets.vault.dynamic_link import AuthenticationReference, link_of

_t = payment_authentication.c
_INSERT = insert_into(payment_authentication)
_BY_ACTION = Statement(select(payment_authentication).where(_t.action_id == bindparam("action_id")))
_BY_OPERATION = Statement(select(payment_authentication).where(_t.operation_id == bindparam("operation_id")))
_BY_CODE = Statement(
    select(payment_authentication)
    .where(
        _t.user_code_digest == bindparam("digest"),
        _t.state == AuthenticationState.PENDING.value,
        _t.expires_at_ms > bindparam("now_ms"),
    )
    .limit(2)
)
_OF_ORDER = Statement(
    select(payment_authentication).where(_t.order_id == bindparam("order_id")).order_by(_t.authentication_id)
)
_MOVE = {
    state: Statement(
        update(payment_authentication)
        .where(
            _t.authentication_id == bindparam("its_id"),
            _t.state.in_(inline(sources(AUTHENTICATION_MOVES, state))),
        )
        .values(
            state=state.value,
            method=func.coalesce(bindparam("new_method", type_=Text), _t.method),
            liability=bindparam("new_liability"),
            reason=bindparam("new_reason"),
            # The code has done its work; nobody finds the action by it any more.
            user_code_digest=None,
            decided_at_ms=bindparam("now_ms"),
        )
    )
    for state in AuthenticationState
    if sources(AUTHENTICATION_MOVES, state)
}
_OPENED = Statement(
    update(payment_authentication)
    .where(
        _t.authentication_id == bindparam("its_id"),
        _t.state == AuthenticationState.PENDING.value,
        _t.opened_at_ms.is_(None),
    )
    .values(opened_at_ms=bindparam("now_ms"))
)
_SENT = Statement(
    update(payment_authentication)
    .where(_t.authentication_id == bindparam("its_id"), _t.state == AuthenticationState.PENDING.value)
    .values(
        sent_browser=case(
            (_t.sent_browser.is_(None), bindparam("digest", type_=Text)),
            else_=literal_column(f"'{SEVERAL_BROWSERS}'"),
        )
    )
)
_BACK = Statement(
    update(payment_authentication)
    .where(_t.authentication_id == bindparam("its_id"), _t.sent_browser == bindparam("digest"))
    .values(sent_browser=bindparam("back"))
)
_SET_ENROL = Statement(
    update(payment_authentication)
    .where(_t.authentication_id == bindparam("its_id"), _t.state == AuthenticationState.AUTHENTICATED.value)
    .values(enrol_challenge=bindparam("challenge"))
)
_TAKE_ENROL = Statement(
    update(payment_authentication)
    .where(_t.authentication_id == bindparam("its_id"), _t.enrol_challenge == bindparam("challenge"))
    .values(enrol_challenge=None)
)
_LAST_PASSED = Statement(
    select(func.max(_t.decided_at_ms).label("at_ms"))
    .select_from(payment_authentication)
    .where(
        _t.payment_method_id == bindparam("payment_method_id"),
        _t.state == literal_column(f"'{AuthenticationState.AUTHENTICATED.value}'"),
    )
)


@dataclass(frozen=True, slots=True)
class Opened:
    """An authentication that waits for the customer, with its code in the clear: it is stored nowhere else
    than in the customer's own event."""

    authentication_id: str
    action_id: str
    user_code: str
    expires_at_ms: int


def open_authentication(
    uow: UnitOfWork,
    *,
    order_id: str,
    attempt_id: str,
    operation_id: str,
    customer_id: str,
    payment_method_id: str,
    amount: Money,
    payee: str,
    provider_url: str,
    expires_at_ms: int,
    passkey_allowed: bool = True,
) -> Opened:
    """Write what the customer is asked, bound to this amount and payee. It ends after ten minutes at most."""
    earlier = authentications_of(uow, order_id)
    nonce, action_id, code = new_nonce(), new_action_id(), _free_code(uow)
    authentication_id = uow.new_id(AuthenticationId)
    expires_at_ms = min(expires_at_ms, uow.now_ms + LONGEST_MS)
    by_passkey = any(row.method == AuthenticationMethod.PASSKEY for row in earlier)
    uow.run(
        _INSERT,
        {
            "authentication_id": authentication_id,
            "action_id": action_id,
            "order_id": order_id,
            "attempt_id": attempt_id,
            "operation_id": operation_id,
            "customer_id": customer_id,
            "payment_method_id": payment_method_id,
            "state": AuthenticationState.PENDING.value,
            "method": None,
            "amount_minor": amount.amount_minor,
            "currency": amount.currency,
            "payee": payee,
            "nonce": nonce,
            "link": link_of(order_id, amount, payee, nonce).hex(),
            "provider_url": provider_url,
            "user_code_digest": user_code_digest(code),
            "passkey_allowed": int(passkey_allowed and not by_passkey),
            "enrol_challenge": None,
            "sent_browser": None,
            "liability": None,
            "reason": None,
            "created_at_ms": uow.now_ms,
            "expires_at_ms": expires_at_ms,
            "opened_at_ms": None,
            "decided_at_ms": None,
        },
    )
    return Opened(authentication_id, action_id, code, expires_at_ms)


def decide(
    uow: UnitOfWork,
    row: Any,
    state: AuthenticationState,
    *,
    method: AuthenticationMethod | None = None,
    liability: str | None = None,
    reason: str | None = None,
) -> bool:
    """Move to an end by compare-and-set; the answer says who won. The first decision is the only one."""
    values = {
        "its_id": row.authentication_id,
        "new_method": None if method is None else method.value,
        "new_liability": liability or liability_of(state).value,
        "new_reason": reason,
        "now_ms": uow.now_ms,
    }
    return uow.run(_MOVE[state], values) == 1


def note_opened(uow: UnitOfWork, row: Any) -> None:
    """Note that somebody looks at the page."""
    uow.run(_OPENED, {"its_id": row.authentication_id, "now_ms": uow.now_ms})


def what_changed(row: Any, order_id: str, amount: Money, payee: str) -> str | None:
    """Return why the authentication does not bind this payment, or None when it does.

    Compared with the link and not with the columns beside it, so that changing those changes nothing.
    """
    if same_digest(link_of(order_id, amount, payee, row.nonce).hex(), row.link):
        return None
    if row.payee != payee:
        return "payee_changed"
    return "currency_changed" if row.currency != amount.currency else "amount_changed"


def reference_of(row: Any) -> str:
    """Return what an authorization carries about this authentication."""
    return str(AuthenticationReference(row.authentication_id, row.nonce, row.link))


def present_state(row: Any, now_ms: int) -> AuthenticationState:
    """Return how it stands now, time taken into account."""
    return state_at(
        AuthenticationState(row.state), row.expires_at_ms, now_ms, opened=row.opened_at_ms is not None
    )


def action_row(reader: Reader, action_id: str) -> Any:
    """Return the authentication of an action; NotFoundError ``challenge.unknown``."""
    row = reader.row(_BY_ACTION, {"action_id": action_id})
    if row is None:
        raise NotFoundError("challenge.unknown", "There is no such action.", param="$.body.action_id")
    return row


def open_action_row(reader: Reader, action_id: str) -> Any:
    """Return an authentication that still waits; ConflictError ``challenge.decided`` when it does not."""
    row = action_row(reader, action_id)
    state = present_state(row, reader.now_ms)
    if is_decided(state):
        raise ConflictError("challenge.decided", "This was decided already.", data={"state": state.value})
    return row


def action_of_code(reader: Reader, code: str) -> Any | None:
    """Return the waiting authentication that this code names, or None."""
    digest = user_code_digest(code)
    rows = reader.rows(_BY_CODE, {"digest": digest, "now_ms": reader.now_ms})
    # The index has found it by equality; the comparison that decides takes the same time for every code.
    matching = [row for row in rows if same_digest(row.user_code_digest, digest)]
    return matching[0] if len(matching) == 1 else None


def authentication_of(reader: Reader, operation_id: str) -> Any | None:
    """Return the authentication that an authorization waits for or waited for, or None."""
    return reader.row(_BY_OPERATION, {"operation_id": operation_id})


def authentications_of(reader: Reader, order_id: str) -> list[Any]:
    """Return the order's authentications, oldest first."""
    return reader.rows(_OF_ORDER, {"order_id": order_id})


def last_authenticated_ms(reader: Reader, payment_method_id: str) -> int:
    """Return when the method's owner last passed an authentication; 0 for never."""
    row = reader.row(_LAST_PASSED, {"payment_method_id": payment_method_id})
    return 0 if row is None or row.at_ms is None else int(row.at_ms)


def note_sent(uow: UnitOfWork, row: Any, secret: str) -> None:
    """Note which browser is sent to the issuer; a second one takes the right to add a passkey from both."""
    uow.run(_SENT, {"its_id": row.authentication_id, "digest": browser_digest(secret)})


def was_sent(row: Any, secret: str | None) -> bool:
    """Whether the browser that holds this is the one that was sent to the issuer."""
    if secret is None or row.sent_browser is None:
        return False
    return same_digest(browser_digest(secret), row.sent_browser.removeprefix(CAME_BACK))


def note_back(uow: UnitOfWork, row: Any, secret: str | None, proof: str) -> bool:
    """Note that the browser that was sent has come back from the issuer with its `issuer_return`.

    Being sent is not enough: who only saw our page's address can be sent too, while the customer approves in
    the bank's application. Counts once.
    """
    if not was_sent(row, secret) or not same_digest(proof, issuer_return(row.nonce)):
        return False
    digest = row.sent_browser
    values = {"its_id": row.authentication_id, "digest": digest, "back": f"{CAME_BACK}{digest}"}
    return not digest.startswith(CAME_BACK) and uow.run(_BACK, values) == 1


def came_back(row: Any, secret: str | None) -> bool:
    """Whether the browser that holds this was sent to the issuer and authenticated there."""
    return was_sent(row, secret) and row.sent_browser.startswith(CAME_BACK)


def set_enrol_challenge(uow: UnitOfWork, row: Any, challenge: str) -> None:
    """Keep the challenge of a passkey that is to be added."""
    uow.run(_SET_ENROL, {"its_id": row.authentication_id, "challenge": challenge})


def take_enrol_challenge(uow: UnitOfWork, row: Any, challenge: str) -> bool:
    """Use the challenge up; False if somebody was faster."""
    return uow.run(_TAKE_ENROL, {"its_id": row.authentication_id, "challenge": challenge}) == 1


def _free_code(uow: UnitOfWork) -> str:
    """Return a code that names no other waiting action."""
    while True:
        code = new_user_code()
        digest = user_code_digest(code)
        if not uow.rows(_BY_CODE, {"digest": digest, "now_ms": uow.now_ms}):
            return code
