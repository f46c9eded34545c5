"""A gateway process that kills itself at a named point between a question to a guardian and the payment."""

from __future__ import annotations

from pathlib import Path

from gateway.settings import Settings
from tests.faults.recovery_victim import Point, _kill_at
from tests.support.gateway import _serve

POINTS: dict[str, Point] = {
    # The refusal with the question, its events and what the order waits for: one unit.
    "asked": Point("gateway.orders.payment_facts", "ask_guardian"),
    # The guardian's word: one unit; after: committed, not answered.
    "answered": Point("gateway.commands.guardian", "decide"),
    "told_to_the_vault": Point("gateway.payments.calls", "PaymentCalls.approve"),
    # The vault's answer with the attempt that follows: one unit.
    "recorded": Point("gateway.orders.guardian_facts", "GuardianFacts.record"),
    "authorized_anew": Point("gateway.orders.books", "post_authorized"),
}


def serve_until(settings: Settings, log: Path, name: str, when: str) -> None:
    """Serve, and die at the point."""
    _kill_at(POINTS[name], when)
    _serve(settings, log)
