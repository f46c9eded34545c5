"""Pricing: exact figures, parts that sum, taxes per rate on the summed base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.model import (
    Delivery,
    DigitalPart,
    EditionKind,
    FailurePolicy,
    Format,
    Merchant,
    Part,
    PartKind,
    PhysicalPart,
    ProductId,
    ShippingRate,
    TaxScheme,
    TaxSettings,
    VariantId,
    VariantOffer,
)
from gateway.catalog.taxes import TaxTable
from gateway.kernel.errors import ConflictError, InvalidError
from gateway.kernel.money import Money, round_half_up
from gateway.kernel.subjects import MerchantId
from gateway.orders.plan import Plan, Wanted, make_plan, tax_included

NOW_MS = 1_795_000_000_000  # November 2026
TAXES = TaxTable.load()


def money(prices: Mapping[str, int]) -> Mapping[str, Money]:
    return MappingProxyType({currency: Money(amount, currency) for currency, amount in prices.items()})


def merchant(
    shipping: Mapping[str, int] | None = None, free_from: Mapping[str, int] | None = None
) -> Merchant:
    rate = ShippingRate(
        frozenset({"DE", "AT", "FR", "GB"}),
        money(shipping or {"EUR": 0, "JPY": 0}),
        money(free_from or {}),
        1,
        3,
    )
    return Merchant(
        MerchantId("mer_" + "0" * 28),
        "shop",
        "Shop",
        "DE",
        ("EUR", "JPY"),
        TaxSettings(TaxScheme.DESTINATION, "goods_standard", {}),
        (rate,),
        (),
    )


def offer(
    format: Format,
    prices: Mapping[str, int],
    *,
    weights: tuple[int, int] = (30, 70),
    edition: EditionKind = EditionKind.OPEN,
    cap: int | None = None,
    delivery: Delivery = Delivery.TOKEN,
    tax: tuple[str, str] = ("digital_standard", "goods_standard"),
) -> VariantOffer:
    parts: list[Part] = []
    if format is not Format.PHYSICAL:
        parts.append(Part(PartKind.DIGITAL, tax[0], weights[0]))
    if format is not Format.DIGITAL:
        parts.append(Part(PartKind.PHYSICAL, tax[1], weights[1]))
    return VariantOffer(
        MerchantId("mer_" + "0" * 28),
        ProductId("prd_1"),
        VariantId("var_1"),
        "LAMP",
        format,
        {"en": "Lamp"},
        FailurePolicy.ALL_OR_NOTHING,
        money(prices),
        tuple(parts),
        DigitalPart(delivery, None, edition, cap, 0, "", 7 if delivery is Delivery.TOKEN else None)
        if format is not Format.PHYSICAL
        else None,
        PhysicalPart(100, (1, 1, 1)) if format is not Format.DIGITAL else None,
    )


def plan(
    *wanted: tuple[VariantOffer, int], currency: str = "EUR", country: str = "DE", **changes: object
) -> Plan:
    return make_plan(
        merchant=changes.pop("merchant", merchant()),
        wanted=[Wanted(one, count, "berlin" if one.physical else None) for one, count in wanted],
        currency=currency,
        country=country,
        channel="ar",
        place=None,
        at_ms=NOW_MS,
        taxes=TAXES,
        stock_pool=lambda sku, location: f"stock:{sku}@{location}",
        edition_pool=lambda sku: f"edition:{sku}",
        mint=bool(changes.pop("mint", True)),
    )


def test_a_bundle_is_split_into_a_mint_and_a_ship_leg_that_sum_to_its_price() -> None:
    made = plan((offer(Format.BUNDLE, {"EUR": 19600}, weights=(6, 94)), 1))
    assert [(leg.kind, leg.amount_minor) for leg in made.legs] == [("mint", 1176), ("ship", 18424)]
    assert made.total_minor == 19600


def test_tax_is_included_and_rounded_half_up_on_the_sum_of_a_rate() -> None:
    made = plan((offer(Format.PHYSICAL, {"EUR": 1000}), 3), (offer(Format.DIGITAL, {"EUR": 999}), 1))
    # 39.99 EUR at 19 %: 39.99 * 19 / 119 = 6.3849... -> 6.38
    assert made.tax_minor == 638
    assert sum(leg.tax_minor for leg in made.legs) == 638
    assert [tax["rate_bps"] for tax in made.taxes] == [1900]


def test_each_rate_is_taxed_by_itself() -> None:
    made = plan(
        (offer(Format.BUNDLE, {"EUR": 2950}, weights=(25, 75), tax=("ebooks", "books")), 1), country="GB"
    )
    assert {(tax["country"], tax["rate_bps"]) for tax in made.taxes} == {("GB", 0)}
    assert made.tax_minor == 0


def test_a_zero_decimal_currency_has_no_fractions() -> None:
    made = plan((offer(Format.BUNDLE, {"JPY": 31900}, weights=(6, 94)), 1), currency="JPY")
    assert [leg.amount_minor for leg in made.legs] == [1914, 29986]
    assert made.tax_minor == 5093  # 31900 * 19 / 119 = 5093.27...


def test_shipping_is_shared_out_to_the_parcels_and_sums() -> None:
    shop = merchant(shipping={"EUR": 490})
    made = plan(
        (offer(Format.PHYSICAL, {"EUR": 1000}), 1),
        (offer(Format.BUNDLE, {"EUR": 2000}, weights=(50, 50)), 1),
        merchant=shop,
    )
    assert made.shipping_minor == 490
    assert made.total_minor == 3490
    assert [leg.amount_minor for leg in made.legs] == [1245, 1000, 1245]


def test_shipping_is_free_from_a_sum_of_goods() -> None:
    shop = merchant(shipping={"EUR": 490}, free_from={"EUR": 5000})
    assert plan((offer(Format.PHYSICAL, {"EUR": 2500}), 2), merchant=shop).shipping_minor == 0
    assert plan((offer(Format.PHYSICAL, {"EUR": 2499}), 2), merchant=shop).shipping_minor == 490


def test_every_copy_of_a_contract_that_mints_one_at_a_time_is_a_leg_of_its_own() -> None:
    one = offer(Format.DIGITAL, {"EUR": 100})
    assert one.digital is not None
    single = replace(one, digital=replace(one.digital, contract="cards", single=True))
    made = plan((single, 3))
    assert [(leg.quantity, leg.amount_minor, leg.numbered) for leg in made.legs] == [(1, 100, False)] * 3


def test_every_numbered_copy_is_a_leg_of_its_own() -> None:
    made = plan((offer(Format.DIGITAL, {"EUR": 100}, edition=EditionKind.NUMBERED, cap=25), 3))
    assert [(leg.quantity, leg.amount_minor, leg.numbered) for leg in made.legs] == [(1, 100, True)] * 3


def test_only_scarce_things_are_held() -> None:
    open_edition = plan((offer(Format.DIGITAL, {"EUR": 100}), 1))
    capped = plan((offer(Format.DIGITAL, {"EUR": 100}, edition=EditionKind.CAPPED, cap=5), 1))
    assert open_edition.legs[0].pool_id is None
    assert capped.legs[0].pool_id == "edition:LAMP"


def test_digital_items_ask_for_consent_and_goods_do_not() -> None:
    assert plan((offer(Format.DIGITAL, {"EUR": 100}), 1)).consents_required == ["digital_content_start"]
    assert plan((offer(Format.PHYSICAL, {"EUR": 100}), 1)).consents_required == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"currency": "GBP"}, "price.not_offered"),
        ({"country": "US"}, "tax.rate_unknown"),
        ({"mint": False}, "minting.off"),
    ],
)
def test_what_cannot_be_priced_is_refused(changes: dict[str, object], code: str) -> None:
    with pytest.raises((ConflictError, InvalidError)) as caught:
        plan((offer(Format.BUNDLE, {"EUR": 100}), 1), **changes)
    assert caught.value.code == code


def test_a_plan_survives_being_stored() -> None:
    made = plan((offer(Format.BUNDLE, {"EUR": 19600}), 2))
    assert Plan.from_document(made.document()) == made


@given(gross=st.integers(0, 10**12), basis_points=st.integers(0, 3000))
def test_tax_is_the_exact_fraction_rounded_half_up(gross: int, basis_points: int) -> None:
    assert tax_included(gross, basis_points) == round_half_up(
        Fraction(gross * basis_points, 10_000 + basis_points)
    )


@given(
    items=st.lists(
        st.tuples(
            st.sampled_from(list(Format)), st.integers(0, 10**7), st.integers(1, 9), st.integers(1, 99)
        ),
        min_size=1,
        max_size=6,
    ),
    shipping=st.integers(0, 5000),
)
def test_parts_always_sum_to_the_whole(items: list[tuple[Format, int, int, int]], shipping: int) -> None:
    made = plan(
        *[
            (offer(format, {"EUR": price}, weights=(share, 100 - share)), count)
            for format, price, count, share in items
        ],
        merchant=merchant(shipping={"EUR": shipping}),
    )
    goods = sum(price * count for _, price, count, _ in items)
    assert made.total_minor == goods + made.shipping_minor == sum(leg.amount_minor for leg in made.legs)
    assert made.tax_minor == sum(leg.tax_minor for leg in made.legs)
    assert all(0 <= leg.tax_minor <= leg.amount_minor for leg in made.legs)
