"""A headset that shops at a running gateway.

``.venv/bin/python -m samples.headset --token TOKEN KUPPEL-LAMP:bundle MONSTERA:physical``

Signs in (``make serve`` prints a token), buys each SKU in the format named after the
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
from typing import Any

from gateway.kernel.money import Money
from samples.headset.client import CommandError, Document, Headset, Memory, SignInRefusedError

SIGN_IN_WITHIN_S = 5.0
ENDS_WITHIN_S = 60.0
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
    """Print an event on one line, whole, behind the end of its order's id."""
    body = dict(event["body"])
    order = body.pop("order_id", "")[-6:]
    told = " ".join(f"{name}={_text(value)}" for name, value in body.items() if value is not None)
    print(f"{event['seq']:>4}  {order:<6}  {event['type']:<22} {told}".rstrip(), flush=True)


def _text(value: Any) -> str:
    """``196.00 EUR`` for an amount; the values alone of other documents."""
    match value:
        case {"amount_minor": int(amount), "currency": str(currency)}:
            return str(Money(amount, currency))
        case dict():
            return " ".join(_text(one) for one in value.values())
        case list():
            return ", ".join(_text(one) for one in value) or "none"
        case _:
            return str(value)


async def finish(headset: Headset) -> None:
    """Send again, with its key, what an earlier run sent and did not see answered."""
    for key, unanswered in list(headset.memory.pending.items()):
        try:
            await headset.command(unanswered["type"], unanswered["body"], key=key)
        except CommandError as refused:
            print(f"{unanswered['type']} of an earlier run: {refused}")


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
    order_id = placed["order_id"]
    try:
        ended = await headset.event(ENDS[0], order_id=order_id, or_types=ENDS[1:], within_s=ENDS_WITHIN_S)
    except TimeoutError:
        raise TimeoutError(f"{order_id} has not ended within {ENDS_WITHIN_S:.0f} s") from None
    return str(ended["type"])


async def shop(url: str, token: str, merchant: str, items: list[str], memory: Path) -> int:
    """Buy everything, one after the other; 0 if every order was completed."""
    headset = Headset(
        url,
        token,
        memory=Memory(memory),
        on_event=show,
        on_waiting=lambda: print(f"waiting for {url} ...", flush=True),
        sign_in_within_s=SIGN_IN_WITHIN_S,
    )
    async with headset:
        await finish(headset)
        methods = (await headset.command("payment.methods"))["methods"]
        if not methods:
            print("no stored card; store one first", file=sys.stderr)
            return 1
        ends = [await buy(headset, merchant, item, methods[0]["payment_method_id"]) for item in items]
        wallet = await headset.command("wallet.list")
        owned = [item["sku"] for item in wallet["items"] if item["state"] == "owned"]
        print(f"digital items in the wallet: {', '.join(owned) or 'none'}")
    return 0 if all(end == ENDS[0] for end in ends) else 1


def main() -> int:
    """Read the arguments and shop."""
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m samples.headset", description="A headset that shops."
    )
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
