"""What a strong customer authentication is: states, codes and rules, no I/O.

An authentication belongs to one attempt. It is asked for because the issuer wants to see the customer, and
it is bound to order, amount, currency and payee (`wallets.vault.dynamic_link`). Its ends are the statuses of
the agentic commerce protocol's ``delegate_authentication``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from enum import StrEnum

from gateway.kernel.ids import Id
from wallets.vault.port import OperationStatus

LONGEST_MS = 10 * 60_000
"""An action, and with it its short code, is open for at most this long."""
ENROL_WITHIN_MS = 15 * 60_000
"""How long after a passed authentication a passkey may be bound to the customer (RTS Art. 24(2)(b) asks for
strong customer authentication when credentials are associated from afar)."""


class AuthenticationId(Id):
    prefix = "aut"


class AuthenticationState(StrEnum):
    """How an authentication stands."""

    PENDING = "pending"
    """The customer is asked."""
    AUTHENTICATED = "authenticated"
    ATTEMPTED = "attempted"
    """The issuer could not authenticate and vouches for the attempt (3-D Secure status A)."""
    NOT_AUTHENTICATED = "not_authenticated"
    """The customer failed or said no."""
    REJECTED = "rejected"
    """The issuer refuses; the payment must not be authorized."""
    UNAVAILABLE = "unavailable"
    """Authentication could not be performed."""
    EXPIRED = "expired"
    """Nobody opened the page in time, or the payment changed after the customer saw it."""
    ABANDONED = "abandoned"
    """Opened and not finished, or called off (``challenge_abandoned``)."""


_S = AuthenticationState
AUTHENTICATION_MOVES: dict[AuthenticationState, frozenset[AuthenticationState]] = {
    _S.PENDING: frozenset(_S) - {_S.PENDING},
    # What was passed can still be voided: by a change of amount, currency or payee (RTS Art. 5(1)(d)).
    _S.AUTHENTICATED: frozenset({_S.EXPIRED}),
    _S.ATTEMPTED: frozenset({_S.EXPIRED}),
    _S.NOT_AUTHENTICATED: frozenset(),
    _S.REJECTED: frozenset(),
    _S.UNAVAILABLE: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.ABANDONED: frozenset(),
}


class AuthenticationMethod(StrEnum):
    PASSKEY = "passkey"
    """An assertion to us, which the issuer or scheme has agreed to accept (delegated authentication)."""
    THREE_DS = "three_ds"
    """The issuer's own challenge."""


class Liability(StrEnum):
    """Who bears fraud on the payment."""

    ISSUER = "issuer"
    MERCHANT = "merchant"


def is_decided(state: AuthenticationState) -> bool:
    """Whether the customer can do nothing more; a decided action is never shown for approval again."""
    match state:
        case _S.PENDING:
            return False
        case (
            _S.AUTHENTICATED
            | _S.ATTEMPTED
            | _S.NOT_AUTHENTICATED
            | _S.REJECTED
            | _S.UNAVAILABLE
            | _S.EXPIRED
            | _S.ABANDONED
        ):
            return True


def may_authorize(state: AuthenticationState) -> bool:
    """Whether a payment may be authorized on the strength of this authentication."""
    match state:
        case _S.AUTHENTICATED | _S.ATTEMPTED:
            return True
        case _S.PENDING | _S.NOT_AUTHENTICATED | _S.REJECTED | _S.UNAVAILABLE | _S.EXPIRED | _S.ABANDONED:
            return False


def liability_of(state: AuthenticationState) -> Liability:
    """Return who bears fraud when the provider does not say: the issuer only for what it vouches for."""
    return Liability.ISSUER if may_authorize(state) else Liability.MERCHANT


_THREE_DS_STATUS = {
    "A": _S.ATTEMPTED,
    "N": _S.NOT_AUTHENTICATED,
    "R": _S.REJECTED,
    "U": _S.UNAVAILABLE,
}
_CALLED_OFF = frozenset({"provider.challenge_canceled", "vault.operation_abandoned"})


