"""Card numbers: form, check digit, brand. Refusals name the field, never the value."""

from __future__ import annotations

from gateway.kernel.clock import utc_datetime
from gateway.kernel.errors import InvalidError
from wallets.vault.port import CardEntry

_LONGEST_HOLDER = 100
_FURTHEST_EXPIRY_YEARS = 25


def is_luhn_valid(number: str) -> bool:
    """Check the last digit (ISO/IEC 7812-1, annex B)."""
    total = 0
    for position, digit in enumerate(reversed(number)):
        value = int(digit)
        if position % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def brand_of(number: str) -> str:
    """Return the scheme by issuer range, ``other`` where none of ours fits."""
    if number.startswith("4"):
        return "visa"
    if number[:2] in ("34", "37"):
        return "amex"
    if "51" <= number[:2] <= "55" or "2221" <= number[:4] <= "2720":
        return "mastercard"
    return "other"


def check_number(card: CardEntry) -> None:
    """Raise InvalidError ``card.invalid`` unless the number is well formed."""
    number = card.number.reveal()
    if not (number.isascii() and number.isdigit() and 12 <= len(number) <= 19 and is_luhn_valid(number)):
        raise _invalid("number", "The card number is not valid.")


def check_details(card: CardEntry, now_ms: int) -> None:
    """Raise InvalidError ``card.invalid`` unless expiry, security code and holder are well formed."""
    if not 1 <= card.expiry_month <= 12:
        raise _invalid("expiry_month", "The expiry month is not valid.")
    today = utc_datetime(now_ms)
    # A card is good to the end of its month.
    if not today.year <= card.expiry_year <= today.year + _FURTHEST_EXPIRY_YEARS:
        raise _invalid("expiry_year", "The card has expired, or the expiry year is not valid.")
    if (card.expiry_year, card.expiry_month) < (today.year, today.month):
        raise _invalid("expiry_month", "The card has expired.")
    code = card.security_code.reveal()
    digits = 4 if brand_of(card.number.reveal()) == "amex" else 3
    if not (code.isascii() and code.isdigit() and len(code) == digits):
        raise _invalid("security_code", f"The security code must have {digits} digits.")
    holder = card.holder.reveal()
    # A card number typed into the name would be stored encrypted, but shown to staff one day.
    if len(holder) > _LONGEST_HOLDER or sum(character.isdigit() for character in holder) > 3:
        raise _invalid("holder", "The card holder's name is not valid.")


def _invalid(field: str, message: str) -> InvalidError:
    return InvalidError("card.invalid", message, param=f"$.{field}")
