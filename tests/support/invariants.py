"""What must always hold, checked in the files of a gateway that was stopped or killed.

Every check looks at one promise and yields a `Violation` for each place where it is broken. Some promises
hold at every moment; others (``at_rest``) once nothing is left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from tests.support import money_promises, order_promises, scarce_promises
from tests.support.evidence import Evidence
from tests.support.promises import Violation
from tests.support.secrets_in_files import secrets_in_files
from tests.support.token_promises import tokens
from tests.support.world_promises import notices

Check = Callable[[Evidence, bool], Iterator[Violation]]

CHECKS: tuple[Check, ...] = (
    money_promises.intents,
    money_promises.operations,
    money_promises.effects_once,
    money_promises.ledger,
    money_promises.guardians,
    order_promises.amounts,
    order_promises.ends,
    order_promises.streams,
    order_promises.facts_and_events,
    order_promises.keys,
    order_promises.owners,
    order_promises.consents,
    scarce_promises.pools,
    scarce_promises.editions,
    scarce_promises.stock_books,
    scarce_promises.shipments,
    tokens,
    notices,
)


def violations(data_dir: Path, *, secrets: Collection[str] = (), at_rest: bool = True) -> list[Violation]:
    """Return every broken promise; empty is good. The gateway must not be running."""
    evidence = Evidence(data_dir)
    found = [broken for check in CHECKS for broken in check(evidence, at_rest)]
    return found + list(secrets_in_files(data_dir, secrets))
