"""Promises about what there is only so much of: stock, editions, serials, and parcels."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.support.evidence import Evidence, Row
from tests.support.promises import Violation, by, total


def pools(evidence: Evidence, at_rest: bool) -> Iterator[Violation]:
    """On hand = available + held + reserved, none below zero, and each is what the holds say."""
    promise = "stock and editions"
    holds = by(evidence.rows("SELECT * FROM inventory_hold"), "pool_id")
    adjusted = {
        row["pool_id"]: row["delta"]
        for row in evidence.rows(
            "SELECT pool_id, sum(delta) AS delta FROM inventory_adjustment GROUP BY pool_id"
        )
    }
    for pool in evidence.rows("SELECT * FROM inventory_pool"):
        pool_id = pool["pool_id"]
        mine = holds.get(pool_id, [])
        figures = {
            "held": total((h for h in mine if h["state"] == "held"), "quantity"),
            "reserved": sum(
                h["quantity"] - h["consumed"] - h["released"] for h in mine if h["state"] == "reserved"
            ),
            "on_hand": adjusted.get(pool_id, 0) - total(mine, "consumed"),
        }
        for column, figure in figures.items():
            if pool[column] != figure:
                yield Violation(promise, pool_id, f"{column} is {pool[column]}, its holds say {figure}")
        if min(pool["held"], pool["reserved"], pool["on_hand"] - pool["held"] - pool["reserved"]) < 0:
            yield Violation(promise, pool_id, f"below zero: {pool}")
    if at_rest:
        for row in evidence.rows(
            "SELECT h.hold_id, o.order_id, o.state FROM inventory_hold h JOIN customer_order o USING (order_id) "
            "WHERE h.state = 'reserved' AND o.state IN ('completed', 'canceled', 'refunded')"
        ):
            yield Violation(promise, row["hold_id"], f"reserved for an order that is {row['state']}")


def editions(evidence: Evidence, at_rest: bool) -> Iterator[Violation]:
    """Copies out = consumed holds, within the cap; serials are unique and in range; ledger of tokens."""
    promise = "editions"
    consumed = {
        row["pool_id"]: row["n"]
        for row in evidence.rows("SELECT pool_id, sum(consumed) AS n FROM inventory_hold GROUP BY pool_id")
    }
    serials = by(evidence.rows("SELECT * FROM inventory_serial"), "pool_id")
    for pool in evidence.rows("SELECT * FROM inventory_pool WHERE kind = 'edition'"):
        pool_id, out = pool["pool_id"], consumed.get(pool["pool_id"], 0)
        if pool["issued"] != out:
            yield Violation(promise, pool_id, f"{pool['issued']} issued, {out} consumed")
        cap = pool["on_hand"] + pool["issued"]
        numbers = serials.get(pool_id, [])
        if any(not 1 <= row["serial"] <= cap for row in numbers):
            yield Violation(promise, pool_id, f"a serial is out of 1 to {cap}")
        issued = sum(row["state"] == "issued" for row in numbers)
        if pool["numbered"] and issued != out:
            yield Violation(promise, pool_id, f"{issued} numbers issued, {out} copies out")
    for row in evidence.rows(
        "SELECT item_number, serial, count(*) AS n FROM mint WHERE serial IS NOT NULL "
        "AND state NOT IN ('canceled', 'skipped') GROUP BY item_number, serial HAVING count(*) > 1"
    ):
        yield Violation(
            promise, f"item {row['item_number']}", f"serial {row['serial']} minted {row['n']} times"
        )


def stock_books(evidence: Evidence, at_rest: bool) -> Iterator[Violation]:
    """The ledger's stock is the counted stock: what is not reserved, what is, and what was delivered."""
    promise = "stock in the books"
    found: dict[tuple[str, str, str], int] = defaultdict(int)
    for row in evidence.rows(
        "SELECT merchant_id, account, unit, sum(amount) AS amount FROM ledger_entry "
        "JOIN ledger_transaction USING (ledger_transaction_id) WHERE unit LIKE 'sku:%' "
        "GROUP BY merchant_id, account, unit"
    ):
        found[row["merchant_id"], row["account"], row["unit"]] = row["amount"]
    expected: dict[tuple[str, str, str], int] = defaultdict(int)
    for pool in evidence.rows("SELECT * FROM inventory_pool WHERE kind = 'stock'"):
        unit, where = f"sku:{pool['sku']}", pool["location_code"]
        expected[pool["merchant_id"], f"stock:available:{where}", unit] = pool["on_hand"] - pool["reserved"]
        expected[pool["merchant_id"], f"stock:reserved:{where}", unit] = pool["reserved"]
    for key in expected.keys() | {key for key in found if key[1].startswith("stock:")}:
        if found[key] != expected[key]:
            yield Violation(promise, str(key), f"is {found[key]}, should be {expected[key]}")


