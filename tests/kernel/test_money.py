from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.currencies import EXPONENTS
from gateway.kernel.errors import InvalidError
from gateway.kernel.money import MAX_AMOUNT_MINOR, Money, allocate, exponent, round_half_up


@pytest.mark.parametrize(
    ("currency", "digits"),
    [("JPY", 0), ("KRW", 0), ("EUR", 2), ("CHF", 2), ("KWD", 3), ("BHD", 3), ("CLF", 4), ("UYW", 4)],
)
def test_exponents_are_those_of_iso_4217(currency, digits):
    assert exponent(currency) == digits


@pytest.mark.parametrize("currency", ["", "eur", "EURO", "XXX", "BTC", "EUR "])
def test_an_unknown_currency_is_refused(currency):
    with pytest.raises(InvalidError, match=r"currency\.unknown"):
        Money(1, currency)


@pytest.mark.parametrize(
    ("amount_minor", "currency", "decimal"),
    [
        (1290, "EUR", "12.90"),
        (5, "EUR", "0.05"),
        (-5, "EUR", "-0.05"),
        (1500, "JPY", "1500"),
        (0, "JPY", "0"),
        (1250, "KWD", "1.250"),
        (1, "KWD", "0.001"),
        (12345, "CLF", "1.2345"),
        (-123456, "EUR", "-1234.56"),
    ],
)
def test_an_amount_is_written_with_its_currencys_decimals(amount_minor, currency, decimal):
    assert Money(amount_minor, currency).decimal == decimal
    assert str(Money(amount_minor, currency)) == f"{decimal} {currency}"


@pytest.mark.parametrize(
    ("text", "currency", "amount_minor"),
    [
        ("12.90", "EUR", 1290),
        ("12.9", "EUR", 1290),
        ("12", "EUR", 1200),
        ("0", "EUR", 0),
        ("007", "EUR", 700),
        ("1500", "JPY", 1500),
        ("1.25", "KWD", 1250),
        ("1.2345", "CLF", 12345),
    ],
)
def test_an_amount_is_parsed_exactly(text, currency, amount_minor):
    assert Money.parse(text, currency) == Money(amount_minor, currency)


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        *[(text, "EUR") for text in ("", ".", "1.", ".5", "1.234", "-1", "+1", "1e3", "1,50", " 1", "1 ")],
        *[(text, "EUR") for text in ("1_000", "0x10", "NaN", "inf", "1.2.3", "1.-5", "12.9\n", "€5")],
        *[(text, "EUR") for text in ("1.²", "²", "1.٣", "١٢", "9" * 21, "9" * 5000)],
        *[(text, "JPY") for text in ("1.0", "1.", "1500.00")],
        ("1.2345", "KWD"),
    ],
)
def test_a_malformed_amount_is_refused(text, currency):
    with pytest.raises(InvalidError, match=r"money\.malformed"):
        Money.parse(text, currency)


@given(st.integers(0, MAX_AMOUNT_MINOR), st.sampled_from(sorted(EXPONENTS)))
def test_what_is_written_is_parsed_back(amount_minor, currency):
    money = Money(amount_minor, currency)
    assert Money.parse(money.decimal, currency) == money


def test_amounts_of_one_currency_add_subtract_multiply_and_compare():
    assert Money(1290, "EUR") + Money(10, "EUR") == Money(1300, "EUR")
    assert Money(1290, "EUR") - Money(1300, "EUR") == Money(-10, "EUR")
    assert Money(1290, "EUR") * 3 == Money(3870, "EUR")
    assert Money(1, "EUR") < Money(2, "EUR") <= Money(2, "EUR")
    assert Money(2, "EUR") > Money(1, "EUR")
    assert not Money(0, "EUR")
    assert Money(1, "EUR") != Money(1, "USD")


@pytest.mark.parametrize(
    "combine",
    [
        lambda one, other: one + other,
        lambda one, other: one - other,
        lambda one, other: one < other,
        lambda one, other: one <= other,
        lambda one, other: one > other,
    ],
)
def test_two_currencies_never_combine(combine):
    with pytest.raises(InvalidError, match=r"currency\.mismatch"):
        combine(Money(1, "EUR"), Money(1, "USD"))


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: Money(1.0, "EUR"),
        lambda: Money(True, "EUR"),
        lambda: Money("1", "EUR"),
        lambda: Money(1, "EUR") * 1.5,
        lambda: Money(1, "EUR") * True,
        lambda: Money(100, "EUR").allocate([0.5, 0.5]),
        lambda: allocate(100.0, [1, 1]),
        lambda: round_half_up(2.5),
    ],
)
def test_there_are_no_floats(attempt):
    with pytest.raises(TypeError):
        attempt()


@pytest.mark.parametrize(
    ("total", "weights", "parts"),
    [
        (100, [1, 1, 1], [34, 33, 33]),
        (100, [1, 2], [33, 67]),
        (1, [1, 1, 1], [1, 0, 0]),
        (2, [1, 1, 1], [1, 1, 0]),
        (0, [1, 1], [0, 0]),
        (1000, [70, 30], [700, 300]),
        (5, [0, 1, 0, 1], [0, 3, 0, 2]),
        (-100, [1, 1, 1], [-34, -33, -33]),
        (10, [1], [10]),
    ],
)
def test_an_allocation_gives_the_rest_to_the_largest_remainders(total, weights, parts):
    assert allocate(total, weights) == parts


@given(
    st.integers(-(2**60), 2**60),
    st.lists(st.integers(0, 10**12), min_size=1, max_size=12).filter(lambda weights: sum(weights) > 0),
)
def test_an_allocation_sums_to_the_whole_and_no_part_is_a_unit_off(total, weights):
    parts = allocate(total, weights)
    assert sum(parts) == total
    assert all(type(part) is int for part in parts)
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(total * weight, sum(weights))) < 1
        assert weight > 0 or part == 0


@pytest.mark.parametrize("weights", [[], [0], [0, 0], [1, -1], [-1, 3]])
def test_an_allocation_needs_a_positive_weight_and_no_negative_one(weights):
    with pytest.raises(InvalidError, match=r"money\.allocation"):
        Money(100, "EUR").allocate(weights)


def test_money_allocates_in_its_own_currency():
    assert Money(1000, "JPY").allocate([1, 2]) == [Money(333, "JPY"), Money(667, "JPY")]


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        (Fraction(5, 2), 3),
        (Fraction(-5, 2), -3),
        (Fraction(249, 100), 2),
        (Fraction(251, 100), 3),
        (Fraction(0), 0),
        (Fraction(10**30 * 2 + 1, 2), 10**30 + 1),
    ],
)
def test_halves_are_rounded_away_from_zero(value, rounded):
    assert round_half_up(value) == rounded
