"""Promises about money: intents, operations, the vault, the acquirer, and the books."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator

from gateway.kernel.errors import InvalidError
from gateway.ledger.chart import kind_of
from gateway.payments.refunds_model import tax_share
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
        counted = [row for row in done.get(order_id, []) if row["currency"] == intent["currency"]]
        goodwill = {
            row["refund_id"] for row in evidence.rows("SELECT * FROM refund_request WHERE way = 'payout'")
        }
        if authorized:
            chain = authorizations(counted, intent["authorization_id"])
            present = chain[-1]["operation_id"] if chain else None
            taken = [row for row in counted if row["target_operation_id"] == present]
            held = total(chain[-1:]) - total(row for row in taken if row["kind"] in ("capture", "void"))
            really = {
                "authorize": total(chain[:1]),
                "capture": total(row for row in counted if row["kind"] == "capture"),
                # What a replacement did not take over is void too.
                "void": authorized - captured - held,
                "refund": total(
                    row
                    for row in counted
                    if row["kind"] in ("refund", "payout") and row["refund_id"] not in goodwill
                ),
            }
            figures = {"authorize": authorized, "capture": captured, "void": voided, "refund": refunded}
            for kind, figure in figures.items():
                if really[kind] != figure:
                    yield Violation(
                        promise, order_id, f"{kind}: {really[kind]} was done, {figure} is counted"
                    )
        elif captured or refunded:
            yield Violation(promise, order_id, "money moved without an authorization")
        if refunded + intent["refunding_minor"] > captured or intent["refunding_minor"] < 0:
            yield Violation(promise, order_id, f"more is on its way back than was captured: {intent}")
        if at_rest:
            waiting = total(
                row
                for row in evidence.rows(
                    "SELECT * FROM refund_request WHERE order_id = ? AND state = 'pending'", order_id
                )
                if row["way"] != "payout"
            )
            if intent["refunding_minor"] != waiting:
                yield Violation(promise, order_id, f"{waiting} waits for approval, not {intent}")
        if at_rest and intent["order_state"] in ("completed", "canceled", "refunded"):
            if authorized != captured + voided:
                yield Violation(promise, order_id, f"{authorized - captured - voided} left held: {intent}")
            if intent["order_state"] == "canceled" and captured != refunded:
                yield Violation(promise, order_id, f"canceled but {captured - refunded} kept")


def authorizations(operations: list[Row], present: str) -> list[Row]:
    """Return the authorizations of an order that followed one another, the first first."""
    by_id = {row["operation_id"]: row for row in operations if row["kind"] == "authorize"}
    chain: list[Row] = []
    found = by_id.get(present)
    while found is not None:
        chain.insert(0, found)
        found = by_id.get(found["target_operation_id"])
    return chain


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
        if theirs["provider"] not in (None, "simulated", "simulated_debit"):
            continue
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
            # One capture may be for several legs; then it has none of its own.
            per_leg[ours[operation_id]["leg_id"] or operation_id].append(operation_id)
        for leg_id, operation_ids in per_leg.items():
            if kind == "capture" and len(operation_ids) > 1:
                yield Violation(promise, str(leg_id), f"{kind} took effect as {operation_ids}")
            given = total(done[operation_id][0] for operation_id in operation_ids)
            for leg in evidence.rows("SELECT * FROM leg WHERE leg_id = ?", leg_id):
                if given > leg["amount_minor"]:
                    yield Violation(promise, str(leg_id), f"{kind} of {given}: {operation_ids}")
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
        replaced = {row["target_operation_id"] for row in rows if row["kind"] == "authorize"}
        held = [
            e["operation_id"]
            for e in effects
            if e["kind"] == "authorize"
            and e["operation_id"] in mine
            and e["voided_minor"]
            < e["amount_minor"] - (e["captured_minor"] if e["operation_id"] in replaced else 0)
        ]
        if len(held) > 1:
            yield Violation(promise, order_id, f"more than one authorization stands: {held}")


def guardians(evidence: Evidence, at_rest: bool) -> Iterator[Violation]:
    """The vault has a guardian's yes exactly where the guardian has said it, and for no more than was asked."""
    promise = "the guardian's word"
    asked = {row["approval_id"]: row for row in evidence.rows("SELECT * FROM guardian_request")}
    known = {
        row["approval_id"]: row
        for row in evidence.rows("SELECT * FROM vault_guardian_approval", database="vault")
    }
    for approval_id, theirs in known.items():
        mine = asked.get(approval_id)
        if mine is None:
            yield Violation(promise, approval_id, "the vault has it, nobody was asked")
            continue
        said_yes = mine["state"] in ("approved", "done", "refused")
        if theirs["state"] in ("approved", "used") and not said_yes:
            yield Violation(promise, approval_id, f"{mine['state']} here, {theirs['state']} at the vault")
        for ours, its in (("amount_minor", "max_amount_minor"), ("currency", "currency")):
            if mine[ours] != theirs[its]:
                yield Violation(promise, approval_id, f"asked {mine[ours]}, approved {theirs[its]}")
    for approval_id, mine in asked.items():
        if mine["state"] == "done" and approval_id not in known:
            yield Violation(promise, approval_id, "done, and the vault has not heard of it")
        if at_rest and mine["state"] == "approved":
            yield Violation(promise, approval_id, "approved, and the vault was not told")