def shipments(evidence: Evidence, at_rest: bool) -> Iterator[Violation]:
    """Each started ship leg is in one fulfillment order, and the backend has that order once, as we see it."""
    promise = "parcels"
    orders = {row["fulfillment_order_id"]: row for row in evidence.rows("SELECT * FROM fulfillment_order")}
    lines = evidence.rows("SELECT * FROM fulfillment_line")
    there = {
        row["reference"]: row for row in evidence.rows("SELECT * FROM backend_order", database="backend")
    }
    for stray in there.keys() - orders.keys():
        yield Violation(promise, stray, "the backend ships what nobody ordered")
    for reference, order in orders.items():
        beyond = there.get(reference)
        if beyond is None:
            if order["state"] not in ("created", "refused") or (at_rest and order["state"] != "refused"):
                yield Violation(promise, reference, f"{order['state']} here, unknown to the backend")
            continue
        document = json.loads(beyond["document"])
        asked: Counter[str] = Counter()
        sent: Counter[str] = Counter()
        for row in lines:
            if row["fulfillment_order_id"] == reference:
                asked[row["sku"]] += row["quantity"]
        for line in document["lines"]:
            sent[line["sku"]] += line["quantity"]
        if +asked != sent or document["order_id"] != order["order_id"]:
            yield Violation(promise, reference, f"asked for {dict(+asked)}, the backend has {dict(sent)}")
        state = "accepted" if beyond["state"] == "picked" else beyond["state"]
        if at_rest and order["state"] != state:
            yield Violation(promise, reference, f"{order['state']} here, {state} at the backend")
    yield from _parcels_alone(evidence, lines)
    places = Counter(row["leg_id"] for row in lines)
    states = {
        row["leg_id"]: orders[row["fulfillment_order_id"]]["state"]
        for row in lines
        if row["fulfillment_order_id"] in orders
    }
    for leg in evidence.rows("SELECT * FROM leg WHERE kind = 'ship'"):
        leg_id, state = leg["leg_id"], leg["state"]
        if places[leg_id] > 1:
            yield Violation(promise, leg_id, f"in {places[leg_id]} fulfillment orders")
        left = states.get(leg_id) in ("dispatched", "delivered")
        paid_for = state in ("fulfilled", "captured", "capture_failed", "returning", "returned")
        if left != paid_for:
            yield Violation(promise, leg_id, f"leg {state}, parcel {states.get(leg_id)}")
    dispatched: Counter[str] = Counter(
        row["order_id"] for row in orders.values() if row["state"] in ("dispatched", "delivered")
    )
    told = Counter(
        json.loads(row["body"])["order_id"]
        for row in evidence.rows("SELECT body FROM event WHERE type = 'shipment.dispatched'")
    )
    if dispatched != told:
        yield Violation(promise, "dispatch", f"not told once each: {dispatched - told} {told - dispatched}")


def _parcels_alone(evidence: Evidence, lines: list[Row]) -> Iterator[Violation]:
    """A line that is all or nothing shares its fulfillment order with no other line: it may be called back."""
    line_of = {
        row["leg_id"]: row
        for row in evidence.rows(
            "SELECT g.leg_id, g.line_position, n.failure_policy FROM leg g JOIN order_line n "
            "ON n.order_id = g.order_id AND n.position = g.line_position"
        )
    }
    for reference, together in by(lines, "fulfillment_order_id").items():
        found = [line_of[row["leg_id"]] for row in together if row["leg_id"] in line_of]
        alone = any(row["failure_policy"] == "all_or_nothing" for row in found)
        if alone and len({row["line_position"] for row in found}) > 1:
            yield Violation("parcels", reference, "an all-or-nothing line shares its parcel")
