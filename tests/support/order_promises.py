"""Promises about orders: amounts, states, events, keys and whose they are."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator

from gateway.orders.model import LegState, needs_money
from gateway.orders.purchase import LONGEST_UNPAID_MS
from tests.support.evidence import MOOT, Evidence
from tests.support.promises import Violation, by, total
from tests.support.token_promises import is_delivered

_MAY_WITHDRAW = "AT BE BG CY CZ DE DK EE ES FI FR GB GR HR HU IE IS IT LI LT LU LV MT NL NO PL PT RO SE SI SK"
"""The European Economic Area and the United Kingdom; stated here as well as in the program."""
_ENDS = {"completed": "order.completed", "canceled": "order.canceled", "refunded": "order.refunded"}
_ENDED_LEGS = {"captured", "capture_failed", "returned", "canceled", "failed"}


def amounts(evidence: Evidence, at_rest: bool) -> Iterator[Violation]:
    """Legs sum to the order, lines and shipping sum to the order, tax sums to the order's tax."""
    promise = "parts sum to the order"
    legs = by(evidence.rows("SELECT * FROM leg"), "order_id")
    lines = by(evidence.rows("SELECT * FROM order_line"), "order_id")
    for order in evidence.rows("SELECT * FROM customer_order"):
        order_id = order["order_id"]
        mine = legs.get(order_id, [])
        if total(mine) != order["total_minor"]:
            yield Violation(promise, order_id, f"legs sum to {total(mine)}, not {order['total_minor']}")
        if total(mine, "tax_minor") != order["tax_minor"]:
            yield Violation(promise, order_id, "the legs' tax is not the order's")
        if total(lines.get(order_id, []), "total_minor") + order["shipping_minor"] != order["total_minor"]:
            yield Violation(promise, order_id, "lines and shipping do not sum to the total")
        for line in lines.get(order_id, []):
            if line["unit_price_minor"] * line["quantity_original"] != line["total_minor"]:
                yield Violation(promise, order_id, f"line {line['position']} is not price times quantity")


def ends(evidence: Evidence, at_rest: bool) -> Iterator[Violation]:
    """An order that has ended has ended in all its parts; at rest, one that has not waits for somebody."""
    promise = "ends"
    legs = by(evidence.rows("SELECT * FROM leg"), "order_id")
    intents = {row["order_id"]: row for row in evidence.rows("SELECT * FROM payment_intent")}
    for order in evidence.rows("SELECT * FROM customer_order"):
        order_id, state = order["order_id"], order["state"]
        mine = legs.get(order_id, [])
        states = Counter(leg["state"] for leg in mine)
        if state in _ENDS and states.keys() & {"paid", "undelivered"}:
            yield Violation(promise, order_id, f"{state}, and something is still owed: {dict(states)}")
        if state == "completed" and not states.keys() & {"captured", "returning", "capture_failed"}:
            yield Violation(promise, order_id, f"completed with legs {dict(states)}")
        if state == "canceled" and states.keys() - (_ENDED_LEGS - {"captured", "capture_failed"}):
            yield Violation(promise, order_id, f"canceled with legs {dict(states)}")
        if state == "refunded" and states.keys() & {"captured", "capture_failed"}:
            yield Violation(promise, order_id, f"refunded with legs {dict(states)}")
        for leg in mine:
            # A token goes back when its capture fails; only goods that left can stay unpaid.
            if leg["state"] == "capture_failed" and leg["kind"] != "ship":
                yield Violation(promise, leg["leg_id"], f"{leg['kind']} capture_failed")
        linked = evidence.count("pay_link", "order_id = ?", order_id)
        held = state == "confirmed" and order["pay_until_ms"] is not None
        asked = evidence.count("guardian_request", "order_id = ?", order_id)
        kept_ms = (order["pay_until_ms"] or 0) - order["created_at_ms"]
        # Whoever has begun to pay in time may finish.
        paying = intents[order_id]["state"] in ("authorizing", "requires_action")
        if kept_ms > LONGEST_UNPAID_MS and not linked and not held and not asked and not paying:
            yield Violation(promise, order_id, "reserved for too long without a payment")
        if state in _ENDS and any(needs_money(LegState(leg["state"])) for leg in mine):
            yield Violation(promise, order_id, f"{state} with legs {dict(states)}")
        if not at_rest:
            continue
        if state == "placed" and intents[order_id]["state"] not in (
            "requires_payment_method",
            "requires_action",
        ):
            yield Violation(promise, order_id, f"placed at rest, payment {intents[order_id]['state']}")
        # What waits for its customer or for the law is nobody else's turn.
        waits = [leg for leg in mine if leg["state"] in ("paid", "undelivered")]
        for leg in waits:
            # A mint on a merchant's own contract may wait for a person, or for the next day's gas.
            held_up = evidence.count("mint", "leg_id = ? AND state IN ('parked', 'held')", leg["leg_id"])
            if leg["due_at_ms"] is None and not held_up:
                yield Violation(promise, leg["leg_id"], f"{leg['state']} at rest, and waits for no time")
        if state == "confirmed" and not held and not waits:
            yield Violation(promise, order_id, f"confirmed at rest with legs {dict(states)}")
        # Only its holder could give back what is in a wallet outside.
        kept = [leg for leg in mine if leg["state"] == "captured" and leg["recipient"] is None]
        if order["refund_requested"] and (kept or waits):
            yield Violation(promise, order_id, f"to be given back, legs {dict(states)}")
        if state in _ENDS and states.keys() - _ENDED_LEGS:
            yield Violation(promise, order_id, f"{state} at rest with legs {dict(states)}")
    if at_rest:
        for task in evidence.rows(f"SELECT * FROM task WHERE NOT {MOOT}"):
            yield Violation(
                promise, task["subject"], f"task {task['kind']} {task['state']}: {task['last_error']}"
            )


