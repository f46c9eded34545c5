"""Configuration: one typed object, read once at start from the environment and the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fulfillment.model import HoldLimits
from gateway.orders.reauthorizing import RenewalRules
from gateway.payments.exemption_history import ExemptionRules
from gateway.sessions.core import SessionLimits
from wallets.vault.port import Exemption

_PREFIX = "VITRINE_"
_LOOPBACK = {("http", "localhost"), ("http", "127.0.0.1"), ("http", "::1")}
_TEN_YEARS_H = 10 * 365 * 24
_TEN_YEARS_MS = _TEN_YEARS_H * 3_600_000
_BOUNDS = {
    "port": (0, 65_535),
    "confirmations": (0, 1_000_000),
    "mint_window_ms": (0, 3_600_000),
    # As a merchant's file may say (`gateway.catalog.declarations`).
    "mint_gas_per_day": (0, (1 << 53) - 1),
    "dispatch_after_ms": (0, _TEN_YEARS_MS),
    "deliver_after_ms": (0, _TEN_YEARS_MS),
    "quote_valid_ms": (1, _TEN_YEARS_MS),
    "pay_within_ms": (1, _TEN_YEARS_MS),
    "guardian_within_ms": (1, _TEN_YEARS_MS),
    "choose_wallet_hours": (1, _TEN_YEARS_H),
    "most_unpaid": (0, (1 << 53) - 1),
    "acquirer_deadline_ms": (1, _TEN_YEARS_MS),
    "acquirer_slow_ms": (0, _TEN_YEARS_MS),
    "vault_deadline_ms": (1, _TEN_YEARS_MS),
    "fraud_rate_ppm": (-1, 1_000_000),
    "renew_margin_hours": (0, _TEN_YEARS_H),
    "renew_hold_hours": (1, _TEN_YEARS_H),
}
"""The least and the most of every number."""


class SettingsError(ValueError):
    """A setting that is missing or cannot be read; names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a gateway. Each simple one can be given as ``VITRINE_<NAME>`` in the environment."""

    data_dir: Path = Path("var")
    """Where databases, keys, models and the embedded chain are kept."""
    database_url: str = ""
    """Empty: SQLite under ``data_dir``. ``postgresql://...`` for a server."""
    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str = ""
    """Where browsers reach hosted pages; empty: the address it listens on."""
    trusted_proxies: str = ""
    """Addresses or networks, separated by commas, of the proxies whose ``X-Forwarded-For`` is believed.
    Empty: nobody's, and the limit on wrong codes counts the connection's address."""
    mint: bool = True
    """Off: digital tokens are not sold and no chain library is loaded."""
    chain_url: str = field(default="", repr=False)
    """Empty: the embedded chain. Otherwise JSON-RPC endpoints of one chain, the preferred first, separated by
    commas. They often hold an access key."""
    confirmations: int = 0
    mint_window_ms: int = 250
    mint_gas_per_day: int = 0
    """Gas that the mints of one merchant may use in a day of UTC, unless its file gives another; 0: any."""
    dispatch_after_ms: int = 2_000
    """How long the embedded order backend takes to dispatch."""
    deliver_after_ms: int = 5_000
    quote_valid_ms: int = 10 * 60_000
    pay_within_ms: int = 15 * 60_000
    guardian_within_ms: int = 24 * 3_600_000
    """How long a guardian has to approve a purchase above what a customer may spend alone."""
    choose_wallet_hours: int = 14 * 24
    """How long a customer has to choose another wallet for a token that theirs refused."""
    most_unpaid: int = 10
    """Orders of one customer that may wait for their payment at a time; 0: any number."""
    acquirer_deadline_ms: int = 10_000
    acquirer_slow_ms: int = 2_000
    vault_url: str = ""
    """Empty: the vault is inside this process and takes test cards only. Otherwise the address of
    ``vitrine vault serve``; https, or http to this machine."""
    vault_credential: str = field(default="", repr=False)
    """What this gateway shows the vault; of role ``gateway``."""
    vault_credential_file: Path | None = None
    """A file with the credential, in place of the environment."""
    vault_authority: Path | None = None
    """PEM file of the authority that signed the vault's certificate, where the system does not know it."""
    vault_deadline_ms: int = 15_000
    """Longer than the vault's own deadline for its provider, shorter than a task's lease."""
    delegated_authentication: bool = False
    """On: customers approve payments with passkeys of ours. Only where the issuer or scheme has agreed to
    accept that (delegated authentication); needs a ``public_url`` with a domain and https, or localhost."""
    passkey_origins: str = ""
    """Further origins of passkey ceremonies, separated by commas: those of native applications."""
    sca_exemptions: str = ""
    """Exemptions from strong customer authentication to ask for, separated by commas: ``low_value``."""
    fraud_rate_ppm: int = -1
    """The acquirer's, for ``transaction_risk``: parts per million of card payments' value; -1: unknown."""
    private_webhooks: bool = False
    """On: webhooks of worlds may go to this machine and private networks, also over http. For development."""
    renew_margin_hours: int = 24
    """How long before its end an authorization is replaced by another one."""
    renew_hold_hours: int = 72
    """How long an order whose authorization was lost waits for another payment method."""
    workers: bool = True
    """Off: orders are accepted, tasks wait (a web node, or a benchmark of the acknowledgement)."""
    limits: SessionLimits = field(default_factory=SessionLimits)
    holds: HoldLimits = field(default_factory=HoldLimits)

    @property
    def base_url(self) -> str:
        return self.public_url or f"http://{self.host}:{self.port}"

    @property
    def renewal(self) -> RenewalRules:
        """When authorizations are renewed, and how long an order waits where that fails."""
        return RenewalRules(
            margin_ms=self.renew_margin_hours * 3_600_000, hold_ms=self.renew_hold_hours * 3_600_000
        )

    def vault_secret(self) -> str:
        """Return the credential. Raises SettingsError if it is missing or would be overheard."""
        host = urlsplit(self.vault_url)
        if host.scheme != "https" and (host.scheme, host.hostname) not in _LOOPBACK:
            raise SettingsError(
                f"{_PREFIX}VAULT_URL must be https, or http to this machine: {self.vault_url!r}"
            )
        if self.vault_credential_file is not None:
            try:
                return self.vault_credential_file.read_text().strip()
            except OSError as error:
                raise SettingsError(
                    f"{_PREFIX}VAULT_CREDENTIAL_FILE cannot be read: {error.strerror}"
                ) from None
        if not self.vault_credential:
            raise SettingsError(f"{_PREFIX}VAULT_CREDENTIAL or {_PREFIX}VAULT_CREDENTIAL_FILE is missing")
        return self.vault_credential

    @property
    def chain_urls(self) -> tuple[str, ...]:
        """The chain's endpoints. Raises SettingsError for one that is no http address, or named twice."""
        found = tuple(filter(None, (one.strip() for one in self.chain_url.split(","))))
        for place, address in enumerate(found, 1):
            if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
                raise SettingsError(f"{_PREFIX}CHAIN_URL: endpoint {place} is not an http address")
            if address in found[: place - 1]:
                # It would agree with itself.
                raise SettingsError(f"{_PREFIX}CHAIN_URL: endpoint {place} is named twice")
        return found

    @property
    def passkey_origin_list(self) -> tuple[str, ...]:
        return tuple(filter(None, (one.strip() for one in self.passkey_origins.split(","))))

    @property
    def exemption_rules(self) -> ExemptionRules | None:
        """What may be asked for, or None: nothing. Raises SettingsError for an unknown name."""
        names = [one.strip() for one in self.sca_exemptions.split(",") if one.strip()]
        try:
            wanted = frozenset(Exemption(name) for name in names)
        except ValueError as error:
            raise SettingsError(f"{_PREFIX}SCA_EXEMPTIONS names no exemption: {error}") from error
        fraud_rate = None if self.fraud_rate_ppm < 0 else self.fraud_rate_ppm
        return ExemptionRules(wanted, fraud_rate) if wanted else None

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None, **given: Any) -> Settings:
        """Read the environment, then what was given by name. Raises SettingsError naming the setting."""
        found: dict[str, Any] = {}
        source = os.environ if environment is None else environment
        for setting in fields(cls):
            text = source.get(_PREFIX + setting.name.upper())
            if text is not None:
                found[setting.name] = _parse(setting.name, str(setting.type), text)
        settings = replace(cls(**found), **given)
        settings._check()
        return settings

    def _check(self) -> None:
        """Raise SettingsError for what would fail later, where nobody looks for a setting."""
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise SettingsError(f"{_PREFIX}{name.upper()} must be from {least} to {most}: {value}")
        _ = self.chain_urls, self.exemption_rules


def _parse(name: str, type_name: str, text: str) -> Any:
    try:
        match type_name:
            case "bool":
                return {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}[
                    text.lower()
                ]
            case "int":
                return int(text)
            case "Path" | "Path | None":
                return Path(text)
            case "str":
                return text
    except (KeyError, ValueError) as error:
        wanted = {"bool": "neither on nor off", "int": "not a whole number"}.get(type_name, "not usable")
        raise SettingsError(f"{_PREFIX}{name.upper()} is {wanted}: {text[:40]!r}") from error
    raise SettingsError(f"{_PREFIX}{name.upper()} cannot be given in the environment")
