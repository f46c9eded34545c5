from __future__ import annotations

import pytest

from gateway.catalog.model import TaxScheme, TaxSettings
from gateway.catalog.taxes import CATEGORIES, TaxRate, TaxTable
from gateway.kernel.clock import parse_rfc3339
from gateway.kernel.errors import InvalidError
from gateway.kernel.money import Money

TABLE = TaxTable.load()


@pytest.mark.parametrize(
    ("country", "category", "moment", "basis_points"),
    [
        ("DE", "goods_standard", "2026-11-21T12:00:00Z", 1900),
        ("DE", "books", "2026-11-21T12:00:00Z", 700),
        ("FR", "goods_standard", "2026-11-21T12:00:00Z", 2000),
        ("FR", "plants", "2026-11-21T12:00:00Z", 1000),
        ("FR", "ebooks", "2026-11-21T12:00:00Z", 550),
        ("AT", "digital_standard", "2026-11-21T12:00:00Z", 2000),
        ("AT", "plants", "2026-11-21T12:00:00Z", 1300),
        ("AT", "goods_reduced", "2026-11-21T12:00:00Z", 1000),
        ("GB", "goods_standard", "2026-11-21T12:00:00Z", 2000),
        ("GB", "goods_reduced", "2026-11-21T12:00:00Z", 500),
        ("GB", "ebooks", "2026-11-21T12:00:00Z", 0),
    ],
)
def test_rates_of_today(country: str, category: str, moment: str, basis_points: int) -> None:
    rate = TABLE.rate(country, category, parse_rfc3339(moment))
    assert rate.basis_points == basis_points
    assert rate.valid_until_ms is None
    assert rate.source


@pytest.mark.parametrize(
    ("country", "category", "last_moment", "before", "after"),
    [
        # The change comes at the country's own midnight: 22:00 UTC in a German summer, 23:00 in winter.
        ("DE", "goods_standard", "2020-06-30T21:59:59.999Z", 1900, 1600),
        ("DE", "goods_standard", "2020-12-31T22:59:59.999Z", 1600, 1900),
        ("DE", "books", "2020-06-30T21:59:59.999Z", 700, 500),
        ("DE", "ebooks", "2019-12-17T22:59:59.999Z", 1900, 700),
        ("FR", "goods_standard", "2013-12-31T22:59:59.999Z", 1960, 2000),
        ("AT", "books", "2021-12-31T22:59:59.999Z", 500, 1000),
        ("AT", "plants", "2015-12-31T22:59:59.999Z", 1000, 1300),
        ("GB", "goods_standard", "2011-01-03T23:59:59.999Z", 1750, 2000),
        ("GB", "ebooks", "2020-04-30T22:59:59.999Z", 2000, 0),
    ],
)
def test_rate_changes_at_local_midnight(
    country: str, category: str, last_moment: str, before: int, after: int
) -> None:
    moment = parse_rfc3339(last_moment)
    assert TABLE.rate(country, category, moment).basis_points == before
    assert TABLE.rate(country, category, moment + 1).basis_points == after
    assert TABLE.rate(country, category, moment + 1).valid_from_ms == moment + 1


@pytest.mark.parametrize(
    ("country", "category", "moment"),
    [
        ("CH", "goods_standard", "2026-01-01T00:00:00Z"),
        ("DE", "gold_bars", "2026-01-01T00:00:00Z"),
        ("DE", "goods_standard", "2001-01-01T00:00:00Z"),
    ],
)
def test_rate_that_is_not_known_is_refused(country: str, category: str, moment: str) -> None:
    with pytest.raises(InvalidError) as refused:
        TABLE.rate(country, category, parse_rfc3339(moment))
    assert refused.value.code == "tax.rate_unknown"
    assert refused.value.data == {"country": country, "category": category}


def test_every_country_has_every_category_now() -> None:
    now = parse_rfc3339("2026-11-21T00:00:00Z")
    for country in ("DE", "FR", "AT", "GB"):
        for category in CATEGORIES:
            assert TABLE.rate(country, category, now).country == country


def test_overlapping_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        TaxTable([TaxRate("DE", "books", 700, 0, None, "a"), TaxRate("DE", "books", 500, 10, None, "b")])


@pytest.mark.parametrize(
    ("gross", "basis_points", "tax"),
    [
        (Money(1190, "EUR"), 1900, 190),
        (Money(1000, "EUR"), 1900, 160),
        (Money(3, "EUR"), 2000, 1),  # 0.5 cents: half up
        (Money(1500, "JPY"), 2000, 250),
        (Money(1250, "KWD"), 500, 60),
        (Money(999, "GBP"), 0, 0),
    ],
)
def test_tax_is_taken_out_of_the_gross_sum_half_up(gross: Money, basis_points: int, tax: int) -> None:
    rate = TaxRate("DE", "goods_standard", basis_points, 0, None, "")
    assert rate.included_in(gross) == Money(tax, gross.currency)


def test_scheme_names_the_country_that_taxes() -> None:
    assert TaxSettings(TaxScheme.DESTINATION, "goods_standard", {}).taxed_in("DE", "AT") == "AT"
    assert TaxSettings(TaxScheme.ORIGIN, "goods_standard", {}).taxed_in("DE", "AT") == "DE"
