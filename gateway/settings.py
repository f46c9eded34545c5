"""Configuration: one typed object, read once at start from the environment and the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from fulfillment.model import HoldLimits
from gateway.sessions.core import SessionLimits

_PREFIX = "VITRINE_"


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
    mint: bool = True
    """Off: digital tokens are not sold and no chain library is loaded."""
    chain_url: str = ""
    """Empty: the embedded chain. Otherwise a JSON-RPC endpoint."""
    confirmations: int = 0
    mint_window_ms: int = 250
    dispatch_after_ms: int = 2_000
    """How long the embedded order backend takes to dispatch."""
    deliver_after_ms: int = 5_000
    quote_valid_ms: int = 10 * 60_000
    pay_within_ms: int = 15 * 60_000
    most_unpaid: int = 10
    """Orders of one customer that may wait for their payment at a time; 0: any number."""
    acquirer_deadline_ms: int = 10_000
    acquirer_slow_ms: int = 2_000
    workers: bool = True
    """Off: orders are accepted, tasks wait (a web node, or a benchmark of the acknowledgement)."""
    limits: SessionLimits = field(default_factory=SessionLimits)
    holds: HoldLimits = field(default_factory=HoldLimits)

    @property
    def base_url(self) -> str:
        return self.public_url or f"http://{self.host}:{self.port}"

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None, **given: Any) -> Settings:
        """Read the environment, then what was given by name. Raises SettingsError naming the setting."""
        found: dict[str, Any] = {}
        source = os.environ if environment is None else environment
        for setting in fields(cls):
            text = source.get(_PREFIX + setting.name.upper())
            if text is not None:
                found[setting.name] = _parse(setting.name, str(setting.type), text)
        return replace(cls(**found), **given)


def _parse(name: str, type_name: str, text: str) -> Any:
    try:
        match type_name:
            case "bool":
                return {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}[
                    text.lower()
                ]
            case "int":
                return int(text)
            case "Path":
                return Path(text)
            case "str":
                return text
    except (KeyError, ValueError) as error:
        wanted = {"bool": "neither on nor off", "int": "not a whole number"}.get(type_name, "not usable")
        raise SettingsError(f"{_PREFIX}{name.upper()} is {wanted}: {text[:40]!r}") from error
    raise SettingsError(f"{_PREFIX}{name.upper()} cannot be given in the environment")
