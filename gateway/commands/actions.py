"""What a customer does for a payment: over the socket, over HTTP, and on the hosted page.

A device that can run WebAuthn asks for an action and answers it itself; every other one shows the QR or the
short code, and the customer goes on with the hosted page on a second screen. The page needs no sign-in: who
holds its unguessable address was shown it by the customer's own device, and every decision needs the
issuer's page or one of the customer's passkeys. A passkey is added there by the one browser alone that was
sent to the issuer and came back with the issuer's proof.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from gateway.commands.context import Context
from gateway.identity import passkeys
from gateway.identity.model import DevicePrincipal
from gateway.identity.passkeys import Assertion, RelyingParty
from gateway.kernel.clock import rfc3339
from gateway.kernel.documents import decode
from gateway.kernel.errors import ConflictError, ErrorClass, VitrineError
from gateway.kernel.events.model import Event
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.orders.action_decisions import (
    ActionView,
    Decision,
    action_view,
    approve_by_passkey,
    deny,
)
from gateway.orders.actions import page_of
from gateway.orders.idempotency import earlier_result, keep_result, request_hash
from gateway.orders.purchase import wire_money
from gateway.payments.authentication import (
    action_of_code,
    came_back,
    note_back,
    note_opened,
    note_sent,
    set_enrol_challenge,
    take_enrol_challenge,
    was_sent,
)
from gateway.payments.authentication_model import (
    AuthenticationMethod,
    AuthenticationState,
    is_decided,
    new_browser_secret,
    read_user_code,
)
from gateway.protocol.messages import (
    PasskeyAdd,
    PasskeyList,
    PasskeyOptions,
    PasskeyRemove,
    PaymentAction,
    PaymentAuthenticate,
)

# --- For a device that signed in --------------------------------------------------------------------


async def get_action(context: Context, who: DevicePrincipal, command: PaymentAction) -> dict[str, Any]:
    """One action, with the request for a passkey where one can answer it (``payment.action``)."""
    action_id = command.body.action_id
    view, known = await context.store.read(lambda reader: _with_passkeys(reader, action_id, who.customer_id))
    page = page_of(context.process, view.action_id)
    return {
        "action_id": view.action_id,
        "order_id": view.order_id,
        "state": view.state.value,
        "payee": payee_name(context, view),
        "amount": wire_money(view.amount),
        "items": [{"title": line.title, "quantity": line.quantity} for line in view.lines],
        "url": page,
        "qr_url": f"{page}/qr.svg",
        "expires_at": rfc3339(view.expires_at_ms),
        "passkey": _request(context, view, known),
    }


async def authenticate(
    context: Context, who: DevicePrincipal, command: PaymentAuthenticate
) -> dict[str, Any]:
    """Answer an action with an assertion (``payment.authenticate``)."""
    body, kept = command.body, ("payment.authenticate", command.key or "", request_hash(command.body))
    earlier = await context.store.read(lambda reader: earlier_result(reader, who.customer_id, *kept))
    if earlier is not None:
        return {**earlier, "replayed": True}
    assertion = await _check(context, body.action_id, body.credential, who.customer_id)

    def answer(uow: UnitOfWork) -> tuple[Decision | None, Any]:
        found = earlier_result(uow, who.customer_id, *kept)
        if found is not None:
            return None, found
        decided = approve_by_passkey(uow, body.action_id, assertion)
        result = {"action_id": decided.action_id, "state": decided.state.value}
        if decided.state is AuthenticationState.AUTHENTICATED:
            keep_result(uow, who.customer_id, *kept, result)
        return decided, result

    decision, result = await context.store.write(answer, locks=(f"key:{who.customer_id}:{command.key}",))
    if decision is not None:
        _raise_unless_authenticated(decision)
    return {**result, "replayed": decision is None}


async def passkey_options(context: Context, who: DevicePrincipal, command: PasskeyOptions) -> dict[str, Any]:
    """What to create a passkey with, after the customer was authenticated (``passkey.options``)."""
    return {"options": await enrol_options(context, command.body.action_id, who.customer_id)}


async def add_passkey(context: Context, who: DevicePrincipal, command: PasskeyAdd) -> dict[str, Any]:
    """Store the passkey that was created (``passkey.add``)."""
    body, kept = command.body, ("passkey.add", command.key or "", request_hash(command.body))
    earlier = await context.store.read(lambda reader: earlier_result(reader, who.customer_id, *kept))
    if earlier is not None:
        return {**earlier, "replayed": True}
    passkey_id = await enrol(
        context, body.action_id, body.credential, body.name, customer_id=who.customer_id, kept=kept
    )
    return {"passkey_id": passkey_id, "replayed": False}


async def list_passkeys(context: Context, who: DevicePrincipal, _: PasskeyList) -> dict[str, Any]:
    """The customer's passkeys (``passkey.list``)."""
    rows = await context.store.read(lambda reader: passkeys.passkeys_of(reader, who.customer_id))
    return {"passkeys": [_passkey_document(row) for row in rows]}


