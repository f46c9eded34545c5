"""Running the gateway on a port: uvicorn with the limits of the protocol set explicitly."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from types import FrameType

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gateway.app import Gateway
from gateway.http.limits import STREAMED
from gateway.kernel.bounded_http import BoundedProtocol
from gateway.kernel.interpreter import tune
from gateway.logs import configure
from gateway.protocol.messages import MESSAGE_BYTES
from gateway.settings import Settings

_LINGER_S = 5.0


class _Protocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol, that does not wait for ever for a client that reads nothing."""

    async def run_asgi(self) -> None:
        await super().run_asgi()
        # Closing a transport flushes it first; a stalled client would keep it open.
        self.loop.call_later(_LINGER_S, self.transport.abort)


_OTHER_FILES = 256
"""Files of the process that are not its clients': databases, models, connections to the outside."""


def most_connections() -> int:
    """Return how many clients may be connected: as many as the process may have files for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(soft - _OTHER_FILES, soft // 2)


class _Http(BoundedProtocol):
    """HTTP connections, and WebSockets until they are upgraded."""

    long_paths = STREAMED
    most_connections = staticmethod(most_connections)


class Server(uvicorn.Server):
    """A uvicorn server for an application that is opened and closed by us, not by its lifespan."""

    def __init__(self, gateway: Gateway, listening: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                gateway.asgi,
                http=_Http,
                ws=_Protocol,
                # A header that says where a request came from can be written by anybody; only a proxy that
                # the settings name is believed.
                proxy_headers=bool(gateway.settings.trusted_proxies),
                forwarded_allow_ips=gateway.settings.trusted_proxies,
                # Over the limit of the protocol by a little, so that a message just above it gets our
                # error; far above it the connection is closed with 1009.
                ws_max_size=2 * MESSAGE_BYTES,
                # Heartbeats are the protocol's own; a ping does not prove that the application lives.
                ws_ping_interval=None,
                # Memory per connection, bombs, and secrets beside text an attacker chose (W12).
                ws_per_message_deflate=False,
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=5,
            )
        )
        self._listening = listening

    async def run_until_stopped(self) -> None:
        """Serve until a signal or `stop`."""
        await self.serve(sockets=[self._listening])

    def stop(self) -> None:
        """Ask the server to end."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End in order on SIGINT and SIGTERM; a second SIGINT does not wait for requests.

        uvicorn would raise the signal again once it has served. That would end the process, or cancel the
        task, in the middle of closing the databases.
        """
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    listening.listen(2048)
    listening.setblocking(False)
    return listening


async def serve(settings: Settings, *, ready: Callable[[Gateway], None] | None = None) -> None:
    """Open a gateway and serve it until the process is told to stop."""
    configure()
    listening = listen(settings.host, settings.port)
    settings = replace(settings, port=listening.getsockname()[1])
    gateway = await Gateway.open(settings)
    tune()
    try:
        if ready is not None:
            ready(gateway)
        await Server(gateway, listening).run_until_stopped()
    finally:
        await gateway.close()


def run(settings: Settings, *, ready: Callable[[Gateway], None] | None = None) -> None:
    """Blocking form of `serve`, on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(settings, ready=ready))
        return
    uvloop.run(serve(settings, ready=ready))
