"""``make serve``: a gateway with the sample catalog that stays up until Ctrl-C, and what to type at it.

Everything is kept in ``var/``. The first run imports the catalog, makes a merchant's API key and signs a
sample customer in; later runs find all of it again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from gateway.app import Gateway
from gateway.kernel.errors import VitrineError
from gateway.protocol.messages import SUBPROTOCOL
from gateway.serving import Server, listen
from gateway.sessions.core import SessionLimits
from gateway.settings import Settings, SettingsError
from samples.shop import CATALOG, Shop, prepare

# A person types here: the usual ten seconds to sign in and twenty between heartbeats are for programs.
PATIENT = SessionLimits(auth_timeout_ms=120_000, heartbeat_ms=120_000)

LAMP = "kuppel-lamp"
"""The product that the README buys."""

# The tool assumes that a message fits into one line of the terminal and would let the next input cover it.
_WHOLE_LINES = "grep --line-buffered -o '[{CF].*'"


def main() -> int:
    """Entry point; returns the exit code."""
    options = _options()
    given = {name: getattr(options, name) for name in ("host", "port", "data_dir")}
    try:
        settings = Settings.load(**{name: value for name, value in given.items() if value is not None})
        settings = replace(settings, limits=PATIENT)
        asyncio.run(_serve(settings, options.catalog, as_json=options.json))
    except (SettingsError, VitrineError, RuntimeError) as error:
        return _failed(error.message if isinstance(error, VitrineError) else str(error))
    except OSError as error:
        # Too late to know which file or port; the ones that happen to people are named in `_serve`.
        return _failed(str(error))
    except KeyboardInterrupt:
        return 130
    return 0


async def _serve(settings: Settings, catalog: Path, *, as_json: bool) -> None:
    try:
        listening = listen(settings.host, settings.port)
    except OSError as error:
        raise RuntimeError(
            f"{settings.host}:{settings.port} cannot be used ({error.strerror}); "
            "choose another port and folder: VITRINE_PORT=8081 VITRINE_DATA_DIR=var2 make serve"
        ) from error
    settings = replace(settings, port=listening.getsockname()[1])
    gateway = await Gateway.open(settings)
    try:
        shop = await prepare(gateway, catalog)
        server = Server(gateway, listening)
        if as_json:
            print(json.dumps({"url": settings.base_url, **asdict(shop)}), flush=True)
            _when_input_ends(server.stop)
        else:
            _print_sheet(Console(highlight=False), settings, shop)
        await server.run_until_stopped()
    finally:
        await gateway.close()


def _print_sheet(console: Console, settings: Settings, shop: Shop) -> None:
    """What a person needs: addresses, a second terminal, lines to paste."""
    base = settings.base_url
    socket = f"{base.replace('http', 'ws', 1)}/v1/connect"
    console.print("[bold green]Vitrine is open.[/] Ctrl-C ends it; everything stays in", end=" ")
    console.print(f"{settings.data_dir}/", markup=False)
    console.print()
    for name, value, note in (
        ("socket", socket, SUBPROTOCOL),
        ("HTTP API", f"{base}/docs", "merchants and customers"),
        ("protocol", f"{base}/v1/asyncapi.json", "AsyncAPI 3"),
        ("health", f"{base}/readyz", ""),
        ("customer", shop.customer_id, f"{shop.customer}, with two test cards"),
        ("token", shop.token, f"of {shop.customer}'s headset"),
        ("API key", shop.api_key, f"of {shop.merchant}"),
    ):
        console.print(f"  [cyan]{name:<8}[/]  {value}  [dim]{note}[/]", soft_wrap=True)
    console.print()
    console.print("[bold]Shop by hand.[/] In a second terminal:")
    _paste(console, f".venv/bin/websockets '{socket}?subprotocol={SUBPROTOCOL}' | {_WHOLE_LINES}")
    console.print(f"then paste line by line, as [bold]{shop.customer}[/]; Ctrl-D ends the connection:")
    for message in (
        {"id": "1", "type": "auth", "body": {"token": shop.token}},
        {"id": "2", "type": "catalog.get", "body": {"merchant": shop.merchant, "handle": LAMP}},
        {"id": "3", "type": "payment.methods"},
    ):
        _paste(console, json.dumps(message, separators=(",", ":")))
    console.print('The README goes on from here: "Buy something by hand".')
    console.print()
    console.print(f"[bold]Be the merchant.[/] The books of {shop.merchant}:")
    _paste(console, f"curl -s -H 'Authorization: Bearer {shop.api_key}' {base}/v1/merchant/books")


def _paste(console: Console, line: str) -> None:
    """A line that can be copied whole: never wrapped, never coloured inside."""
    console.print(line, style="yellow", markup=False, soft_wrap=True)


def _when_input_ends(stop: Callable[[], None]) -> None:
    """End with the program that started this one, even if that is killed."""
    loop = asyncio.get_running_loop()

    def watch() -> None:
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(stop)

    threading.Thread(target=watch, daemon=True, name="input-watcher").start()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m samples.serve", description=__doc__)
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port; 0 takes a free one (8080)")
    parser.add_argument("--data-dir", type=Path, help="where everything is kept (var)")
    parser.add_argument("--catalog", type=Path, default=CATALOG, help="product files of the first run")
    parser.add_argument(
        "--json",
        action="store_true",
        help="for programs: print addresses and tokens as one line of JSON, and end when the input ends",
    )
    return parser.parse_args()


def _failed(message: str) -> int:
    Console(stderr=True, highlight=False).print(
        f"The gateway did not open: {message}", markup=False, soft_wrap=True
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
