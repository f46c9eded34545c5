"""The comparison for the price of a command: a stand-alone ``websockets`` server that echoes.

On the same event loop as the gateway (uvloop), without compression, like the gateway.
"""

from __future__ import annotations

import json
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, serve

from bench.lifetime import on_end_of_input


async def _echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def run() -> None:
    """Serve on a free loopback port until the process is ended."""
    async with serve(_echo, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        sys.stdout.write(json.dumps({"url": f"ws://127.0.0.1:{port}/", "customers": []}) + "\n")
        sys.stdout.flush()
        on_end_of_input(server.close)
        await server.wait_closed()


if __name__ == "__main__":
    uvloop.run(run())
