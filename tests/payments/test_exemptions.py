"""Exemptions as data per regime (P15)."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from gateway.kernel.money import Money
from gateway.payments.exemptions import (
    Asked,
    History,
    OutOfScope,
    choose_exemption,
    out_of_scope,
    regime_of,
    regimes,
)
from wallets.vault.port import Exemption, Initiation

NOW = int(datetime(2026, 11, 22, tzinfo=UTC).timestamp() * 1000)
EU, GB = regimes()["EU"], regimes()["GB"]


def asked(amount_minor: int, currency: str = "EUR", channel: str = "metaverse", **given: Any) -> Asked:
    return Asked(Money(amount_minor, currency), channel, given.pop("at_ms", NOW), **given)


def chosen(amount_minor: int, **given: Any) -> Exemption | None:
    return choose_exemption(EU, asked(amount_minor, **given))


def test_the_regime_follows_the_country() -> None:
    assert regime_of("DE") is EU and regime_of("NO") is EU and regime_of("IS") is EU
    assert regime_of("GB") is GB
    assert regime_of("US") is None and regime_of("CH") is None
    assert choose_exemption(None, asked(100)) is None


def test_every_exemption_of_every_regime_has_a_dated_rule_with_its_article() -> None:
    for regime in regimes().values():
        assert set(regime.versions) == set(Exemption)
        assert set(regime.out_of_scope) == set(OutOfScope)
        for rules in regime.versions.values():
            assert rules and all(rule.article for rule in rules)
            assert [rule.valid_from for rule in rules] == sorted({rule.valid_from for rule in rules})


def test_p15_low_value_up_to_30_euro_each() -> None:
    assert chosen(3000) is Exemption.LOW_VALUE
    assert chosen(3001) is None
    # No conversion: a limit in euro says nothing about dollars.
    assert chosen(100, currency="USD") is None


def test_p15_low_value_until_100_euro_or_five_in_a_row_whichever_the_issuer_picked() -> None:
    assert chosen(3000, history=History(7000, 4)) is Exemption.LOW_VALUE
    # Over one of the two is still worth asking: the issuer counts one of them (EBA 2018_4225).
    assert chosen(3000, history=History(9000, 4)) is Exemption.LOW_VALUE
    assert chosen(1000, history=History(5000, 9)) is Exemption.LOW_VALUE
    assert chosen(3000, history=History(9000, 5)) is None


def test_p15_contactless_up_to_50_euro_and_150_or_five() -> None:
    assert chosen(5000, channel="pos") is Exemption.CONTACTLESS
    assert chosen(5001, channel="pos") is None
    assert chosen(5000, channel="pos", history=History(10_000, 5)) is Exemption.CONTACTLESS
    assert chosen(5000, channel="pos", history=History(10_001, 5)) is None
    # A remote payment is not contactless and the other way round.
    assert chosen(4000) is None


def test_p15_unattended_terminals_for_transport_and_parking_only() -> None:
    assert chosen(9000, channel="unattended", purpose="parking") is Exemption.UNATTENDED
    assert chosen(9000, channel="unattended", purpose="transport") is Exemption.UNATTENDED
    assert chosen(900, channel="unattended") is None
    assert chosen(900, channel="unattended", purpose="snacks") is None


@pytest.mark.parametrize(
    ("amount_minor", "fraud_rate_ppm", "fits"),
    [
        (10_000, 1_300, True),
        (10_000, 1_301, False),
        (10_001, 1_300, False),
        (25_000, 600, True),
        (25_000, 601, False),
        (50_000, 100, True),
        (50_000, 101, False),
        (50_001, 1, False),
        (10_000, None, False),
    ],
)
def test_p15_transaction_risk_by_amount_and_fraud_rate(
    amount_minor: int, fraud_rate_ppm: int | None, fits: bool
) -> None:
    found = chosen(amount_minor, fraud_rate_ppm=fraud_rate_ppm)
    assert found is (Exemption.TRANSACTION_RISK if fits else None)
    assert chosen(amount_minor, fraud_rate_ppm=fraud_rate_ppm, low_risk=False) is None


def test_p15_trusted_payee_recurring_and_corporate_have_no_limit() -> None:
    assert chosen(900_000, trusted_payee=True) is Exemption.TRUSTED_PAYEE
    assert chosen(900_000, recurring=True) is Exemption.RECURRING
    assert chosen(900_000, corporate=True) is Exemption.CORPORATE


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"initiation": Initiation.MOTO}, OutOfScope.MOTO),
        ({"initiation": Initiation.MERCHANT}, OutOfScope.MERCHANT_INITIATED),
        ({"issuer_country": "US"}, OutOfScope.ONE_LEG_OUT),
        ({"anonymous": True}, OutOfScope.ANONYMOUS),
    ],
)
def test_p15_what_is_out_of_scope_asks_for_no_exemption(given: dict[str, Any], why: OutOfScope) -> None:
    assert out_of_scope(EU, asked(100, **given)) is why
    assert chosen(100, **given) is None
    assert out_of_scope(EU, asked(100, issuer_country="FR")) is None


def test_only_what_is_offered_is_asked_for() -> None:
    assert chosen(100, offered=frozenset()) is None
    only = frozenset({Exemption.TRANSACTION_RISK})
    assert chosen(100, offered=only) is None
    assert chosen(100, offered=only, fraud_rate_ppm=1) is Exemption.TRANSACTION_RISK


def test_rules_change_on_their_day() -> None:
    contactless = Exemption.CONTACTLESS
    for day, most in ((date(2021, 1, 1), 4500), (date(2021, 10, 14), 4500), (date(2021, 10, 15), 10_000)):
        rule = GB.rule(contactless, day)
        assert rule is not None and rule.most_minor == most
    assert GB.rule(contactless, date(2020, 12, 31)) is None
    now = asked(50_000, currency="GBP", channel="pos")
    assert choose_exemption(GB, now) is contactless
    before = asked(50_000, currency="GBP", channel="pos", at_ms=NOW - 365 * 86_400_000)
    assert choose_exemption(GB, before) is None


def test_pounds_have_limits_of_their_own() -> None:
    assert choose_exemption(GB, asked(2500, currency="GBP")) is Exemption.LOW_VALUE
    assert choose_exemption(GB, asked(2501, currency="GBP")) is None
    assert choose_exemption(GB, asked(2500, currency="EUR")) is None
    rate = 600
    assert (
        choose_exemption(GB, asked(22_000, currency="GBP", fraud_rate_ppm=rate)) is Exemption.TRANSACTION_RISK
    )
