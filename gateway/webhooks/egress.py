"""Sending to addresses that others have named, without being led into our own network.

A host's name is looked up here, every address of the answer is checked, and the connection goes to the very
address that was checked: a name that changes its answer in between (DNS rebinding) gains nothing. Redirects
are not followed. No proxy of the environment is used, and an answer's body is hardly read.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpcore

from gateway.kernel.clock import Clock
from gateway.kernel.errors import InvalidError
from gateway.webhooks.model import Answer

TIMEOUT_S = 15.0
"""For one attempt as a whole, from the look-up of the name to the answer's head."""
_CONNECT_S = 10.0
_MOST_BODY_BYTES = 64 * 1024
"""Of an answer is read so that its connection can be used again; with more the connection is closed."""
_BODY_S = 1.0
_LOOKUPS = 16
_IDLE_S = 30.0
_MOST_URL = 2_000
_TO_TRY = " (to try it on this machine: VITRINE_PRIVATE_WEBHOOKS=on for the gateway and for this command)"

_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_REFUSED = tuple(
    map(
        ipaddress.ip_network,
        # Special ranges that the standard library calls global: IETF protocols, 6to4 relays and 6to4, where
        # an address of version 4 is inside, and documentation (RFC 6890, RFC 7526, RFC 3056, RFC 9637).
        ("192.0.0.0/24", "192.88.99.0/24", "2002::/16", "3fff::/20"),
    )
)


REFUSED_ADDRESS = "address refused"
"""The error of an answer that was not asked for."""


class AddressRefusedError(Exception):
    """The name leads to an address to which nothing is sent."""


