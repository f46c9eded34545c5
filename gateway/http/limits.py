"""A bound on request bodies, before anything reads them: authentication comes after the body otherwise."""

from __future__ import annotations

from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http.problems import problem
from gateway.kernel.errors import InvalidError

MOST_BODY_BYTES = 1024 * 1024
STREAMED = frozenset({"/v1/merchant/models"})
"""Paths that count their own bytes while they stream, after the caller is known."""


class _TooLargeError(Exception):
    """The body went over the bound while it was read."""


class BodyLimit:
    """ASGI middleware that answers 413 instead of buffering more than the bound."""

    def __init__(self, app: ASGIApp, most_bytes: int = MOST_BODY_BYTES) -> None:
        self._app = app
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in STREAMED:
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdigit() or int(declared) > self._most_bytes:
            await self._refuse(scope, receive, send)
            return
        seen = 0
        answered = False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._most_bytes:
                raise _TooLargeError
            return message

        async def watched(message: Message) -> None:
            nonlocal answered
            if seen > self._most_bytes and not answered:
                return  # a framework answers its own way to a body that breaks off; ours follows
            answered = True
            await send(message)

        with suppress(_TooLargeError):
            await self._app(scope, counted, watched)
        if seen > self._most_bytes and not answered:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = InvalidError("message.too_large", f"A request may have {self._most_bytes} bytes.")
        await problem(error)(scope, receive, send)
