"""Runs the demo: opens a gateway, shops, shows what is left, and says how long it took."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from samples.demo import closing
from samples.demo.server import Announced, GatewayFailedError, GatewayProcess
from samples.demo.shopping import CURRENCY, WISHES, DemoError, Shopper
from samples.demo.stage import Stage, console
from samples.headset.client import CommandError, Document, Headset, SignInRefusedError
from samples.merchant_api import MerchantApi

SAMPLE_CATALOG = Path(__file__).parent.parent / "catalog"
_WHOLE_WITHIN_S = 55.0


def main() -> int:
    """Entry point; returns the exit code: 0 when every step ended as it should."""
    # A terminal that cannot show a character shows a question mark instead of ending the demo.
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # it is a real file here
    options = _options()
    stage = Stage(console())
    try:
        asyncio.run(_run(stage, options.port, options.catalog))
    except KeyboardInterrupt:
        return 130
    except TimeoutError:
        return _failed(f"it was not done within {_WHOLE_WITHIN_S:.0f} s")
    except (DemoError, GatewayFailedError, CommandError, SignInRefusedError, OSError) as error:
        return _failed(str(error))
    if options.picture is not None:
        stage.save_picture(options.picture)
    return 0


async def _run(stage: Stage, port: int, catalog: Path) -> None:
    began_s = time.monotonic()
    async with asyncio.timeout(_WHOLE_WITHIN_S):
        with tempfile.TemporaryDirectory(prefix="vitrine-demo-") as data:
            async with GatewayProcess(Path(data), port, catalog) as process:
                with stage.console.status("A gateway opens: databases, vault, chain, contract, catalog ..."):
                    gateway = await process.opened()
                opened_s = time.monotonic() - began_s
                # Whichever is first: the story's end, or the gateway's.
                story = asyncio.create_task(_story(stage, gateway, opened_s))
                accident = asyncio.create_task(process.ended())
                try:
                    await asyncio.wait([story, accident], return_when=asyncio.FIRST_COMPLETED)
                    await (story if story.done() else accident)
                finally:
                    story.cancel()
                    accident.cancel()
                    await asyncio.gather(story, accident, return_exceptions=True)
    stage.show(*_farewell(time.monotonic() - began_s))


async def _story(stage: Stage, gateway: Announced, opened_s: float) -> None:
    api = MerchantApi(gateway.url, gateway.api_key)
    news: asyncio.Queue[Document] = asyncio.Queue()
    headset = Headset(gateway.socket_url, gateway.token, on_event=news.put_nowait, give_up_after_s=10)
    async with headset:
        stage.show(*_opening(gateway, opened_s))
        shopper = Shopper(stage, headset, news, api)
        for number, wish in enumerate(WISHES, start=1):
            await shopper.buy(number, gateway.merchant, wish)
        stage.show(*closing.wallet(await headset.command("wallet.list"), gateway.customer))
    stage.show(*closing.books(await api.books(), gateway.merchant, CURRENCY))


def _opening(gateway: Announced, opened_s: float) -> list[Text | Table]:
    facts = Table.grid(padding=(0, 2))
    facts.add_row(
        Text("gateway", "green"), f"{gateway.url}, a process of its own, open after {opened_s:.1f} s"
    )
    facts.add_row(Text("headset", "green"), f"{gateway.customer}'s, signed in over the WebSocket")
    facts.add_row(Text("simulated", "yellow"), "the card acquirer and the warehouse; everything else is real")
    return [Text("Vitrine: one order, a digital item and a parcel", "bold"), facts, Text()]


def _farewell(took_s: float) -> list[Text | Table]:
    told = Text.assemble(
        (f"{len(WISHES)} purchases, every step done, {took_s:.1f} s.", "bold green"),
        " Its data has been deleted.",
    )
    following = Table.grid(padding=(0, 2))
    for command, meaning in (
        ("make serve", "a gateway that stays: buy something by hand (README)"),
        ("make test", "the rules it keeps, also when things break"),
        ("docs/payments.md", "the life of a payment: refunds, pay links, cash at the door"),
        ("docs/vault.md", "where cards are kept, inside the gateway or apart"),
        ("docs/books.md", "accounts, reconciliation with providers and banks, exports"),
        ("docs/", "architecture, protocol, products, operations"),
    ):
        following.add_row(Text("  " + command, "cyan"), meaning)
    return [told, Text(), Text("What next", "bold"), following]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m samples.demo", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="the gateway's port; 0 takes a free one")
    parser.add_argument("--catalog", type=Path, default=SAMPLE_CATALOG, help="product files to import")
    parser.add_argument("--picture", type=Path, help="save what was shown as an SVG")
    return parser.parse_args()


def _failed(message: str) -> int:
    out = Console(stderr=True, highlight=False)
    out.print("[bold red]The demo failed.[/]")
    out.print(message, markup=False, soft_wrap=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
