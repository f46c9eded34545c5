"""After a run: every accepted order came to its end exactly once, in the books of everybody who took part."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.processes import BenchError
from bench.rows import read_only
from wallets.minting.contract.calls import decode_flags, encode_are_minted

_CHAIN_PAGE = 100


async def until_quiet(data_dir: Path, within_s: float) -> None:
    """Wait until no order of the data directory is open, no task waits and no token is on its way."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    left: dict[str, int] = {}
    with closing(read_only(data_dir / "gateway.db")) as gateway:
        while loop.time() < deadline:
            left = {name: _count(gateway, sql) for name, sql in _OPEN.items()}
            if not any(left.values()):
                return
            await asyncio.sleep(0.25)
    raise BenchError(f"work was left after {within_s:.0f} s: {left}")


_OPEN = {
    "orders": "SELECT count(*) FROM customer_order WHERE state NOT IN ('completed', 'canceled', 'refunded')",
    "tasks": "SELECT count(*) FROM task",
    "mints": "SELECT count(*) FROM mint WHERE state NOT IN ('final', 'skipped', 'canceled')",
    "shipments": "SELECT count(*) FROM fulfillment_order WHERE state <> 'delivered'",
}


async def check_orders(data_dir: Path, accepted: Iterable[str]) -> dict[str, int]:
    """Compare what was accepted with what happened; the gateway must be stopped.

    Returns how many orders, captures, tokens and parcels there were. Raises BenchError for anything lost or
    done twice.
    """
    ids = list(accepted)
    if len(set(ids)) != len(ids):
        raise BenchError("an order id was given to two requests")
    with (
        closing(read_only(data_dir / "gateway.db")) as gateway,
        closing(read_only(data_dir / "acquirer.db")) as acquirer,
        closing(read_only(data_dir / "backend.db")) as backend,
    ):
        states = {row[0]: row[1] for row in gateway.execute("SELECT order_id, state FROM customer_order")}
        _same("orders", set(ids), set(states))
        _same("states", {"completed"}, set(states.values()))
        ends = Counter(
            row[0]
            for row in gateway.execute(
                "SELECT json_extract(body, '$.order_id') FROM event WHERE type = 'order.completed'"
            )
        )
        _same("events that end an order", Counter(dict.fromkeys(ids, 1)), ends)
        legs = gateway.execute("SELECT leg_id, kind, amount_minor FROM leg").fetchall()
        operations = {
            (row["operation_id"], row["kind"], row["amount_minor"])
            for row in gateway.execute("SELECT operation_id, kind, amount_minor FROM payment_operation")
        }
        effects = [
            (row["operation_id"], row["kind"], row["amount_minor"])
            for row in acquirer.execute("SELECT operation_id, kind, amount_minor FROM acquirer_operation")
            if row["kind"] in ("authorize", "capture", "void", "refund")
        ]
        _same("operations at the acquirer", operations, set(effects))
        _same("effects per operation", len(effects), len(set(effects)))
        kinds = Counter(kind for _, kind, _ in effects)
        _same("authorizations", len(ids), kinds["authorize"])
        _same("captures", sum(bool(leg["amount_minor"]) for leg in legs), kinds["capture"])
        _same(
            "money captured",
            _count(gateway, "SELECT sum(total_minor) FROM customer_order"),
            sum(amount for _, kind, amount in effects if kind == "capture"),
        )
        minted = {leg["leg_id"] for leg in legs if leg["kind"] == "mint"}
        mints = gateway.execute("SELECT leg_id, state, purchase_number FROM mint").fetchall()
        _same("mints", Counter((leg, "final") for leg in minted), Counter((m[0], m[1]) for m in mints))
        numbers = sorted(row["purchase_number"] for row in mints)
        _same("purchase numbers", list(range(1, len(mints) + 1)), numbers)
        shipped = sum(leg["kind"] == "ship" for leg in legs)
        _same("orders at the backend", shipped, _count(backend, "SELECT count(*) FROM backend_order"))
        tokens = _count(gateway, "SELECT coalesce(sum(amount), 0) FROM mint WHERE state = 'final'")
    await _check_chain(data_dir, numbers)
    return {"orders": len(ids), "captures": kinds["capture"], "tokens": tokens, "parcels": shipped}


async def _check_chain(data_dir: Path, numbers: list[int]) -> None:
    """Ask the contract itself whether each purchase number was minted, and the next one was not."""
    from wallets.minting.chain.embedded import EmbeddedChain

    with closing(read_only(data_dir / "gateway.db")) as gateway:
        contract = gateway.execute("SELECT address FROM token_contract").fetchone()[0]
    client = await EmbeddedChain.open(data_dir / "chain.db", funded=[])
    try:
        asked = [*numbers, len(numbers) + 1]
        flags: list[bool] = []
        for start in range(0, len(asked), _CHAIN_PAGE):
            page = asked[start : start + _CHAIN_PAGE]
            flags += decode_flags(await client.call(contract, encode_are_minted(page)), len(page))
    finally:
        await client.close()
    _same("purchases on the chain", [True] * len(numbers) + [False], flags)


def _count(connection: sqlite3.Connection, sql: str) -> int:
    found: Any = connection.execute(sql).fetchone()[0]
    return int(found)


def _same(what: str, expected: Any, found: Any) -> None:
    if expected != found:
        raise BenchError(f"{what} do not add up: expected {str(expected)[:300]}, found {str(found)[:300]}")
