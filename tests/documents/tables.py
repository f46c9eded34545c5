"""The tables of the documents that follow from the code.

Each stands between two comments in a document. The tests compare; ``python -m tests.documents.tables``
writes them anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from gateway.kernel.money import Money
from gateway.payments.authentication_model import (
    AuthenticationState,
    is_decided,
    liability_of,
    may_authorize,
)
from gateway.payments.exemptions import Rule, regimes
from gateway.protocol.close_codes import CloseCode
from gateway.protocol.codec import JSON_DEPTH
from gateway.protocol.documents import REPLIES
from gateway.protocol.errors import ERROR_CODES
from gateway.protocol.events import EVENTS
from gateway.protocol.messages import COMMANDS, MESSAGE_BYTES
from gateway.protocol.schema import type_of
from gateway.sessions.core import SessionLimits
from wallets.vault import declines
from wallets.vault.port import REFUSALS, OperationKind
from wallets.vault.providers.test_cards import TEST_CARDS, TEST_CARDS_BY_NAME, SimulatedCard

ROOT = Path(__file__).parent.parent.parent
_FIRST_CARDS = (
    "visa",
    "insufficient_funds",
    "lost_card",
    "challenge",
    "answer_lost",
    "capture_declined",
)


def error_codes() -> str:
    """Every code of the closed list."""
    return table(
        ("code", "class", "HTTP", "meaning"),
        [
            (f"`{code}`", entry.error_class.value, str(entry.http_status), entry.meaning)
            for code, entry in ERROR_CODES.items()
        ],
    )


def close_codes() -> str:
    """Every close code and what a client does."""
    return table(
        ("code", "name", "what the client does"),
        [(str(code.value), code.name.lower().replace("_", " "), code.client_action) for code in CloseCode],
    )


def commands() -> str:
    """Every command, whether it needs a key, and the fields of its body and of its answer."""
    rows = []
    for command in COMMANDS:
        name = type_of(command)
        body = command.model_fields["body"].annotation
        assert body is not None
        rows.append(
            (
                f"`{name}`",
                "yes" if command.changes else "",
                ", ".join(
                    f"`{field}`" + ("" if info.is_required() else "?") + _values(info)
                    for field, info in body.model_fields.items()
                ),
                _fields(REPLIES[name].model_fields),
            )
        )
    return table(("command", "key", "body", "`ok` holds"), rows)


def events() -> str:
    """Every event with the fields of its body."""
    return table(
        ("event", "body beside `order_id`", "note"),
        [
            (
                f"`{name}`",
                _fields([field for field in model.model_fields if field != "order_id"]),
                " ".join((model.__dict__.get("__doc__") or "").split()).replace("``", "`"),
            )
            for name, model in EVENTS.items()
        ],
    )


def limits() -> str:
    """The limits of a connection as they are without settings."""
    found = SessionLimits()
    return table(
        ("limit", "value"),
        [
            ("bytes of a message, both ways", f"{MESSAGE_BYTES}"),
            ("bytes of a message before sign-in", f"{found.before_auth_bytes}"),
            ("nesting of JSON", f"{JSON_DEPTH}"),
            ("time to sign in", f"{found.auth_timeout_ms} ms"),
            ("heartbeat interval; closed after two and a half", f"{found.heartbeat_ms} ms"),
            ("commands without an answer yet", f"{found.in_flight}"),
            ("commands per second", f"{found.commands_per_second}, {found.burst} in a burst"),
            ("connections of one account", f"{found.connections_per_account}"),
            (
                "waiting to be sent to a slow client",
                f"{found.outbound_messages} messages or {found.outbound_bytes} bytes",
            ),
        ],
    )


def test_cards() -> str:
    """Every card the simulated acquirer knows."""
    return _cards(list(TEST_CARDS.values()))


def first_cards() -> str:
    """The cards to begin with."""
    return _cards([TEST_CARDS_BY_NAME[name] for name in _FIRST_CARDS])


def sca_exemptions() -> str:
    """Every version of every exemption, by regime."""
    rows = []
    for regime in regimes().values():
        for exemption, versions in regime.versions.items():
            for rule in versions:
                rows.append(
                    (
                        regime.name,
                        f"`{exemption.value}`",
                        rule.article,
                        str(rule.valid_from),
                        _limits_of(rule, regime.currency),
                    )
                )
    return table(("regime", "exemption", "article", "from", "limits"), rows)


def sca_states() -> str:
    """Every end of an authentication, and what it means for the payment."""
    return table(
        ("state", "decided", "may authorize", "fraud is borne by"),
        [
            (
                f"`{state.value}`",
                "yes" if is_decided(state) else "",
                "yes" if may_authorize(state) else "",
                liability_of(state).value if is_decided(state) else "",
            )
            for state in AuthenticationState
        ],
    )


def _limits_of(rule: Rule, currency: str) -> str:
    def money(amount_minor: int) -> str:
        return str(Money(amount_minor, currency))

    said = []
    if rule.most_minor is not None:
        said.append(f"{money(rule.most_minor)} each")
    running = []
    if rule.cumulative_minor is not None:
        running.append(f"{money(rule.cumulative_minor)} together")
    if rule.in_a_row is not None:
        running.append(f"{rule.in_a_row} in a row")
    if running:
        said.append(" or ".join(running))
    said += [f"{money(tier.most_minor)} at up to {tier.fraud_rate_ppm} ppm of fraud" for tier in rule.tiers]
    if rule.purposes:
        said.append(", ".join(sorted(rule.purposes)))
    return "; ".join(said) or "none"


def refusals() -> str:
    """Every reason why the vault itself says no."""
    return table(("code", "meaning"), [(f"`{code}`", meaning) for code, meaning in REFUSALS.items()])


def decline_codes() -> str:
    """Every response code and advice that has a rule, grouped by what follows from it."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for kind, entries in (("code", declines.TABLE.codes), ("advice", declines.TABLE.advice)):
        for entry in entries.values():
            rule = entry.ruling
            wait = f"{rule.wait_ms // 3_600_000} h" if rule.wait_ms else ""
            row = (entry.network, kind, rule.decline_class.value, rule.blocks.value, wait)
            groups.setdefault((*row, str(entry.source.stated)), []).append(entry.code)
    return table(
        ("network", "", "codes", "class", "blocks", "wait", "stated"),
        [
            (network, kind, " ".join(codes), f"`{name}`", blocks, wait, stated)
            for (network, kind, name, blocks, wait, stated), codes in groups.items()
        ],
    )