def ledger(evidence: Evidence, at_rest: bool) -> Iterator[Violation]:
    """Every transaction sums to zero per unit, and what is posted and pending follows from intents and legs."""
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
            "JOIN ledger_transaction USING (ledger_transaction_id) WHERE phase IS NULL OR phase = 'post' "
            "GROUP BY merchant_id, account, unit"
        )
        if row["amount"] and not row["unit"].startswith(("sku:", "token:"))
    }
    for account in {account for _, account, _ in found}:
        try:
            kind_of(account)
        except InvalidError as error:
            yield Violation(promise, account, str(error))
    yield from _pending(promise, evidence)
    expected = expected_balances(evidence)
    for key in found.keys() | expected.keys():
        if found.get(key, 0) != expected.get(key, 0):
            yield Violation(promise, str(key), f"is {found.get(key, 0)}, should be {expected.get(key, 0)}")


def _pending(promise: str, evidence: Evidence) -> Iterator[Violation]:
    """What is reserved for an order is what providers hold for it, and the sum of the reservation's parts."""
    left: dict[str, int] = defaultdict(int)
    parts = by(
        evidence.rows(
            "SELECT t.*, e.amount FROM ledger_transaction t JOIN ledger_entry e "
            "USING (ledger_transaction_id) WHERE pending_id IS NOT NULL AND e.position = 0 ORDER BY part"
        ),
        "pending_id",
    )
    for pending_id, rows in parts.items():
        so_far = 0
        for number, row in enumerate(rows):
            so_far += row["amount"] if row["phase"] == "pending" else -row["amount"]
            if (row["part"], row["pending_left"]) != (number, so_far) or so_far < 0:
                yield Violation(promise, pending_id, f"part {number} should leave {so_far}: {row}")
        left[rows[0]["order_id"]] += so_far
    for intent in evidence.rows("SELECT * FROM payment_intent"):
        held = intent["authorized_minor"] - intent["captured_minor"] - intent["voided_minor"]
        if left.pop(intent["order_id"], 0) != held:
            yield Violation(promise, intent["order_id"], f"{held} is held, something else is pending")
    for order_id, amount in left.items():
        if amount:
            yield Violation(promise, str(order_id), f"{amount} is pending for no order")


def expected_balances(evidence: Evidence) -> dict[tuple[str, str, str], int]:
    """Return what the money accounts of each merchant must hold, from intents, orders and legs alone."""
    expected: dict[tuple[str, str, str], int] = defaultdict(int)
    for row in evidence.rows(
        "SELECT i.*, o.state AS order_state FROM payment_intent i JOIN customer_order o USING (order_id)"
    ):
        merchant, unit = row["merchant_id"], row["currency"]
        terms = json.loads(row["provider_terms"] or "{}")
        provider = terms.get("provider", "simulated")
        drawers: dict[str, int] = defaultdict(int)
        for counted in evidence.rows(
            "SELECT o.kind, o.amount_minor, c.drawer FROM payment_operation o JOIN cash_collection c "
            "USING (operation_id) WHERE o.order_id = ? AND o.state = 'succeeded'",
            row["order_id"],
        ):
            sign = -1 if counted["kind"] == "refund" else 1
            drawers[counted["drawer"]] += sign * counted["amount_minor"]
        for drawer, amount in drawers.items():
            expected[merchant, f"asset:cash:{drawer}", unit] += amount
        elsewhere = total(
            evidence.rows(
                "SELECT amount_minor FROM payment_operation WHERE order_id = ? AND state = 'succeeded' "
                "AND kind = 'payout' AND leg_id IS NOT NULL",
                row["order_id"],
            )
        )
        kept = row["captured_minor"] - (row["refunded_minor"] - elsewhere) - sum(drawers.values())
        expected[merchant, f"asset:clearing:{provider}", unit] += kept
        expected[merchant, "asset:clearing:simulated", unit] -= elsewhere
    for payout in evidence.rows("SELECT * FROM refund_request WHERE way = 'payout'"):
        merchant, unit = payout["merchant_id"], payout["currency"]
        expected[merchant, "expense:goodwill", unit] += payout["done_minor"]
        expected[merchant, "asset:clearing:simulated", unit] -= payout["done_minor"]
    for leg in evidence.rows(
        "SELECT l.*, o.merchant_id, o.currency FROM leg l JOIN customer_order o USING (order_id) "
        "WHERE l.state = 'capture_failed' OR (EXISTS (SELECT 1 FROM payment_operation p "
        "WHERE p.operation_id = l.capture_operation_id AND p.state = 'succeeded'))"
    ):
        merchant, unit = leg["merchant_id"], leg["currency"]
        if not leg["amount_minor"]:
            continue
        back = total(
            evidence.rows(
                "SELECT amount_minor FROM payment_operation WHERE leg_id = ? AND state = 'succeeded' "
                "AND kind IN ('refund', 'payout')",
                leg["leg_id"],
            )
        )
        leg["tax_minor"] -= tax_share(leg["tax_minor"], leg["amount_minor"], 0, back)
        leg["amount_minor"] -= back
        if leg["paid_first"] and leg["delivered_at_ms"] is None:
            # Paid and not delivered: it is owed to the customer, and nobody has earned it.
            expected[merchant, "liability:deferred_revenue", unit] -= leg["amount_minor"]
            continue
        if leg["state"] == "capture_failed":
            # Goods that left unpaid: the customer owes them, and what was earned stands.
            expected[merchant, f"asset:receivable:{leg['order_id']}", unit] += leg["amount_minor"]
        net = leg["amount_minor"] - leg["tax_minor"]
        expected[merchant, f"income:revenue:{leg['tax_category']}", unit] -= net
        expected[merchant, f"liability:vat:{leg['tax_country']}:{leg['tax_rate_bps']}", unit] -= leg[
            "tax_minor"
        ]
    return {key: amount for key, amount in expected.items() if amount}
