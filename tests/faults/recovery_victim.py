"""A gateway process that kills itself at a named point of a purchase, once, before or after it."""

from __future__ import annotations

import inspect
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from gateway.settings import Settings
from tests.support.gateway import _serve

BEFORE, AFTER = "before", "after"


class Point(NamedTuple):
    """Where: a module, and the attribute (``Class.method``) that is called there."""

    module: str
    attribute: str


POINTS: dict[str, Point] = {
    # The order's unit; after: committed, not answered.
    "placed": Point("gateway.commands.customer", "place"),
    # The vault has recorded the authorization; the provider is asked, and has answered.
    "recorded_at_the_vault": Point("wallets.vault.sending", "begin_authorize"),
    "sent_to_the_provider": Point("wallets.vault.providers.simulated", "SimulatedAcquirer.authorize"),
    "answered_by_the_provider": Point("wallets.vault.service", "VaultService.authorize"),
    # The answer, its ledger entries, events and next tasks: one unit, so both sides of it are of one kind.
    "result_recorded": Point("gateway.orders.payment_facts", "PaymentFacts.record"),
    "ledger_posted": Point("gateway.orders.books", "post_authorized"),
    "minted": Point("gateway.orders.mint_facts", "MintFacts.record"),
    "captured_at_the_provider": Point("wallets.vault.providers.simulated", "SimulatedAcquirer.capture"),
    "capture_recorded": Point("gateway.orders.books", "post_captured"),
    # What is paid first: the capture's answer, its ledger entries and the mint that is asked for are one unit.
    "paid_first": Point("gateway.orders.delivering", "deliver"),
    "asked_to_mint": Point("gateway.orders.starting", "queue_mint"),
    "refund_sent": Point("wallets.vault.providers.simulated", "SimulatedAcquirer.refund"),
    "refund_recorded": Point("gateway.orders.refunding", "record_back"),
    "reauthorized_at_the_provider": Point("wallets.vault.service", "VaultService.reauthorize"),
    "reauthorization_recorded": Point("gateway.orders.reauthorizing", "replaced"),
    "old_authorization_voided": Point("wallets.vault.providers.simulated", "SimulatedAcquirer.void"),
    "notified": Point("gateway.sessions.hub", "Hub.deliver"),
}


def serve_until(settings: Settings, log: Path, name: str, when: str, brief: bool) -> None:
    """Serve, and die at the point. ``brief``: authorizations last a second and a half, and are renewed."""
    if brief:
        shorten_authorizations()
    _kill_at(POINTS[name], when)
    _serve(settings, log)


def serve_on(settings: Settings, log: Path, brief: bool) -> None:
    """Serve as usual; ``brief`` as above."""
    if brief:
        shorten_authorizations()
    _serve(settings, log)


def shorten_authorizations() -> None:
    """In this process authorizations last a second and a half; what runs out is looked for all the time."""
    from gateway.orders import background
    from gateway.orders.reauthorizing import RenewalRules
    from wallets.vault.providers import simulated_rules

    simulated_rules._ONLINE_MS = 1_500
    background._TIDY_S = 0.05
    rules = RenewalRules(margin_ms=1_200, look_after_ms=50)
    Settings.renewal = property(lambda _: rules)


def _kill_at(point: Point, when: str) -> None:
    import importlib

    owner: Any = importlib.import_module(point.module)
    *path, name = point.attribute.split(".")
    for part in path:
        owner = getattr(owner, part)
    setattr(owner, name, _deadly(getattr(owner, name), when))


def _deadly(function: Callable[..., Any], when: str) -> Callable[..., Any]:
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if inspect.iscoroutinefunction(function):

        async def asynchronous(*given: Any, **named: Any) -> Any:
            if when == BEFORE:
                die()
            answer = await function(*given, **named)
            die()
            return answer

        return asynchronous

    def plain(*given: Any, **named: Any) -> Any:
        if when == BEFORE:
            die()
        answer = function(*given, **named)
        die()
        return answer

    return plain
