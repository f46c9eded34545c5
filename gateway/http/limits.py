"""What is refused of every request before anything reads it: bodies without a bound, and NUL in text.

Authentication comes after the body otherwise; and databases hold text without NUL, which nobody types.
What is text is told by the path, never by the type that a sender names: some pages read any body as a form.
"""

from __future__ import annotations

from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http.problems import problem
from gateway.kernel.errors import InvalidError

MOST_BODY_BYTES = 1024 * 1024
STREAMED = frozenset({"/v1/merchant/models"})
"""Paths that count their own bytes while they stream, after the caller is known."""
BINARY = frozenset({"/v1/merchant/pictures"})
"""Paths whose bodies are no text."""

_NUL = (b"\\u0000", b"%00", b"\0")
"""As JSON, forms and plain bytes write it."""
_LONGEST_NUL = max(map(len, _NUL))


class _RefusedError(Exception):
    """Found while the body was read."""


class BodyLimit:
    """ASGI middleware that answers 413 instead of buffering more than the bound, and 400 to NUL."""

    def __init__(self, app: ASGIApp, most_bytes: int = MOST_BODY_BYTES) -> None:
        self._app = app
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in STREAMED:
            await self._app(scope, receive, send)
            return
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            await problem(_nul())(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdigit() or int(declared) > self._most_bytes:
            await problem(self._too_large())(scope, receive, send)
            return
        seen = 0
        before = b""
        refused: InvalidError | None = None
        answered = False
        is_text = scope["path"] not in BINARY

        async def checked() -> Message:
            nonlocal seen, before, refused
            message = await receive()
            body = message.get("body", b"")
            seen += len(body)
            if seen > self._most_bytes:
                refused = self._too_large()
            elif is_text and any(nul in before + body for nul in _NUL):
                refused = _nul()
            if refused is not None:
                raise _RefusedError
            before = (before + body)[-_LONGEST_NUL:]
            return message

        async def watched(message: Message) -> None:
            nonlocal answered
            if refused is not None and not answered:
                return  # a framework answers its own way to a body that breaks off; ours follows
            answered = True
            await send(message)

        with suppress(_RefusedError):
            await self._app(scope, checked, watched)
        if refused is not None and not answered:
            await problem(refused)(scope, receive, send)

    def _too_large(self) -> InvalidError:
        return InvalidError("message.too_large", f"A request may have {self._most_bytes} bytes.")


def _nul() -> InvalidError:
    return InvalidError("message.invalid", "NUL characters are not text.")