def state_after_challenge(
    status: OperationStatus, *, code: str | None = None, reason: str | None = None
) -> AuthenticationState:
    """Return what an authorization's final answer says about its challenge.

    ``code`` is the network code of a decline (``3DS:N`` names a 3-D Secure transaction status), ``reason``
    why it failed. A decline with a code of the network, such as 51, means that the challenge was passed and
    the issuer had another reason.
    """
    match status:
        case OperationStatus.SUCCEEDED:
            return _S.AUTHENTICATED
        case OperationStatus.DECLINED:
            scheme, _, letter = (code or "").partition(":")
            if scheme != "3DS":
                return _S.AUTHENTICATED
            # A letter nobody listed proves nothing about the customer.
            return _THREE_DS_STATUS.get(letter, _S.UNAVAILABLE)
        case OperationStatus.FAILED | OperationStatus.REFUSED:
            return _S.ABANDONED if reason in _CALLED_OFF else _S.UNAVAILABLE
        case OperationStatus.REQUIRES_ACTION | OperationStatus.UNKNOWN:
            return _S.PENDING


def state_at(
    state: AuthenticationState, expires_at_ms: int, now_ms: int, *, opened: bool
) -> AuthenticationState:
    """Return the state as time has made it: what waits beyond its end has expired or was abandoned."""
    if state is not _S.PENDING or now_ms < expires_at_ms:
        return state
    return _S.ABANDONED if opened else _S.EXPIRED


# --- Names of an action -----------------------------------------------------------------------------

USER_CODE_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
"""Letters that are hard to confuse and cannot form words (RFC 8628 section 6.1)."""
USER_CODE_LENGTH = 8
_NOT_IN_CODE = re.compile(r"[\s\-\u2010-\u2015._]")


def new_action_id() -> str:
    """Return the name of an action. Its page needs no sign-in, so it cannot be guessed: 144 random bits."""
    return f"act_{secrets.token_urlsafe(18)}"


def new_nonce() -> str:
    """Return the part of a dynamic link that makes it different from every other."""
    return secrets.token_hex(16)


def new_user_code() -> str:
    """Return a short code: 20^8, about 34 bits; guesses are limited and it is valid for minutes."""
    return "".join(secrets.choice(USER_CODE_ALPHABET) for _ in range(USER_CODE_LENGTH))


def shown_user_code(code: str) -> str:
    """Return the code as people read it: ``BCDF-GHJK``."""
    return f"{code[:4]}-{code[4:]}"


def read_user_code(typed: str) -> str | None:
    """Return the code that was typed, in any case and with any separators; None if it cannot be one."""
    code = _NOT_IN_CODE.sub("", typed[:64]).upper()
    well_formed = len(code) == USER_CODE_LENGTH and all(letter in USER_CODE_ALPHABET for letter in code)
    return code if well_formed else None


def user_code_digest(code: str) -> str:
    """Return what is stored to find an action by its code."""
    return hashlib.sha256(f"vitrine.user-code.1:{code}".encode()).hexdigest()


SEVERAL_BROWSERS = "several"
"""Stored in place of a digest once more than one browser was sent to the issuer."""


CAME_BACK = "back:"
"""Stored before the digest once that browser has come back from the issuer with `issuer_return`."""


def issuer_return(nonce: str) -> str:
    """Return what only the issuer's page hands to the browser in which the customer was authenticated.

    The nonce leaves us towards the provider alone, so nobody who saw an address or a code can compute it.
    """
    return hashlib.sha256(f"vitrine.issuer-return.1:{nonce}".encode()).hexdigest()


def new_browser_secret() -> str:
    """Return what the browser keeps that is sent to the issuer: 256 random bits."""
    return secrets.token_urlsafe(32)


def browser_digest(secret: str) -> str:
    """Return what is stored of it."""
    return hashlib.sha256(f"vitrine.sent-browser.1:{secret}".encode()).hexdigest()


def same_digest(one: str, other: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(one, other)
