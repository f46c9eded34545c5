"""Errors of the vault's API as problem documents (RFC 9457), written by the server and read by the client.

``kind`` names the error's class, so that the client raises what the method itself would have raised. A
document never repeats input.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from gateway.kernel.errors import (
    ConflictError,
    ErrorClass,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnavailableError,
    VitrineError,
)
from wallets.vault.http.wire import dumps

MEDIA_TYPE = "application/problem+json"
_KINDS: dict[str, tuple[type[VitrineError], int]] = {
    "invalid": (InvalidError, 400),
    "forbidden": (ForbiddenError, 403),
    "not_found": (NotFoundError, 404),
    "conflict": (ConflictError, 409),
    "unavailable": (UnavailableError, 503),
    "error": (VitrineError, 500),
}
_STATUS = {
    "request.too_large": 413,
    "credential.required": 401,
    "card.declined": 402,
    "card_session.expired": 410,
    "card_session.used": 410,
}
"""Codes whose status differs from that of their kind."""


def problem(error: VitrineError) -> Response:
    """Return the answer that tells of an error."""
    kind, status = _kind_of(error)
    status = _STATUS.get(error.code, status)
    document: dict[str, Any] = {
        "type": f"urn:vitrine:vault:{error.code}",
        "title": error.message,
        "status": status,
        "code": error.code,
        "kind": kind,
        "class": error.error_class.value,
    }
    for name, value in (
        ("param", error.param),
        ("data", error.data or None),
        ("retry_after_ms", error.retry_after_ms),
    ):
        if value is not None:
            document[name] = value
    headers = {"Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after_ms is not None:
        headers["Retry-After"] = str(max(1, error.retry_after_ms // 1000))
    return Response(dumps(document), status, headers, MEDIA_TYPE)


def error_of(document: Any) -> VitrineError | None:
    """Return the error a problem document tells of; None if it is not one of ours."""
    if not isinstance(document, dict):
        return None
    found = _KINDS.get(str(document.get("kind")))
    code, title = document.get("code"), document.get("title")
    if found is None or not isinstance(code, str) or not isinstance(title, str):
        return None
    data, param, retry_after_ms = (document.get(name) for name in ("data", "param", "retry_after_ms"))
    try:
        error_class = ErrorClass(str(document.get("class")))
    except ValueError:
        return None
    return found[0](
        code,
        title,
        param=param if isinstance(param, str) else None,
        data=data if isinstance(data, dict) else None,
        retry_after_ms=retry_after_ms if isinstance(retry_after_ms, int) else None,
        error_class=error_class,
    )


def _kind_of(error: VitrineError) -> tuple[str, int]:
    for kind, (error_type, status) in _KINDS.items():
        if isinstance(error, error_type):
            return kind, status
    raise AssertionError("every error is a VitrineError")
