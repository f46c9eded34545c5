"""What edges read of every request: its body up to a limit, and where it came from."""

from __future__ import annotations

from starlette.requests import Request

from gateway.kernel.errors import InvalidError


async def body_of(request: Request, most_bytes: int) -> bytes:
    """Return the body. Raises InvalidError ``request.too_large`` as soon as it is known to be too large."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > most_bytes:
            raise InvalidError("request.too_large", f"A request may have {most_bytes} bytes.")
    return bytes(data)


def origin_of(request: Request) -> str:
    """Return the address a request came from."""
    return request.client.host if request.client is not None else ""
