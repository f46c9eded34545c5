"""Triggers in the files of a gateway that write down what must never be written, at whatever moment it is.

A promise checked at the end does not see what was wrong and put right again. These see every UPDATE: a move out
of an end or past the table of moves, and an intent whose amounts are out of order for one statement. The unit
that did it is not disturbed; what was seen is read afterwards.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from gateway.orders.model import LEG_MOVES, ORDER_MOVES
from gateway.payments.model import ATTEMPT_MOVES, INTENT_MOVES, OPERATION_MOVES
from gateway.payments.refunds_model import REFUND_MOVES
from wallets.vault.model import ALLOWED_MOVES

Moves = Mapping[Any, frozenset[Any]]
WATCHED: dict[str, dict[str, tuple[str, Moves]]] = {
    "gateway": {
        "payment_intent": ("order_id", INTENT_MOVES),
        "payment_attempt": ("attempt_id", ATTEMPT_MOVES),
        "payment_operation": ("operation_id", OPERATION_MOVES),
        "refund_request": ("refund_id", REFUND_MOVES),
        "customer_order": ("order_id", ORDER_MOVES),
        "leg": ("leg_id", LEG_MOVES),
    },
    "vault": {"vault_operation": ("operation_id", ALLOWED_MOVES)},
}
"""By database and table: the column that names the row, and the moves of its state."""

_SEEN = "watched_moves"
_IN_ORDER = (
    "0 <= NEW.refunded_minor AND NEW.refunded_minor + NEW.refunding_minor <= NEW.captured_minor"
    " AND 0 <= NEW.voided_minor AND NEW.captured_minor + NEW.voided_minor <= NEW.authorized_minor"
)


def watch_moves(data_dir: Path) -> None:
    """Put the triggers in, between two units of the gateway."""
    for database, tables in WATCHED.items():
        with closing(sqlite3.connect(data_dir / f"{database}.db")) as connection:
            connection.execute(f"CREATE TABLE {_SEEN} (place TEXT, name TEXT, said TEXT)")
            for table, (name, moves) in tables.items():
                connection.execute(_on_move(table, name, moves))
            if database == "gateway":
                connection.execute(
                    f"CREATE TRIGGER watched_amounts AFTER UPDATE ON payment_intent WHEN NOT ({_IN_ORDER}) BEGIN "
                    f"INSERT INTO {_SEEN} VALUES ('payment_intent', NEW.order_id, NEW.authorized_minor || ' ' || "
                    "NEW.captured_minor || ' ' || NEW.voided_minor || ' ' || NEW.refunded_minor); END"
                )
            connection.commit()


def seen_moves(data_dir: Path) -> list[tuple[str, str, str]]:
    """Return what the triggers saw: table, row, and from what to what."""
    found = []
    for database in WATCHED:
        with closing(sqlite3.connect(data_dir / f"{database}.db")) as connection:
            found += connection.execute(f"SELECT * FROM {_SEEN}").fetchall()
    return found


def _on_move(table: str, name: str, moves: Moves) -> str:
    allowed = ", ".join(
        f"'{state.value}>{following.value}'" for state, after in moves.items() for following in after
    )
    return (
        f"CREATE TRIGGER watched_{table} AFTER UPDATE OF state ON {table} "
        f"WHEN OLD.state <> NEW.state AND OLD.state || '>' || NEW.state NOT IN ({allowed}) BEGIN "
        f"INSERT INTO {_SEEN} VALUES ('{table}', NEW.{name}, OLD.state || '>' || NEW.state); END"
    )
