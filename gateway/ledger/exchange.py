"""Money changed into another currency: two transfers, each in one currency, that meet in a clearing account.

There is no rate in the books. The clearing account's balances per currency are the position that the exchange
left open; a gain or loss is posted by whoever values it.
"""

from __future__ import annotations

from gateway.kernel.errors import InvalidError
from gateway.kernel.money import Money
from gateway.ledger import accounts
from gateway.ledger.entries import Entry, move


def exchanged(given: Money, received: Money, *, out_of: str, into: str) -> tuple[Entry, ...]:
    """Return the entries of an exchange: ``given`` leaves one account, ``received`` arrives at another.

    Raises InvalidError ``ledger.exchange`` when both are in one currency or an amount is not above zero.
    """
    if given.currency == received.currency or given.amount_minor <= 0 or received.amount_minor <= 0:
        raise InvalidError("ledger.exchange", "an exchange gives one currency and receives another")
    return (
        *move(given.currency, given.amount_minor, debit=accounts.FX_CLEARING, credit=out_of),
        *move(received.currency, received.amount_minor, debit=into, credit=accounts.FX_CLEARING),
    )