def streams(evidence: Evidence, at_rest: bool) -> Iterator[Violation]:
    """The events of a stream are numbered 1 to its position, in one epoch."""
    promise = "gapless streams"
    events = by(evidence.rows("SELECT stream, seq, epoch FROM event ORDER BY stream, seq"), "stream")
    for stream in evidence.rows("SELECT * FROM stream"):
        found = events.pop(stream["stream"], [])
        if [row["seq"] for row in found] != list(range(1, stream["seq"] + 1)):
            yield Violation(promise, stream["stream"], f"{[row['seq'] for row in found]} of {stream['seq']}")
        if any(row["epoch"] != stream["epoch"] for row in found):
            yield Violation(promise, stream["stream"], "more than one epoch")
    for name in events:
        yield Violation(promise, name, "events without a stream")


_PAID = ("paid", "undelivered", "captured", "returning", "returned")
_SUBJECTS = ("order_id", "payment_method_id", "passkey_id", "world_id", "wallet_id", "export_id")


def facts_and_events(evidence: Evidence, at_rest: bool) -> Iterator[Violation]:
    """Every fact is told once and nothing else is told: counted from the facts' own tables."""
    promise = "facts and events"
    told: Counter[tuple[str, str]] = Counter()
    for event in evidence.rows("SELECT type, body FROM event"):
        body = json.loads(event["body"])
        told[event["type"], next(body[name] for name in _SUBJECTS if name in body)] += 1
        if "leg_id" in body:
            told[event["type"], body["leg_id"]] += 1
    for kind, subject in _once(evidence):
        if told[kind, subject] != 1:
            yield Violation(promise, subject, f"{kind} was told {told[kind, subject]} times")
        told[kind, subject] = 0
    for row in evidence.rows(
        "SELECT leg_id, count(*) AS n FROM payment_operation WHERE state = 'succeeded' "
        "AND kind IN ('refund', 'payout') AND leg_id IS NOT NULL GROUP BY leg_id"
    ):
        # In parts: each is told.
        if told["payment.refunded", row["leg_id"]] != row["n"]:
            yield Violation(promise, row["leg_id"], f"{row['n']} refunds were not told as often")
        told["payment.refunded", row["leg_id"]] = 0
    counted = {
        "order.placed",
        "order.confirmed",
        "payment.authorized",
        "passkey.added",
        "consent.confirmed",
        "wallet.linked",
        "wallet.unlinked",
        "wallet.key_exported",
        *_ENDS.values(),
    }
    per_leg = {
        "token.minted",
        "entitlement.granted",
        "entitlement.revoked",
        "payment.captured",
        "payment.refunded",
    }
    for (kind, subject), times in told.items():
        if kind == "payment_method.added" and times > 1:
            yield Violation(promise, subject, f"{kind} was told {times} times")
        is_leg = subject.startswith("leg_")
        if times and (kind in counted or (kind in per_leg and is_leg)):
            yield Violation(promise, subject, f"{kind} was told {times} times without its fact")


