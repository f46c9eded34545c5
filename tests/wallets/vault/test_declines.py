from __future__ import annotations

import pytest

from wallets.vault.declines import classify, decline
from wallets.vault.port import DeclineClass

NEVER, LATER, FIX, SCA, FRAUD = (
    DeclineClass.HARD_NEVER,
    DeclineClass.SOFT_RETRY_LATER,
    DeclineClass.FIX_DATA,
    DeclineClass.SOFT_NEEDS_SCA,
    DeclineClass.FRAUD_HOLD,
)


@pytest.mark.parametrize(
    ("brand", "codes", "expected"),
    [
        ("visa", ["04", "07", "12", "14", "15", "41", "43", "46", "57", "R0", "R1", "R3"], NEVER),
        ("visa", ["51", "61", "65", "91", "96"], LATER),
        ("mastercard", ["51", "61", "91", "96"], LATER),
        ("visa", ["54", "55", "N7"], FIX),
        ("visa", ["1A"], SCA),
        ("mastercard", ["65"], SCA),
        ("visa", ["59"], FRAUD),
        # No advice: not tried again.
        ("visa", ["05", "??", "3DS:N"], NEVER),
    ],
)
def test_network_codes_have_their_class(brand: str, codes: list[str], expected: DeclineClass) -> None:
    assert {code: classify(brand, code) for code in codes} == dict.fromkeys(codes, expected)


def test_every_class_has_a_message_for_people() -> None:
    for code in ("04", "51", "54", "1A", "59"):
        refusal = decline("visa", code)
        assert refusal.code == code
        assert refusal.message.endswith(".")
        assert code not in refusal.message
