"""Card numbers and security codes where neither belongs: in texts that are stored or shown in the clear.

A number is looked for the way people write it: in groups, with blanks, dots or hyphens between them, in any
script's digits. What a card number is: 12 to 19 digits (ISO/IEC 7812-1) with a right check digit, beginning
like those of a card scheme, so that times, order numbers and the like are rarely taken for one.
"""

from __future__ import annotations

import re
import unicodedata

from wallets.vault.cards import is_luhn_valid

_SHORTEST, _LONGEST = 12, 19
_RUN = re.compile(r"[0-9]+(?:[ ._/-]{1,2}[0-9]+)*")
_GROUP = re.compile(r"[0-9]+")
_CODE_NAMES = frozenset(
    {
        *("cvc", "cvc2", "cvv", "cvv2", "csc", "cid", "cav", "cav2", "cardcode", "securitycode", "cardcvc"),
        *("cardsecuritycode", "cardcvv", "pin", "pinblock", "track", "track1", "track2", "trackdata"),
        "magstripe",
    }
)


def holds_card_number(text: str) -> bool:
    """Whether a card number is written somewhere in a text."""
    return any(_holds(_GROUP.findall(run)) for run in _RUN.findall(_plain(text)))


def is_named_like_a_code(name: str) -> bool:
    """Whether a member's name announces what must not be stored after authorization (PCI DSS 4.0.1, 3.3)."""
    return "".join(filter(str.isalnum, _plain(name))).lower() in _CODE_NAMES


def digits_of(text: str) -> str:
    """Return all digits of a text, of whatever script, as ASCII."""
    return "".join(_GROUP.findall(_plain(text)))


def _holds(groups: list[str]) -> bool:
    """Whether some neighbouring groups together are a number."""
    for first in range(len(groups)):
        number = ""
        for group in groups[first:]:
            number += group
            if len(number) > _LONGEST:
                break
            if len(number) >= _SHORTEST and _is_of_a_scheme(number) and is_luhn_valid(number):
                return True
    return False


def _is_of_a_scheme(number: str) -> bool:
    return number[0] in "34568" or "2221" <= number[:4] <= "2720"


def _plain(text: str) -> str:
    """Return a text with ASCII digits, blanks and hyphens in the place of all their likes."""
    plain: list[str] = []
    for character in unicodedata.normalize("NFKC", text):
        category = unicodedata.category(character)
        if category == "Nd":
            plain.append(str(unicodedata.decimal(character)))
        elif category in ("Zs", "Zl", "Zp", "Cc"):
            plain.append(" ")
        elif category == "Pd":
            plain.append("-")
        elif category != "Cf":
            plain.append(character)
    return "".join(plain)
