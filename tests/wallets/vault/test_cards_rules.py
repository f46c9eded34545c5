from __future__ import annotations

from typing import Any

import pytest

from gateway.kernel.errors import InvalidError
from tests.wallets.vault.shop import card
from wallets.vault.cards import brand_of, check_details, check_number, is_luhn_valid
from wallets.vault.providers.test_cards import AMEX, MASTERCARD, TEST_CARDS, TEST_CARDS_BY_NAME, VISA
from wallets.vault.secret import Secret

MARCH_2027 = 1_804_000_000_000


def test_every_test_card_is_well_formed_and_of_its_brand() -> None:
    assert len(TEST_CARDS) == len(TEST_CARDS_BY_NAME)
    for number, simulated in TEST_CARDS.items():
        check_number(card(number))
        check_details(card(number), MARCH_2027)
        assert brand_of(number) == simulated.brand


@pytest.mark.parametrize(
    ("number", "brand"),
    [(VISA, "visa"), (MASTERCARD, "mastercard"), (AMEX, "amex"), ("2223003122003222", "mastercard")],
)
def test_brand_by_issuer_range(number: str, brand: str) -> None:
    assert is_luhn_valid(number)
    assert brand_of(number) == brand


def test_a_range_of_no_known_scheme_is_other() -> None:
    assert brand_of("6011111111111117") == "other"


@pytest.mark.parametrize(
    "number", ["", "4242", "4242424242424241", "424242424242424x", "٤٢٤٢٤٢٤٢٤٢٤٢٤٢٤٢", "4" * 20]
)
def test_a_malformed_number_is_refused_without_being_repeated(number: str) -> None:
    with pytest.raises(InvalidError) as caught:
        check_number(card(number))
    assert (caught.value.code, caught.value.param) == ("card.invalid", "$.number")
    assert not number or number not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"expiry_month": 0}, "$.expiry_month"),
        ({"expiry_month": 13}, "$.expiry_month"),
        ({"expiry_month": 2, "expiry_year": 2027}, "$.expiry_month"),
        ({"expiry_year": 2026}, "$.expiry_year"),
        ({"expiry_year": 31}, "$.expiry_year"),
        ({"expiry_year": 2060}, "$.expiry_year"),
        ({"security_code": Secret("12")}, "$.security_code"),
        ({"security_code": Secret("1234")}, "$.security_code"),
        ({"security_code": Secret("12a")}, "$.security_code"),
        ({"holder": Secret("x" * 101)}, "$.holder"),
        ({"holder": Secret("4242 4242")}, "$.holder"),
    ],
)
def test_a_wrong_detail_is_refused_by_name(changes: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidError) as caught:
        check_details(card(**changes), MARCH_2027)
    assert (caught.value.code, caught.value.param) == ("card.invalid", param)


def test_a_card_is_good_to_the_end_of_its_month() -> None:
    check_details(card(expiry_month=3, expiry_year=2027), MARCH_2027)
