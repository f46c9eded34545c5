"""The right to withdraw from the purchase of digital content: where it is, and how long it lasts. No I/O.

It is lost before its time only if the consumer has agreed that delivery starts at once, has acknowledged to
lose it by that, and is sent a confirmation of both on a durable medium (directive 2011/83/EU Art. 16(m) and
8(7); in the United Kingdom regulation 37 of SI 2013/3134). Who is not asked, or does not agree, waits.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

DIGITAL_CONTENT_START = "digital_content_start"
"""The kind of consent that covers both: delivery starts now, and the right to withdraw is lost by it."""

_EUROPEAN_UNION = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
"""Its member states; https://european-union.europa.eu, "EU countries"."""
_ECONOMIC_AREA = "IS LI NO"
"""The states of the European Economic Area beside them: decision of its Joint Committee No 181/2012."""
_OWN_RULE = "GB"
"""SI 2013/3134."""
COUNTRIES = frozenset(f"{_EUROPEAN_UNION} {_ECONOMIC_AREA} {_OWN_RULE}".split())
"""Where a consumer has the right (ISO 3166-1)."""

PERIOD_DAYS = 14
"""From the conclusion of the contract, the day of which is not counted (2011/83 Art. 9(1), 9(2)(c))."""

_ANYWHERE_H = 12
"""How far behind UTC a consumer's day may end."""
_HOLIDAYS_DAYS = 2
"""The period never ends on a public holiday (regulation 1182/71 Art. 3(4)). Which day is one differs from
country to country and is not known here, so everybody has these days more."""


def may_withdraw(country: str) -> bool:
    """Whether a consumer in this country may withdraw from the purchase of digital content."""
    return country in COUNTRIES


def consents_needed(country: str, *, digital: bool) -> list[str]:
    """Return what the customer has to agree to, if what is digital is to be delivered at once."""
    return [DIGITAL_CONTENT_START] if digital and may_withdraw(country) else []


def withdrawal_ends_ms(concluded_ms: int) -> int:
    """Return when nobody can withdraw any more from a contract that was concluded then.

    The last day ends at midnight wherever the consumer is, and is no Saturday or Sunday.
    """
    day = datetime.fromtimestamp(concluded_ms / 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    last = day + timedelta(days=PERIOD_DAYS + _HOLIDAYS_DAYS)
    while last.isoweekday() > 5:
        last += timedelta(days=1)
    end = last + timedelta(days=1, hours=_ANYWHERE_H)
    return int(end.timestamp()) * 1000


def may_deliver(country: str, given: Collection[str], not_before_ms: int | None, now_ms: int) -> bool:
    """Whether the law lets what is digital be delivered now.

    ``given`` are the kinds of consent that are recorded with their confirmation; ``not_before_ms`` is when
    the period to withdraw ends, where that is waited for.
    """
    if not_before_ms is not None:
        return not_before_ms <= now_ms
    return not may_withdraw(country) or DIGITAL_CONTENT_START in given