def is_public(text: str) -> bool:
    """Whether an address is one of the public internet: no loopback, private, link-local, shared, special."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(str(address.ipv4_mapped))
        # Outside of it are translations of version 4 addresses (NAT64), which may lead anywhere.
        if address not in _GLOBAL_UNICAST or address.scope_id is not None:
            return False
    if any(address.version == net.version and address in net for net in _REFUSED):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def checked_url(url: str, *, private: bool) -> str:
    """Return an address to which notices may be sent. Raises InvalidError ``webhook.address``.

    ``private``: also http, and hosts of this machine or a private network, for development.
    """

    def refused(why: str) -> InvalidError:
        return InvalidError("webhook.address", f"Not an address for webhooks: {why}.", param="webhook_url")

    if len(url) > _MOST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise refused("it is too long, or has characters that a URL must not have")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise refused("it cannot be read") from None
    if parts.scheme != "https" and not (private and parts.scheme == "http"):
        raise refused(f"it must begin with https://{_TO_TRY}")
    if not host or port == 0:
        raise refused("it names no host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise refused("it holds a user, a password or a fragment")
    if not private:
        if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
            raise refused(f"the host is not public{_TO_TRY}")
        if _is_address(host) and not is_public(host):
            raise refused(f"the host is not public{_TO_TRY}")
    return url


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Names:
    """Looks names up in threads of its own. Callers that ask for the same name share one look-up, so a name
    server that does not answer takes one thread, not one for every notice."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="webhook-names")
        self._asked: dict[tuple[str, int], Future[list[str]]] = {}

    async def addresses(self, host: str, port: int) -> list[str]:
        """Return all addresses of a host. Raises OSError."""
        asked = self._asked.get((host, port))
        if asked is None:
            asked = self._asked[host, port] = self._threads.submit(_look_up, host, port)
            asked.add_done_callback(lambda _: self._asked.pop((host, port), None))
        return await asyncio.wrap_future(_watched(asked))

    def close(self) -> None:
        """Take no more; what hangs is left to end by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _watched(asked: Future[list[str]]) -> Future[list[str]]:
    """Return a future of one caller: giving it up must not cancel the look-up of the others."""
    mine: Future[list[str]] = Future()

    def done(found: Future[list[str]]) -> None:
        if not mine.set_running_or_notify_cancel():
            return
        error = found.exception() if not found.cancelled() else OSError("closed")
        if error is not None:
            mine.set_exception(error)
        else:
            mine.set_result(found.result())

    asked.add_done_callback(done)
    return mine


async def _read_little(answer: httpcore.Response) -> None:
    read = 0
    async for piece in answer.aiter_stream():
        read += len(piece)
        if read > _MOST_BODY_BYTES:
            return


def _look_up(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError("no host name") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class _CheckedConnections(httpcore.AsyncNetworkBackend):
    """Opens connections to checked addresses only. TLS still names, and checks, the host."""

    def __init__(self, names: Names, *, private: bool) -> None:
        self._names = names
        self._private = private
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # as its base
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        found = await self._names.addresses(host, port)
        # One private address among public ones is enough: whoever answers so means no good.
        if not found or (not self._private and not all(map(is_public, found))):
            raise AddressRefusedError(host)
        for address in found[:-1]:
            try:
                return await self._inner.connect_tcp(address, port, min(timeout or _CONNECT_S, 3.0))
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._inner.connect_tcp(found[-1], port, timeout)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  # as its base
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise AddressRefusedError(path)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Egress:
    """Posts signed bodies to the servers of others, from one process."""

    def __init__(
        self,
        clock: Clock,
        *,
        private: bool = False,
        trust: ssl.SSLContext | None = None,
        names: Names | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """``private``: see `checked_url`. ``trust`` in place of the system's authorities."""
        self._clock = clock
        self._private = private
        self._timeout_s = timeout_s
        self._names = names or Names()
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=trust or ssl.create_default_context(),
            max_connections=None,
            max_keepalive_connections=256,
            keepalive_expiry=_IDLE_S,
            network_backend=_CheckedConnections(self._names, private=private),
        )

    async def post(self, url: str, headers: Sequence[tuple[str, str]], body: bytes) -> Answer:
        """Post and return what came of it; whatever goes wrong on the way is an answer too."""
        try:
            checked_url(url, private=self._private)
            async with asyncio.timeout(self._timeout_s):
                return await self._post(url, headers, body)
        except (InvalidError, AddressRefusedError):
            return Answer(error=REFUSED_ADDRESS)
        except TimeoutError:
            return Answer(error=f"no answer within {self._timeout_s:g} s")
        except (OSError, httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            # The kind alone: messages may hold what a stranger wrote.
            return Answer(error=type(error).__name__)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.aclose()
        self._names.close()

    async def _post(self, url: str, headers: Sequence[tuple[str, str]], body: bytes) -> Answer:
        sent = [
            ("content-type", "application/json"),
            ("user-agent", "Vitrine-Webhooks/1"),
            ("accept", "*/*"),
            *headers,
        ]
        timeouts = {"connect": _CONNECT_S, "read": self._timeout_s, "write": self._timeout_s}
        async with self._pool.stream(
            "POST", url, headers=sent, content=body, extensions={"timeout": timeouts}
        ) as answer:
            # The head says it all; a body that does not end takes nothing back.
            with suppress(TimeoutError, httpcore.NetworkError, httpcore.ProtocolError):
                async with asyncio.timeout(_BODY_S):
                    await _read_little(answer)
            return Answer(answer.status, self._retry_after_ms(answer.headers))

    def _retry_after_ms(self, headers: Sequence[tuple[bytes, bytes]]) -> int | None:
        """Return what ``Retry-After`` says (RFC 9110, 10.2.3: seconds or a date), None if nothing usable."""
        for name, value in headers:
            if name.lower() == b"retry-after":
                text = value.decode("latin-1").strip()
                if text.isdecimal():
                    return min(int(text[:9]), 10**7) * 1000
                try:
                    at = parsedate_to_datetime(text)
                    return max(0, round(at.timestamp() * 1000) - self._clock.now_ms())
                except (ValueError, TypeError, OverflowError):
                    return None
        return None