async def remove_passkey(context: Context, who: DevicePrincipal, command: PasskeyRemove) -> dict[str, Any]:
    """End a passkey (``passkey.remove``)."""
    body, kept = command.body, ("passkey.remove", command.key or "", request_hash(command.body))

    def remove(uow: UnitOfWork) -> bool:
        if earlier_result(uow, who.customer_id, *kept) is not None:
            return True
        passkeys.revoke_passkey(uow, who.customer_id, body.passkey_id, "removed")
        keep_result(uow, who.customer_id, *kept, {"passkey_id": body.passkey_id})
        return False

    replayed = await context.store.write(remove, locks=(f"key:{who.customer_id}:{command.key}",))
    return {"passkey_id": body.passkey_id, "replayed": replayed}


# --- For the hosted page ----------------------------------------------------------------------------


async def find_by_code(context: Context, typed: str) -> str | None:
    """Return the action that a short code names, or None. The caller limits guesses."""
    code = read_user_code(typed)
    if code is None:
        return None
    row = await context.store.read(lambda reader: action_of_code(reader, code))
    return None if row is None else str(row.action_id)


async def open_page(context: Context, action_id: str) -> tuple[ActionView, bool]:
    """Return what the page shows and whether a passkey of the customer can answer it."""
    view, known = await context.store.read(lambda reader: _with_passkeys(reader, action_id, None))
    if view.row.opened_at_ms is None and not is_decided(view.state):
        await context.store.write(lambda uow: note_opened(uow, view.row))
    return view, _request(context, view, known) is not None


async def page_state(context: Context, action_id: str) -> dict[str, str]:
    """How the action and its payment stand, for a page that waits."""
    view = await context.store.read(lambda reader: action_view(reader, action_id))
    return {"state": view.state.value, "payment": view.payment_state}


async def page_request(context: Context, action_id: str) -> dict[str, Any]:
    """Return the request for a passkey.

    Raises ConflictError ``challenge.decided``, ``passkey.unavailable``.
    """
    view, known = await context.store.read(lambda reader: _with_passkeys(reader, action_id, None))
    if is_decided(view.state):
        raise ConflictError(
            "challenge.decided", "This was decided already.", data={"state": view.state.value}
        )
    request = _request(context, view, known)
    if request is None:
        raise _no_passkeys()
    return request


async def page_authenticate(
    context: Context, action_id: str, credential: Mapping[str, Any]
) -> dict[str, str]:
    """Answer the action with an assertion made on the page."""
    assertion = await _check(context, action_id, credential, None)
    decision = await context.store.write(lambda uow: approve_by_passkey(uow, action_id, assertion))
    _raise_unless_authenticated(decision)
    return {"state": decision.state.value}


async def page_deny(context: Context, action_id: str) -> None:
    """The customer says on the page that they did not start this."""
    await context.store.write(lambda uow: deny(uow, action_id))


def may_enrol(view: ActionView, customer_id: str | None, browser: str | None) -> bool:
    """Whether a passkey can be added on the strength of this action: by a device of the customer, or by the
    browser that came back from the bank. Others may have seen the page's address or its short code."""
    if customer_id is not None:
        return view.may_enrol
    # Who used the bank has no passkey on this device, or none at all.
    by_bank = view.method == AuthenticationMethod.THREE_DS
    return view.may_enrol and by_bank and came_back(view.row, browser)


async def go_to_bank(context: Context, action_id: str, browser: str | None) -> tuple[str, str] | None:
    """Send a browser to the bank; returns the bank's address and what that browser has to keep.

    ``browser`` is what it keeps from before. None when the action has been decided.
    """
    view = await context.store.read(lambda reader: action_view(reader, action_id))
    if is_decided(view.state):
        return None
    if browser is not None and was_sent(view.row, browser):
        return view.provider_url, browser
    fresh = new_browser_secret()
    await context.store.write(lambda uow: note_sent(uow, view.row, fresh))
    return view.provider_url, fresh


async def back_from_bank(context: Context, action_id: str, browser: str | None, proof: str) -> None:
    """Note that a browser has come back from the bank. Without the bank's proof nothing changes."""

    def note(uow: UnitOfWork) -> None:
        note_back(uow, action_view(uow, action_id).row, browser, proof)

    await context.store.write(note)


