"""The base of every error Vitrine answers with.

    VitrineError            a stable code, a class with retry advice, a message for people, data
    +-- ConflictError       somebody else won a race, or the state does not allow the move
    +-- InvalidError        the request is wrong; sending it again unchanged cannot help
    +-- NotFoundError       not there, or not the caller's
    +-- ForbiddenError      the caller may not do this
    +-- UnavailableError    our side or a third party cannot answer now; try again

Capabilities raise these with codes of their own (``stock.sold_out``). The closed list of codes that may
reach a client is `gateway.protocol.errors.ERROR_CODES`; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class ErrorClass(StrEnum):
    """What a client should do about an error."""

    RETRY = "retry"
    """The same request may succeed later, with the same idempotency key."""
    FIX = "fix"
    """The request must change: another item, amount, method or consent."""
    FATAL = "fatal"
    """No request of this kind can succeed: sign in again, update, or stop."""
    SCA = "sca"
    """The customer must authenticate the payment first (strong customer authentication)."""


class VitrineError(Exception):
    """A refusal or failure with a stable code.

    ``data`` holds plain JSON values for the client (never card data, keys or tokens); ``param`` is a
    JSONPath to the offending input; ``retry_after_ms`` is advice for class ``retry``.
    """

    error_class: ErrorClass = ErrorClass.FIX

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        data: Mapping[str, Any] | None = None,
        retry_after_ms: int | None = None,
        error_class: ErrorClass | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.param = param
        self.data: dict[str, Any] = dict(data or {})
        self.retry_after_ms = retry_after_ms
        if error_class is not None:
            self.error_class = error_class


class ConflictError(VitrineError):
    """The thing asked for is gone or in a state that does not allow it."""


class InvalidError(VitrineError):
    """The input breaks a rule that can be checked without looking anything up, or a stored rule."""


class NotFoundError(VitrineError):
    """Unknown, or not visible to this caller; the two look the same on purpose."""


class ForbiddenError(VitrineError):
    """The caller is known and may not do this."""

    error_class = ErrorClass.FATAL


class UnavailableError(VitrineError):
    """Nothing was done, or what was done is not known yet; the same key may be sent again."""

    error_class = ErrorClass.RETRY