def retry_caps() -> str:
    """How many declined attempts each network accepts."""
    return table(
        ("network", "declined attempts", "within"),
        [
            (network, str(cap.most), f"{cap.within_ms // 3_600_000} h")
            for network, caps in declines.CAPS.items()
            for cap in caps
        ],
    )


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "first-cards": ("README.md", first_cards),
    "test-cards": ("docs/test-cards.md", test_cards),
    "commands": ("docs/protocol.md", commands),
    "events": ("docs/protocol.md", events),
    "limits": ("docs/protocol.md", limits),
    "close-codes": ("docs/protocol.md", close_codes),
    "error-codes": ("docs/protocol.md", error_codes),
    "refusals": ("docs/allowances.md", refusals),
    "decline-codes": ("docs/allowances.md", decline_codes),
    "retry-caps": ("docs/allowances.md", retry_caps),
    "sca-exemptions": ("docs/sca.md", sca_exemptions),
    "sca-states": ("docs/sca.md", sca_states),
}
"""Document and maker by the name in the comments."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def between(name: str) -> re.Pattern[str]:
    """Return the pattern of what stands between the comments of this name."""
    return re.compile(rf"(<!-- {name}: from the code -->\n)(.*?)(\n<!-- {name}: end -->)", re.DOTALL)


def _cards(cards: list[SimulatedCard]) -> str:
    return table(
        ("number", "brand", "what happens", "in"),
        [
            (
                f"`{_spaced(card.number)}`",
                card.brand,
                card.description,
                "storing" if not card.verifies else _OPERATIONS[card.affects],
            )
            for card in cards
        ],
    )


_OPERATIONS = {kind: kind.value for kind in OperationKind}


def _spaced(number: str) -> str:
    if len(number) == 15:
        return f"{number[:4]} {number[4:10]} {number[10:]}"
    return " ".join(number[start : start + 4] for start in range(0, len(number), 4))


def _fields(names: Sequence[str] | dict[str, object]) -> str:
    return ", ".join(f"`{name}`" for name in names) or ""


def _values(field: FieldInfo) -> str:
    """The values of a field that may be left out and has only a few."""
    if get_origin(field.annotation) is not Literal or field.default is None:
        return ""
    others = [f"`{value}`" for value in get_args(field.annotation) if value != field.default]
    return f" (`{field.default}` if left out, {', '.join(others)})"


def write() -> None:
    """Bring every document up to date."""
    for name, (document, make) in TABLES.items():
        path = ROOT / document
        before = path.read_text()
        place = between(name).search(before)
        assert place is not None, f"{document} has no place for {name}"
        path.write_text(before[: place.start(2)] + make() + before[place.end(2) :])


if __name__ == "__main__":
    write()