async def enrol_options(
    context: Context, action_id: str, customer_id: str | None = None, *, browser: str | None = None
) -> dict[str, Any]:
    """Return what to create a passkey with.

    A passkey is bound to the customer on the strength of an authentication that was just passed, so holding
    a device token or the page's address is not enough: it takes both a device of the customer
    (``customer_id``) and the authentication, or the ``browser`` that was sent to the bank for it and
    came back.
    Raises VitrineError ``passkey.sca_required``.
    """
    party = _party(context)
    challenge = secrets.token_bytes(32)

    def begin(uow: UnitOfWork) -> tuple[ActionView, list[Any]]:
        view = action_view(uow, action_id, customer_id=customer_id)
        if not may_enrol(view, customer_id, browser):
            raise _authenticate_first()
        known = passkeys.passkeys_of(uow, view.customer_id)
        set_enrol_challenge(uow, view.row, challenge.hex())
        return view, known

    view, known = await context.store.write(begin)
    return passkeys.registration_options(party, view.customer_id, "Shopping", challenge, known)


async def enrol(
    context: Context,
    action_id: str,
    credential: Mapping[str, Any],
    name: str,
    *,
    customer_id: str | None = None,
    browser: str | None = None,
    kept: tuple[str, str, str] | None = None,
) -> str:
    """Store a passkey that was created with `enrol_options`, and tell the customer; returns its id.

    ``kept`` is operation, key and hash of the request, to remember the result by.
    """
    party = _party(context)
    view = await context.store.read(lambda reader: action_view(reader, action_id, customer_id=customer_id))
    challenge = view.enrol_challenge
    if not may_enrol(view, customer_id, browser) or challenge is None:
        raise _authenticate_first()
    new = passkeys.check_registration(party, credential, bytes.fromhex(challenge))

    def add(uow: UnitOfWork) -> str:
        passkeys.require_room(uow, view.customer_id, new)
        if not take_enrol_challenge(uow, view.row, challenge):
            raise _authenticate_first()
        passkey_id = passkeys.add_passkey(uow, view.customer_id, new, name)
        uow.emit(Event(view.customer_id, "passkey.added", {"passkey_id": passkey_id, "name": name}))
        if kept is not None:
            keep_result(uow, view.customer_id, *kept, {"passkey_id": passkey_id})
        return passkey_id

    return await context.store.write(add)


def payee_name(context: Context, view: ActionView) -> str:
    """Return the merchant's name as the payer knows it."""
    return context.catalog.current.merchant(view.merchant_id).name


# --- Shared -----------------------------------------------------------------------------------------


def _with_passkeys(reader: Reader, action_id: str, customer_id: str | None) -> tuple[ActionView, list[Any]]:
    view = action_view(reader, action_id, customer_id=customer_id)
    return view, passkeys.passkeys_of(reader, view.customer_id)


def _request(context: Context, view: ActionView, known: list[Any]) -> dict[str, Any] | None:
    """Return the options of an assertion whose challenge is the action's dynamic link, or None."""
    party = context.passkeys
    if party is None or not known or not view.passkey_allowed or is_decided(view.state):
        return None
    return passkeys.assertion_options(party, view.link, known)


async def _check(
    context: Context, action_id: str, credential: Mapping[str, Any], customer_id: str | None
) -> Assertion:
    """Check an assertion outside of any unit: signatures take their time."""
    party = _party(context)

    def look(reader: Reader) -> tuple[ActionView, Any]:
        view = action_view(reader, action_id, customer_id=customer_id)
        return view, passkeys.asserting_passkey(reader, view.customer_id, credential)

    view, row = await context.store.read(look)
    if is_decided(view.state):
        raise ConflictError(
            "challenge.decided", "This was decided already.", data={"state": view.state.value}
        )
    return passkeys.check_assertion(party, row, credential, view.link)


def _raise_unless_authenticated(decision: Decision) -> None:
    if decision.clone_suspected:
        raise VitrineError(
            "passkey.revoked",
            "The passkey seems to exist twice and was removed; approve with your bank.",
            error_class=ErrorClass.SCA,
        )
    if decision.voided is not None:
        raise ConflictError(
            "challenge.voided",
            "The payment has changed since you were asked; you will be asked again.",
            data={"changed": decision.voided},
        )


def _party(context: Context) -> RelyingParty:
    if context.passkeys is None:
        raise _no_passkeys()
    return context.passkeys


def _no_passkeys() -> VitrineError:
    return ConflictError("passkey.unavailable", "Passkeys cannot be used for this payment.")


def _authenticate_first() -> VitrineError:
    return VitrineError(
        "passkey.sca_required",
        "Approve a payment with your bank first; then a passkey can be added.",
        error_class=ErrorClass.SCA,
    )


def _passkey_document(row: Any) -> dict[str, Any]:
    return {
        "passkey_id": row.passkey_id,
        "name": row.name,
        "transports": decode(row.transports),
        "backed_up": bool(row.backed_up),
        "created_at": rfc3339(row.created_at_ms),
        "last_used_at": None if row.last_used_at_ms is None else rfc3339(row.last_used_at_ms),
    }
