"""Promises about money: intents, operations, the vault, the acquirer, and the books."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.support.evidence import Evidence, Row
from tests.support.promises import Violation, by, total

_VAULT_STATES: dict[str, set[str | None]] = {
    "created": {None, "sent", "requires_action", "succeeded", "declined", "failed", "refused", "abandoned"},
    "unknown": {"sent", "requires_action", "succeeded", "declined", "failed", "refused", "abandoned"},
    # The vault hears of the customer's decision before the order does.
    "requires_action": {"requires_action", "succeeded", "declined", "failed"},
    "succeeded": {"succeeded"},
    "declined": {"declined"},
    "failed": {"failed", "refused", "abandoned"},
}
"""What the vault may say of an operation whose state at the order is the key."""

_ACQUIRER_OUTCOMES: dict[str, set[str | None]] = {
    "sent": {None, "absent", "succeeded", "declined", "failed", "requires_action"},
    "requires_action": {"requires_action", "succeeded", "declined", "failed"},
    "succeeded": {"succeeded"},
    "declined": {"declined"},
    "failed": {"failed", "absent"},
    "refused": {None},
    "abandoned": {None, "absent"},
}
_PARENT_COLUMN = {"capture": "captured_minor", "void": "voided_minor", "refund": "refunded_minor"}


def intents(evidence: Evidence, at_rest: bool) -> Iterator[Violation]:
    """Captured within authorized, refunded within captured; and each figure is the sum of its operations."""
    promise = "money of an intent"
    done = by(evidence.rows("SELECT * FROM payment_operation WHERE state = 'succeeded'"), "order_id")
    for intent in evidence.rows(
        "SELECT i.*, o.state AS order_state, o.total_minor, o.currency AS order_currency "
        "FROM payment_intent i JOIN customer_order o USING (order_id)"
    ):
        order_id = intent["order_id"]
        authorized, captured = intent["authorized_minor"], intent["captured_minor"]
        voided, refunded = intent["voided_minor"], intent["refunded_minor"]
        if not 0 <= refunded <= captured <= captured + voided <= authorized <= intent["amount_minor"]:
            yield Violation(promise, order_id, f"amounts out of order: {intent}")
        if (intent["amount_minor"], intent["currency"]) != (intent["total_minor"], intent["order_currency"]):
            yield Violation(promise, order_id, "the intent's amount is not the order's total")
        counted = [
            row
            for row in done.get(order_id, [])
            if row["currency"] == intent["currency"]
            and (row["kind"] != "authorize" or row["operation_id"] == intent["authorization_id"])
            and (row["kind"] != "void" or row["target_operation_id"] == intent["authorization_id"])
        ]
        if authorized:
            figures = {"authorize": authorized, "capture": captured, "void": voided, "refund": refunded}
            for kind, figure in figures.items():
                really = total(row for row in counted if row["kind"] == kind)
                if really != figure:
                    yield Violation(promise, order_id, f"{kind}: {really} was done, {figure} is counted")
        elif captured or refunded:
            yield Violation(promise, order_id, "money moved without an authorization")
        if at_rest and intent["order_state"] in ("completed", "canceled", "refunded"):
            if authorized != captured + voided:
                yield Violation(promise, order_id, f"{authorized - captured - voided} left held: {intent}")
            if intent["order_state"] == "canceled" and captured != refunded:
                yield Violation(promise, order_id, f"canceled but {captured - refunded} kept")


def operations(evidence: Evidence, at_rest: bool) -> Iterator[Violation]:
    """Orders, vault and acquirer agree on every operation, whichever of them is asked."""
    promise = "agreement on operations"
    ours = {row["operation_id"]: row for row in evidence.rows("SELECT * FROM payment_operation")}
    vault = {
        row["operation_id"]: row for row in evidence.rows("SELECT * FROM vault_operation", database="vault")
    }
    acquirer = {
        row["operation_id"]: row
        for row in evidence.rows("SELECT * FROM acquirer_operation", database="acquirer")
    }
    for stray in vault.keys() - ours.keys():
        yield Violation(promise, stray, "the vault has it, no order asked for it")
    for stray in acquirer.keys() - vault.keys():
        yield Violation(promise, stray, "the acquirer has it, the vault does not")
    for operation_id, mine in ours.items():
        theirs = vault.get(operation_id)
        state = None if theirs is None else theirs["state"]
        if state not in _VAULT_STATES[mine["state"]]:
            yield Violation(promise, operation_id, f"order says {mine['state']}, vault says {state}")
        if at_rest and mine["state"] in ("created", "unknown"):
            yield Violation(promise, operation_id, f"{mine['kind']} is still {mine['state']}")
        if theirs is None:
            continue
        yield from _same(promise, mine, theirs, "vault")
        beyond = acquirer.get(operation_id)
        outcome = None if beyond is None else beyond["outcome"]
        if outcome not in _ACQUIRER_OUTCOMES[state or ""]:
            yield Violation(promise, operation_id, f"vault says {state}, acquirer says {outcome}")
        if beyond is not None:
            yield from _same(promise, mine, beyond, "acquirer")


def _same(promise: str, mine: Row, theirs: Row, who: str) -> Iterator[Violation]:
    """Kind and amount are the same on both sides, unless the other side only keeps a tombstone."""
    if theirs["kind"] is None:
        return
    for column in ("kind", "amount_minor", "currency"):
        if mine[column] != theirs[column]:
            yield Violation(
                promise, mine["operation_id"], f"{column}: {mine[column]}, at the {who} {theirs[column]}"
            )


def effects_once(evidence: Evidence, at_rest: bool) -> Iterator[Violation]:
    """Each leg captured and refunded at most once, each order charged once, at the acquirer itself."""
    promise = "every effect once"
    ours = {row["operation_id"]: row for row in evidence.rows("SELECT * FROM payment_operation")}
    effects = evidence.rows(
        "SELECT * FROM acquirer_operation WHERE outcome = 'succeeded'", database="acquirer"
    )
    for kind in ("capture", "refund"):
        done = by((e for e in effects if e["kind"] == kind and e["operation_id"] in ours), "operation_id")
        per_leg = defaultdict(list)
        for operation_id in done:
            per_leg[ours[operation_id]["leg_id"]].append(operation_id)
        for leg_id, operation_ids in per_leg.items():
            if len(operation_ids) > 1:
                yield Violation(promise, str(leg_id), f"{kind} took effect as {operation_ids}")
    children = by(effects, "parent_id")
    for effect in effects:
        if effect["kind"] not in ("authorize", "capture"):
            continue
        below = children.get(effect["operation_id"], [])
        for kind, column in _PARENT_COLUMN.items():
            if total(row for row in below if row["kind"] == kind) != effect[column]:
                yield Violation(promise, effect["operation_id"], f"{column} is not the sum of its {kind}s")
    if not at_rest:
        return
    for order_id, rows in by(ours.values(), "order_id").items():
        mine = {row["operation_id"] for row in rows}
        held = [
            e["operation_id"]
            for e in effects
            if e["kind"] == "authorize"
            and e["operation_id"] in mine
            and e["voided_minor"] < e["amount_minor"]
        ]
        if len(held) > 1:
            yield Violation(promise, order_id, f"more than one authorization stands: {held}")


def ledger(evidence: Evidence, at_rest: bool) -> Iterator[Violation]:
    """Every transaction sums to zero per unit, and the balances follow from intents and legs."""
    promise = "the books"
    for row in evidence.rows(
        "SELECT ledger_transaction_id AS id, unit, sum(amount) AS off FROM ledger_entry "
        "GROUP BY ledger_transaction_id, unit HAVING sum(amount) <> 0"
    ):
        yield Violation(promise, row["id"], f"{row['off']} {row['unit']} too much")
    found = {
        (row["merchant_id"], row["account"], row["unit"]): row["amount"]
        for row in evidence.rows(
            "SELECT merchant_id, account, unit, sum(amount) AS amount FROM ledger_entry "
            "JOIN ledger_transaction USING (ledger_transaction_id) GROUP BY merchant_id, account, unit"
        )
        if row["amount"] and not row["unit"].startswith(("sku:", "token:"))
    }
    expected = expected_balances(evidence)
    for key in found.keys() | expected.keys():
        if found.get(key, 0) != expected.get(key, 0):
            yield Violation(promise, str(key), f"is {found.get(key, 0)}, should be {expected.get(key, 0)}")


def expected_balances(evidence: Evidence) -> dict[tuple[str, str, str], int]:
    """Return what the money accounts of each merchant must hold, from intents, orders and legs alone."""
    expected: dict[tuple[str, str, str], int] = defaultdict(int)
    for row in evidence.rows(
        "SELECT i.*, o.state AS order_state FROM payment_intent i JOIN customer_order o USING (order_id)"
    ):
        merchant, unit = row["merchant_id"], row["currency"]
        expected[merchant, "asset:clearing:simulated", unit] += row["captured_minor"] - row["refunded_minor"]
        held = row["authorized_minor"] - row["captured_minor"] - row["voided_minor"]
        expected[merchant, "memo:authorized", unit] += held
        expected[merchant, "memo:authorized_contra", unit] -= held
        owed = row["amount_minor"] if row["order_state"] == "placed" else held
        expected[merchant, "memo:orders_due", unit] += owed
        expected[merchant, "memo:orders_due_contra", unit] -= owed
    for leg in evidence.rows(
        "SELECT l.*, o.merchant_id, o.currency FROM leg l JOIN customer_order o USING (order_id) "
        "WHERE l.state = 'capture_failed' OR (EXISTS (SELECT 1 FROM payment_operation p "
        "WHERE p.operation_id = l.capture_operation_id AND p.state = 'succeeded') "
        "AND NOT EXISTS (SELECT 1 FROM payment_operation r "
        "WHERE r.leg_id = l.leg_id AND r.kind = 'refund' AND r.state = 'succeeded'))"
    ):
        merchant, unit = leg["merchant_id"], leg["currency"]
        if leg["state"] == "capture_failed":
            # Goods that left unpaid: the customer owes them, and what was earned stands.
            expected[merchant, "asset:receivable", unit] += leg["amount_minor"]
        net = leg["amount_minor"] - leg["tax_minor"]
        expected[merchant, f"income:revenue:{leg['tax_category']}", unit] -= net
        expected[merchant, f"liability:vat:{leg['tax_country']}:{leg['tax_rate_bps']}", unit] -= leg[
            "tax_minor"
        ]
    return {key: amount for key, amount in expected.items() if amount}
