"""Reading the dated data of networks: what codes mean, and how often may be tried.

The files are part of the program. A mistake in one is found when the program starts, by the name of the
file and the entry.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from importlib import resources
from typing import Any

from wallets.vault.port import DeclineClass

ANY = "any"
"""The network whose entries count where a network has none of its own."""
_HOUR_MS = 3_600_000


class DeclineDataError(Exception):
    """An entry of a data file is wrong; the text names it."""


class Blocks(StrEnum):
    """What must not be tried again after a decline."""

    NONE = "none"
    ORDER = "order"
    """The same order with the same card."""
    MERCHANT_INITIATED = "merchant_initiated"
    """Requests of the same merchant without the customer."""
    MERCHANT = "merchant"
    """Requests of the same merchant with the same initiation."""
    CARD = "card"
    """Any request with the card."""


@dataclass(frozen=True, slots=True)
class Source:
    title: str
    stated: date
    """Since when the rule holds as it is written here, as far as the source says."""
    read: date


@dataclass(frozen=True, slots=True)
class Ruling:
    """What follows from a response code."""

    decline_class: DeclineClass
    blocks: Blocks
    counts: bool = True
    """Whether the network counts it against its caps."""
    wait_ms: int = 0
    """How long the network asks to wait before any other attempt with the card."""


@dataclass(frozen=True, slots=True)
class Cap:
    """At most so many declined attempts within a rolling time."""

    most: int
    within_ms: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One code of one network, with where it comes from."""

    network: str
    code: str
    meaning: str
    ruling: Ruling
    source: Source


@dataclass(frozen=True, slots=True)
class DeclineTable:
    unlisted: Ruling
    codes: Mapping[tuple[str, str], Entry]
    """By network and code."""
    advice: Mapping[tuple[str, str], Entry]


def load_declines() -> DeclineTable:
    """Return the table of ``data/declines.toml``."""
    return parse_declines(_text("declines.toml"))


def load_caps() -> dict[str, tuple[Cap, ...]]:
    """Return the caps of ``data/retry_caps.toml`` by network."""
    return parse_caps(_text("retry_caps.toml"))


def parse_declines(text: str) -> DeclineTable:
    """Raises DeclineDataError, which names the entry."""
    document = _document("declines.toml", text, {"unlisted", "sources", "code", "advice"})
    sources = _sources("declines.toml", document)
    unlisted = _ruling("declines.toml: unlisted", document.get("unlisted", {}))
    return DeclineTable(
        unlisted,
        _entries("code", document.get("code", ()), sources),
        _entries("advice", document.get("advice", ()), sources),
    )


def parse_caps(text: str) -> dict[str, tuple[Cap, ...]]:
    """Raises DeclineDataError, which names the entry."""
    document = _document("retry_caps.toml", text, {"sources", "cap"})
    sources = _sources("retry_caps.toml", document)
    caps: dict[str, tuple[Cap, ...]] = {}
    for number, entry in enumerate(document.get("cap", ()), 1):
        where = f"retry_caps.toml: cap {number}"
        _check_keys(where, entry, {"network", "most", "within_hours", "source"}, {"newer", "use"})
        _source(where, entry["source"], sources)
        most = _positive(where, "most", entry["most"])
        newer = entry.get("newer")
        if newer is not None:
            _check_keys(f"{where}: newer", newer, {"most", "source"})
            _source(f"{where}: newer", newer["source"], sources)
            _positive(f"{where}: newer", "most", newer["most"])
        match entry.get("use", "stated"):
            case "stated":
                pass
            case "newer" if newer is not None:
                most = newer["most"]
            case other:
                raise DeclineDataError(f"{where}: use is {other!r}, which names no value of this cap")
        cap = Cap(most, _positive(where, "within_hours", entry["within_hours"]) * _HOUR_MS)
        caps[entry["network"]] = (*caps.get(entry["network"], ()), cap)
    if ANY not in caps:
        raise DeclineDataError(f"retry_caps.toml: no cap for the network {ANY!r}")
    return caps


def _text(name: str) -> str:
    return resources.files("wallets.vault.data").joinpath(name).read_text(encoding="utf-8")


def _document(name: str, text: str, known: set[str]) -> dict[str, Any]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DeclineDataError(f"{name}: {error}") from error
    unknown = set(document) - known
    if unknown:
        raise DeclineDataError(f"{name}: unknown {', '.join(sorted(unknown))}")
    return document


def _sources(name: str, document: Mapping[str, Any]) -> dict[str, Source]:
    sources = {}
    for key, entry in document.get("sources", {}).items():
        where = f"{name}: source {key}"
        _check_keys(where, entry, {"title", "stated", "read"})
        if not entry["title"] or type(entry["stated"]) is not date or type(entry["read"]) is not date:
            raise DeclineDataError(f"{where}: needs a title and the dates stated and read")
        sources[key] = Source(entry["title"], entry["stated"], entry["read"])
    return sources


def _entries(
    kind: str, groups: Iterable[Mapping[str, Any]], sources: Mapping[str, Source]
) -> dict[tuple[str, str], Entry]:
    entries: dict[tuple[str, str], Entry] = {}
    for number, group in enumerate(groups, 1):
        where = f"declines.toml: {kind} {number}"
        _check_keys(where, group, {"network", "codes", "source", "class", "blocks"}, {"counts", "wait_hours"})
        rules = {name: value for name, value in group.items() if name not in ("network", "codes", "source")}
        ruling = _ruling(where, rules)
        source = _source(where, group["source"], sources)
        if not group["codes"]:
            raise DeclineDataError(f"{where}: no codes")
        for code, meaning in group["codes"].items():
            key = (group["network"], code)
            if key in entries:
                raise DeclineDataError(f"{where}: {key[0]} {code} is listed twice")
            if not meaning:
                raise DeclineDataError(f"{where}: {key[0]} {code} says not what it means")
            entries[key] = Entry(*key, meaning, ruling, source)
    return entries


def _ruling(where: str, rules: Mapping[str, Any]) -> Ruling:
    _check_keys(where, rules, {"class", "blocks"}, {"counts", "wait_hours"})
    try:
        decline_class, blocks = DeclineClass(rules["class"]), Blocks(rules["blocks"])
    except ValueError as error:
        raise DeclineDataError(f"{where}: {error}") from error
    counts, wait_hours = rules.get("counts", True), rules.get("wait_hours", 0)
    if type(counts) is not bool:
        raise DeclineDataError(f"{where}: counts is true or false")
    if "wait_hours" in rules:
        _positive(where, "wait_hours", wait_hours)
    return Ruling(decline_class, blocks, counts, wait_hours * _HOUR_MS)


def _source(where: str, key: str, sources: Mapping[str, Source]) -> Source:
    if key not in sources:
        raise DeclineDataError(f"{where}: source {key!r} is not listed")
    return sources[key]


def _positive(where: str, name: str, value: object) -> int:
    if type(value) is not int or value < 1:
        raise DeclineDataError(f"{where}: {name} must be a whole number above 0")
    return value


def _check_keys(
    where: str, entry: Mapping[str, Any], required: set[str], optional: set[str] | None = None
) -> None:
    missing, unknown = required - set(entry), set(entry) - required - (optional or set())
    if missing:
        raise DeclineDataError(f"{where}: without {', '.join(sorted(missing))}")
    if unknown:
        raise DeclineDataError(f"{where}: unknown {', '.join(sorted(unknown))}")
