"""Errors over HTTP: RFC 9457 problem details with the same closed list of codes as the socket."""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from gateway.catalog.problems import CatalogInvalidError
from gateway.http.callers import key_required
from gateway.kernel.errors import VitrineError
from gateway.protocol.codec import error_body
from gateway.protocol.errors import ERROR_CODES

log = structlog.get_logger(__name__)


def problem(error: VitrineError) -> JSONResponse:
    """Return the problem document of an error; ``type`` names the code, ``class`` what to do."""
    body = error_body(error)
    known = ERROR_CODES[body["code"]]
    document: dict[str, Any] = {
        "type": f"urn:vitrine:error:{body['code']}",
        "title": known.meaning,
        "status": known.http_status,
        "detail": body["message"],
        "code": body["code"],
        "class": body["class"],
    }
    for name in ("param", "retry_after_ms", "data"):
        if name in body:
            document[name] = body[name]
    if isinstance(error, CatalogInvalidError):
        document["problems"] = [
            {"file": one.file, "line": one.line, "field": one.field, "message": one.message}
            for one in error.problems
        ]
    headers = {}
    if error.retry_after_ms is not None:
        headers["Retry-After"] = str(max(1, error.retry_after_ms // 1000))
    if known.http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(
        document, status_code=known.http_status, headers=headers, media_type="application/problem+json"
    )


def install(app: FastAPI) -> None:
    """Answer every error of ours, every malformed request and every surprise with a problem document."""

    @app.exception_handler(VitrineError)
    async def _ours(request: Request, error: VitrineError) -> JSONResponse:
        if error.code not in ERROR_CODES:
            log.error("http.unlisted_error", code=error.code, path=request.url.path)
        return problem(error)

    @app.exception_handler(HTTPException)
    async def _framework(request: Request, error: HTTPException) -> JSONResponse:
        # The framework's own answers: unknown paths, wrong methods.
        document = {"type": "about:blank", "title": error.detail, "status": error.status_code}
        return JSONResponse(
            document,
            status_code=error.status_code,
            headers=error.headers,
            media_type="application/problem+json",
        )

    @app.exception_handler(RequestValidationError)
    async def _malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if tuple(first["loc"]) == ("header", "idempotency-key"):
            return problem(key_required())
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"][1:])
        # A customer's commands name their input alike over both: the socket's have it in their body.
        twin = first["loc"][0] == "body" and "customer" in getattr(request.scope.get("route"), "tags", ())
        code = "price.client_sent" if first["type"] == "price_sent" else "message.invalid"
        # The input itself is left out: it may hold a card number.
        return problem(VitrineError(code, first["msg"], param=f"$.body{where}" if twin else f"${where}"))

    @app.exception_handler(ClientDisconnect)
    async def _gone(request: Request, error: ClientDisconnect) -> Response:
        # Nobody is there to read it, and nothing failed here: whoever asked is gone, and asks again.
        return Response(status_code=400)

    @app.exception_handler(Exception)
    async def _surprise(request: Request, error: Exception) -> JSONResponse:
        log.error("http.failed", path=request.url.path, error=type(error).__name__, exc_info=error)
        return problem(VitrineError("internal", "Something failed on our side."))
