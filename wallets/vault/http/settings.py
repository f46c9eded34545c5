"""Configuration of a vault process: one typed object, read once at start from ``VITRINE_VAULT_*``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from wallets.vault.opening import KeyPlace

_PREFIX = "VITRINE_VAULT_"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class VaultSettingsError(ValueError):
    """A setting that is missing, cannot be read, or is not safe with the others; names it."""


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """Settings of a vault process, each given as ``VITRINE_VAULT_<NAME>`` or on the command line."""

    data_dir: Path = Path("var/vault")
    """Where the vault's database and its simulated acquirer are kept."""
    keys_dir: Path | None = None
    """Where the key files are; None: ``keys`` under ``data_dir``. Keep them on another medium."""
    kms_region: str = ""
    """Set: the keys are in the key service (AWS KMS or one of its shape) of this region."""
    kms_endpoint: str = ""
    """Of another key service of that shape; empty: AWS itself."""
    kms_keys: str = ""
    """Key ARNs for records, fingerprints and the audit trail of a new vault, separated by commas."""
    production: bool = False
    """On: key files and the simulated acquirer are refused."""
    database_url: str = field(default="", repr=False)
    """Empty: SQLite under ``data_dir``. ``postgresql://...`` for a server of the vault's own."""
    host: str = "127.0.0.1"
    port: int = 8070
    public_url: str = ""
    """Where browsers reach the pages; empty: the address it listens on."""
    tls_certificate: Path | None = None
    """PEM file with the certificate chain; without it the vault listens on loopback only."""
    tls_key: Path | None = None
    provider_deadline_ms: int = 10_000
    acquirer_slow_ms: int = 2_000
    """How long the slow card of the simulated acquirer takes."""
    acquirer_url: str = ""
    """Of a simulated acquirer that is a process of its own; empty: it is inside this one."""
    acquirer_key: str = field(default="", repr=False)
    acquirer_key_file: Path | None = None
    stripe_url: str = ""
    """Of a service of Stripe's shape; empty: Stripe itself."""
    stripe_key: str = field(default="", repr=False)
    """Set: cards are charged there, and only there."""
    stripe_key_file: Path | None = None
    webhook_key: str = field(default="", repr=False)
    """What the provider signs its webhooks with; without it none are taken."""
    webhook_key_file: Path | None = None

    @property
    def base_url(self) -> str:
        scheme = "http" if self.tls_certificate is None else "https"
        return self.public_url.rstrip("/") or f"{scheme}://{self.host}:{self.port}"

    @property
    def key_place(self) -> KeyPlace:
        """Where the keys are."""
        records, fingerprints, trail = self.kms_keys.split(",") if self.kms_keys else ("", "", "")
        return KeyPlace(
            self.keys_dir or self.data_dir / "keys",
            self.kms_region,
            self.kms_endpoint,
            (records.strip(), fingerprints.strip(), trail.strip()) if self.kms_keys else None,
            self.production,
            announces_anchors=True,
        )

    def check(self) -> None:
        """Raise VaultSettingsError for what cannot be, or would send credentials in the clear."""
        if self.kms_keys and self.kms_keys.count(",") != 2:
            raise VaultSettingsError(f"{_PREFIX}KMS_KEYS names three keys, separated by commas")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise VaultSettingsError(f"{_PREFIX}TLS_CERTIFICATE and {_PREFIX}TLS_KEY go together")
        for name in ("acquirer_url", "stripe_url"):
            parts = urlsplit(getattr(self, name))
            if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
                raise VaultSettingsError(
                    f"{_PREFIX}{name.upper()} is another machine's: cards go there over https only"
                )
        if self.tls_certificate is None and self.host not in _LOOPBACK:
            raise VaultSettingsError(
                f"{_PREFIX}HOST is {self.host}: beyond this machine the vault needs {_PREFIX}TLS_CERTIFICATE"
            )

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None, **given: Any) -> VaultSettings:
        """Read the environment, then what was given by name. Raises VaultSettingsError."""
        found: dict[str, Any] = {}
        source = os.environ if environment is None else environment
        for setting in fields(cls):
            text = source.get(_PREFIX + setting.name.upper())
            if text is not None:
                found[setting.name] = _parse(setting.name, str(setting.type), text)
        settings = replace(cls(**found), **given)
        settings.check()
        return settings


def _parse(name: str, type_name: str, text: str) -> Any:
    if type_name == "int":
        try:
            return int(text)
        except ValueError:
            raise VaultSettingsError(
                f"{_PREFIX}{name.upper()} is not a whole number: {text[:40]!r}"
            ) from None
    if type_name == "bool":
        return text.strip().lower() not in ("", "0", "false", "off")
    return Path(text) if type_name.startswith("Path") else text
