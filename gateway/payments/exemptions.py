"""Which exemption from strong customer authentication is asked for: rules over dated data, no I/O.

The regime follows the customer's country; its limits are in ``data/sca_regimes.yaml``. An exemption is a
request to the issuer: a soft decline of it is answered with exactly one challenge (`step_up`), and whoever
asks usually bears the liability (`authentication_model.Liability`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

from gateway.kernel.clock import utc_datetime
from gateway.kernel.money import Money
from wallets.vault.port import Exemption, Initiation


class OutOfScope(StrEnum):
    """Why strong customer authentication is not asked for at all. Nothing is exempted then."""

    MOTO = "moto"
    MERCHANT_INITIATED = "merchant_initiated"
    ONE_LEG_OUT = "one_leg_out"
    ANONYMOUS = "anonymous"


class Entry(StrEnum):
    """How the payment is entered, as far as the regulation tells apart."""

    REMOTE = "remote"
    CONTACTLESS = "contactless"
    UNATTENDED = "unattended"


ENTRY_OF_CHANNEL: dict[str, Entry] = {
    "pos": Entry.CONTACTLESS,
    "delivery": Entry.CONTACTLESS,
    "unattended": Entry.UNATTENDED,
}
"""Channels at which a card may be present; every other one is remote."""


@dataclass(frozen=True, slots=True)
class Tier:
    """Transaction risk analysis up to an amount needs a fraud rate below a reference (Art. 18, annex)."""

    most_minor: int
    fraud_rate_ppm: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One version of an exemption."""

    valid_from: date
    article: str
    most_minor: int | None = None
    cumulative_minor: int | None = None
    in_a_row: int | None = None
    purposes: frozenset[str] = frozenset()
    tiers: tuple[Tier, ...] = ()
    available: bool = True


@dataclass(frozen=True, slots=True)
class Regime:
    """The law of a group of countries."""

    name: str
    currency: str
    countries: frozenset[str]
    source: str
    out_of_scope: Mapping[OutOfScope, str]
    versions: Mapping[Exemption, tuple[Rule, ...]]
    """Oldest first."""

    def rule(self, exemption: Exemption, at: date) -> Rule | None:
        """Return the version in force on a day, or None."""
        in_force = [rule for rule in self.versions.get(exemption, ()) if rule.valid_from <= at]
        return in_force[-1] if in_force and in_force[-1].available else None


@dataclass(frozen=True, slots=True)
class History:
    """What the method has paid without authentication since the last one. Only executed payments count
    (EBA Q&A 2018_4230), and only in the regime's currency."""

    amount_minor: int = 0
    payments: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """A payment as the choice of an exemption sees it."""

    amount: Money
    channel: str
    at_ms: int
    initiation: Initiation = Initiation.CUSTOMER
    history: History = History()
    issuer_country: str | None = None
    """Where the card was issued, if known."""
    anonymous: bool = False
    """An anonymous prepaid instrument."""
    trusted_payee: bool = False
    """The customer has put the merchant on their bank's list; created with authentication."""
    recurring: bool = False
    """Same amount and payee as a series whose first payment was authenticated."""
    corporate: bool = False
    """A dedicated corporate process that is not open to consumers."""
    purpose: str | None = None
    """``transport`` or ``parking`` at an unattended terminal."""
    fraud_rate_ppm: int | None = None
    """Of the PSP that asks for transaction risk analysis. None: it may not."""
    low_risk: bool = True
    """No sign of fraud in this payment; required for transaction risk analysis (Art. 18(2)(c))."""
    offered: Collection[Exemption] = field(default_factory=lambda: frozenset(Exemption))
    """What the provider can pass on and the operator wants to use."""


def out_of_scope(regime: Regime, asked: Asked) -> OutOfScope | None:
    """Return why no authentication is required, or None where the regime requires it."""
    if asked.initiation is Initiation.MOTO:
        return OutOfScope.MOTO
    if asked.initiation is Initiation.MERCHANT:
        return OutOfScope.MERCHANT_INITIATED
    if asked.anonymous:
        return OutOfScope.ANONYMOUS
    if asked.issuer_country is not None and asked.issuer_country not in regime.countries:
        return OutOfScope.ONE_LEG_OUT
    return None


