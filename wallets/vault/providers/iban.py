"""Account numbers of SEPA: form and check digits (ISO 13616, ISO 7064 MOD 97-10)."""

from __future__ import annotations

import re

_SHAPE = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
# Lengths of the countries in SEPA, from the SWIFT IBAN registry (release 99, 2025).
_LENGTHS = {
    **{"AD": 24, "AL": 28, "AT": 20, "BE": 16, "BG": 22, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18},
    **{"EE": 20, "ES": 24, "FI": 18, "FR": 27, "GB": 22, "GI": 23, "GR": 27, "HR": 21, "HU": 28, "IE": 22},
    **{"IS": 26, "IT": 27, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19},
    **{"MT": 31, "NL": 18, "NO": 15, "PL": 28, "PT": 25, "RO": 24, "RS": 22, "SE": 24, "SI": 19, "SK": 24},
    **{"SM": 27, "VA": 22},
}


def normalized(text: str) -> str:
    """Return the account number without blanks, in upper case."""
    return text.replace(" ", "").upper()


def is_valid(account: str) -> bool:
    """Whether a normalized number is one of SEPA's countries, has its length and fits its check digits."""
    if not _SHAPE.fullmatch(account) or len(account) != _LENGTHS.get(account[:2]):
        return False
    digits = "".join(str(int(character, 36)) for character in account[4:] + account[:4])
    return int(digits) % 97 == 1
