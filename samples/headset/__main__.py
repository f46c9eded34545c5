"""A headset that shops: ``python -m samples.headset --token TOKEN KUPPEL-LAMP:bundle FJORD-MUG:physical``.

Signs in to a running gateway (``make serve`` prints a token), buys each SKU in the format named after the
colon with the first stored card, and prints every event until the orders have ended. What it has to remember,
its place in the stream and the keys that were not answered yet, is kept in a file, so that it can be stopped
at any moment and started again.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from samples.headset.client import CommandError, Document, Headset, Memory, SignInRefusedError

ENDS = ("order.completed", "order.canceled", "payment.declined")
SHIP_TO = {
    "name": "Ada Example",
    "line1": "Lindenweg 12",
    "postal_code": "10969",
    "city": "Berlin",
    "country": "DE",
}


def consents(required: list[str]) -> list[Document]:
    """The customer has agreed in the application's own words, just now."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return [{"kind": kind, "text_version": "1", "locale": "en", "at": at} for kind in required]


def show(event: Document) -> None:
    """Print an event on one line."""
    body = " ".join(f"{name}={value}" for name, value in event["body"].items() if name != "order_id")
    print(f"{event['seq']:>4}  {event['type']:<22} {body}"[:160])


async def buy(headset: Headset, merchant: str, item: str, method: str) -> str:
    """Quote and place one item, and return the type of the event that ended the order."""
    sku, _, chosen = item.partition(":")
    quote = await headset.command(
        "quote.create",
        {
            "merchant": merchant,
            "items": [{"sku": sku, "format": chosen or "digital"}],
            "currency": "EUR",
            "country": "DE",
        },
    )
    placed = await headset.command(
        "order.place",
        {
            "quote_id": quote["quote_id"],
            "payment_method_id": method,
            "consents": consents(quote["consents_required"]),
            **({"ship_to": SHIP_TO} if quote["ship_to_required"] else {}),
        },
    )
    ended = await headset.event(ENDS[0], order_id=placed["order_id"], or_types=ENDS[1:], within_s=60)
    return str(ended["type"])


async def shop(url: str, token: str, merchant: str, items: list[str], memory: Path) -> int:
    """Buy everything, one after the other; 0 if every order was completed."""
    async with Headset(url, token, memory=Memory(memory), on_event=show) as headset:
        methods = (await headset.command("payment.methods"))["methods"]
        if not methods:
            print("no stored card; store one first", file=sys.stderr)
            return 1
        ends = [await buy(headset, merchant, item, methods[0]["payment_method_id"]) for item in items]
        wallet = await headset.command("wallet.list")
        print(f"the wallet holds {len(wallet['items'])} digital items")
    return 0 if all(end == ENDS[0] for end in ends) else 1


def main() -> int:
    """Read the arguments and shop."""
    parser = argparse.ArgumentParser(prog="python -m samples.headset", description="A headset that shops.")
    parser.add_argument("items", nargs="+", metavar="SKU:FORMAT", help="digital, physical or bundle")
    parser.add_argument("--token", required=True, help="a device token of the customer")
    parser.add_argument("--url", default="ws://127.0.0.1:8080/v1/connect")
    parser.add_argument("--merchant", default="atelier-nord")
    parser.add_argument("--memory", type=Path, default=Path("var/headset.json"))
    given = parser.parse_args()
    given.memory.parent.mkdir(parents=True, exist_ok=True)
    try:
        return asyncio.run(shop(given.url, given.token, given.merchant, given.items, given.memory))
    except (CommandError, SignInRefusedError, TimeoutError) as error:
        print(f"could not buy: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