_BY_PREFERENCE = (
    # First what does not depend on figures; transaction risk before low value, whose count it spares.
    Exemption.CORPORATE,
    Exemption.RECURRING,
    Exemption.TRUSTED_PAYEE,
    Exemption.UNATTENDED,
    Exemption.CONTACTLESS,
    Exemption.TRANSACTION_RISK,
    Exemption.LOW_VALUE,
)


def choose_exemption(regime: Regime | None, asked: Asked) -> Exemption | None:
    """Return the exemption to ask for, or None: nothing fits, nothing is regulated, or it is out of scope.

    Limits are in the regime's currency; a payment in another one is not converted, and only exemptions
    without a limit fit it.
    """
    if regime is None or out_of_scope(regime, asked) is not None:
        return None
    at = utc_datetime(asked.at_ms).date()
    for exemption in _BY_PREFERENCE:
        rule = regime.rule(exemption, at) if exemption in asked.offered else None
        if rule is not None and _fits(exemption, rule, regime, asked):
            return exemption
    return None


def _fits(exemption: Exemption, rule: Rule, regime: Regime, asked: Asked) -> bool:
    entry = ENTRY_OF_CHANNEL.get(asked.channel, Entry.REMOTE)
    match exemption:
        case Exemption.LOW_VALUE:
            return entry is Entry.REMOTE and _within(rule, regime, asked)
        case Exemption.CONTACTLESS:
            return entry is Entry.CONTACTLESS and _within(rule, regime, asked)
        case Exemption.UNATTENDED:
            return entry is Entry.UNATTENDED and asked.purpose in rule.purposes
        case Exemption.TRUSTED_PAYEE:
            return asked.trusted_payee
        case Exemption.RECURRING:
            return asked.recurring
        case Exemption.CORPORATE:
            return asked.corporate
        case Exemption.TRANSACTION_RISK:
            return entry is Entry.REMOTE and _risk_allows(rule, regime, asked)


def _within(rule: Rule, regime: Regime, asked: Asked) -> bool:
    """Whether the payment fits the single limit and at least one of the two running ones.

    The articles speak of earlier payments; counting the present one too is the stricter reading.
    """
    if rule.most_minor is None:
        return True
    if asked.amount.currency != regime.currency or asked.amount.amount_minor > rule.most_minor:
        return False
    amount = asked.history.amount_minor + asked.amount.amount_minor
    by_amount = rule.cumulative_minor is not None and amount <= rule.cumulative_minor
    by_count = rule.in_a_row is not None and asked.history.payments + 1 <= rule.in_a_row
    return by_amount or by_count


def _risk_allows(rule: Rule, regime: Regime, asked: Asked) -> bool:
    if asked.fraud_rate_ppm is None or not asked.low_risk or asked.amount.currency != regime.currency:
        return False
    return any(
        asked.amount.amount_minor <= tier.most_minor and asked.fraud_rate_ppm <= tier.fraud_rate_ppm
        for tier in rule.tiers
    )


# --- The data ---------------------------------------------------------------------------------------


@cache
def regimes() -> Mapping[str, Regime]:
    """Return every regime by its name, read once."""
    from ruamel.yaml import YAML

    text = resources.files("gateway.payments.data").joinpath("sca_regimes.yaml").read_text("utf-8")
    return {name: _regime(name, given) for name, given in YAML(typ="safe", pure=True).load(text).items()}


@cache
def regime_of(country: str) -> Regime | None:
    """Return the regime of a country (ISO 3166-1 alpha-2), or None where no law asks for authentication."""
    return next((regime for regime in regimes().values() if country in regime.countries), None)


def _regime(name: str, given: Mapping[str, Any]) -> Regime:
    versions = {
        Exemption(exemption): tuple(sorted(map(_rule, rules), key=lambda rule: rule.valid_from))
        for exemption, rules in given["exemptions"].items()
    }
    return Regime(
        name,
        given["currency"],
        frozenset(given["countries"]),
        given["source"],
        {OutOfScope(why): source for why, source in given["out_of_scope"].items()},
        versions,
    )


def _rule(given: Mapping[str, Any]) -> Rule:
    values = dict(given)
    values["purposes"] = frozenset(values.get("purposes", ()))
    values["tiers"] = tuple(Tier(**tier) for tier in values.get("tiers", ()))
    return Rule(**values)