def _once(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Yield what must have been told exactly once: (event type, order or leg)."""
    completed = Counter(
        json.loads(row["body"])["order_id"]
        for row in evidence.rows("SELECT body FROM event WHERE type = 'order.completed'")
    )
    for order in evidence.rows(
        "SELECT o.order_id, o.state, i.authorized_minor, o.total_minor "
        "FROM customer_order o JOIN payment_intent i USING (order_id)"
    ):
        order_id, state = order["order_id"], order["state"]
        yield "order.placed", order_id
        if order["authorized_minor"]:
            yield "payment.authorized", order_id
        if order["authorized_minor"] or (state in ("confirmed", "completed") and not order["total_minor"]):
            yield "order.confirmed", order_id
        if state in _ENDS:
            yield _ENDS[state], order_id
        # An order may have been completed before it was given back.
        if state == "refunded" and completed[order_id]:
            yield "order.completed", order_id
    for leg in evidence.rows("SELECT * FROM leg"):
        if leg["kind"] == "mint" and is_delivered(leg):
            yield "token.minted", leg["leg_id"]
        if leg["state"] in _PAID and not leg["amount_minor"]:
            yield "payment.captured", leg["leg_id"]
    for row in evidence.rows("SELECT order_id FROM consent WHERE confirmed_at_ms IS NOT NULL"):
        yield "consent.confirmed", row["order_id"]
    for row in evidence.rows("SELECT passkey_id FROM passkey"):
        yield "passkey.added", row["passkey_id"]
    for row in evidence.rows("SELECT wallet_id, unlinked_at_ms FROM linked_wallet"):
        yield "wallet.linked", row["wallet_id"]
        if row["unlinked_at_ms"] is not None:
            yield "wallet.unlinked", row["wallet_id"]
    for row in evidence.rows("SELECT export_id FROM key_export WHERE exported_at_ms IS NOT NULL"):
        yield "wallet.key_exported", row["export_id"]
    for row in evidence.rows("SELECT leg_id, state FROM entitlement"):
        yield "entitlement.granted", row["leg_id"]
        if row["state"] == "revoked":
            yield "entitlement.revoked", row["leg_id"]
    # One capture may be for several legs, which name it.
    for row in evidence.rows(
        "SELECT l.leg_id FROM leg l JOIN payment_operation o ON o.operation_id = l.capture_operation_id "
        "WHERE o.state = 'succeeded' AND o.kind = 'capture'"
    ):
        yield "payment.captured", row["leg_id"]


def keys(evidence: Evidence, at_rest: bool) -> Iterator[Violation]:
    """Each key has one outcome, each order and quote one key, each ordered quote one order."""
    promise = "idempotency"
    made: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in evidence.rows("SELECT * FROM idempotency"):
        result = json.loads(row["result"])
        if row["operation"] == "order.place":
            made["order"][result["order_id"]].append(row["key"])
        elif row["operation"] == "quote.create":
            made["quote"][result["quote_id"]].append(row["key"])
    for table, column, what in (("customer_order", "order_id", "order"), ("quote", "quote_id", "quote")):
        there = {row[column] for row in evidence.rows(f"SELECT {column} FROM {table}")}
        for subject in there ^ made[what].keys():
            yield Violation(promise, subject, f"{what} and its key do not go together")
        for subject, found in made[what].items():
            if len(found) != 1:
                yield Violation(promise, subject, f"made under {len(found)} keys")
    ordered = {row["quote_id"] for row in evidence.rows("SELECT quote_id FROM quote WHERE state = 'ordered'")}
    taken = Counter(row["quote_id"] for row in evidence.rows("SELECT quote_id FROM customer_order"))
    for quote_id in ordered ^ taken.keys():
        yield Violation(promise, quote_id, "a quote is ordered exactly when it has an order")
    for quote_id, times in taken.items():
        if times != 1:
            yield Violation(promise, quote_id, f"ordered {times} times")


def owners(evidence: Evidence, at_rest: bool) -> Iterator[Violation]:
    """Money comes from the customer's own methods; tokens and entitlements go to the customer."""
    promise = "whose it is"
    for row in evidence.rows(
        "SELECT a.order_id FROM payment_attempt a JOIN customer_order o USING (order_id) "
        "JOIN payment_method m USING (payment_method_id) WHERE m.customer_id <> o.customer_id"
    ):
        yield Violation(promise, row["order_id"], "paid with another customer's method")
    for row in evidence.rows(
        "SELECT m.leg_id FROM mint m JOIN customer_order o USING (order_id) JOIN leg l USING (leg_id) "
        "LEFT JOIN custody_account c USING (customer_id) "
        "WHERE coalesce(l.recipient, c.address) IS NOT m.recipient"
    ):
        yield Violation(promise, row["leg_id"], "minted to somebody else")
    for row in evidence.rows(
        "SELECT l.leg_id FROM leg l JOIN customer_order o USING (order_id) LEFT JOIN linked_wallet w "
        "ON w.wallet_id = l.wallet_id AND w.customer_id = o.customer_id AND w.address = l.recipient "
        "WHERE l.wallet_id IS NOT NULL AND w.wallet_id IS NULL"
    ):
        yield Violation(promise, row["leg_id"], "meant for a wallet that is not the customer's")
    for row in evidence.rows(
        "SELECT l.leg_id FROM leg l JOIN mint m USING (leg_id) LEFT JOIN payment_operation p "
        "ON p.operation_id = l.capture_operation_id AND p.state = 'succeeded' "
        "WHERE m.holder_key IS NULL AND l.amount_minor > 0 AND p.operation_id IS NULL"
    ):
        yield Violation(promise, row["leg_id"], "asked to be minted outside before it was paid")
    for row in evidence.rows(
        "SELECT l.leg_id FROM leg l JOIN mint m USING (leg_id) "
        "WHERE (m.holder_key IS NULL) <> (l.recipient IS NOT NULL) "
        "OR (m.holder_key IS NULL AND l.paid_first = 0)"
    ):
        yield Violation(promise, row["leg_id"], "who has the key of its wallet is not who is thought to")
    for row in evidence.rows(
        "SELECT e.leg_id FROM entitlement e JOIN customer_order o USING (order_id) "
        "WHERE e.customer_id <> o.customer_id"
    ):
        yield Violation(promise, row["leg_id"], "granted to somebody else")


def consents(evidence: Evidence, at_rest: bool) -> Iterator[Violation]:
    """T5: nothing digital is delivered to a consumer who could withdraw, without a consent that was confirmed
    before, or the end of the period. Asked of the rows of mints and entitlements, not of the legs."""
    promise = "consent or the end of the period"
    given = {
        row["order_id"]: row
        for row in evidence.rows("SELECT * FROM consent WHERE kind = 'digital_content_start'")
    }
    for row in evidence.rows(
        "SELECT l.leg_id, l.order_id, l.mint_not_before_ms AS not_before_ms, o.country, o.created_at_ms, "
        "coalesce(m.queued_at_ms, e.granted_at_ms) AS at_ms FROM leg l JOIN customer_order o USING (order_id) "
        "LEFT JOIN mint m USING (leg_id) LEFT JOIN entitlement e USING (leg_id) "
        "WHERE m.leg_id IS NOT NULL OR e.leg_id IS NOT NULL"
    ):
        if row["country"] not in _MAY_WITHDRAW.split():
            continue
        consent = given.get(row["order_id"])
        if row["not_before_ms"] is not None:
            if row["not_before_ms"] - row["created_at_ms"] < 14 * 86_400_000:
                yield Violation(promise, row["leg_id"], "waits for less than fourteen days")
            if row["at_ms"] < row["not_before_ms"]:
                yield Violation(promise, row["leg_id"], "delivered before the period was over")
        elif consent is None:
            yield Violation(promise, row["leg_id"], "delivered without a consent")
        elif consent["confirmed_at_ms"] is None or consent["confirmed_at_ms"] > row["at_ms"]:
            yield Violation(promise, row["leg_id"], "delivered before its consent was confirmed")
