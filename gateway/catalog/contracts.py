"""Rules of merchants' own contracts, as `gateway.catalog.checks` applies them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.catalog.files import SourceDocument
from gateway.catalog.model import Delivery, EditionKind
from gateway.catalog.problems import FieldPath, Problem
from gateway.catalog.walking import at, entries, repeated
from wallets.minting.own_calls import CallDescription, Standard, call_problems

_CONTRACTS: FieldPath = ("merchant", "minting", "contracts")
_MOST_ID = (1 << 256) - 1_000_000_001
"""Largest first id: the numbers of an edition's copies fit behind it."""


def declared_contracts(document: Any) -> dict[str, CallDescription | None]:
    """Return the contracts of ``merchant.yaml`` by name; None for one whose description is wrong."""
    return {
        name: _description(entry)
        for _, entry in entries(document, _CONTRACTS)
        if isinstance(entry, dict) and isinstance(name := entry.get("name"), str)
    }


def contract_problems(source: SourceDocument) -> list[Problem]:
    """Check the contracts of ``merchant.yaml``: names that differ, addresses, calls and their arguments."""
    found = entries(source.document, _CONTRACTS)
    problems = repeated(
        source, [((*path, "name"), at(source.document, (*path, "name"))) for path, _ in found]
    )
    for path, entry in found:
        parts = _parts(entry)
        if parts is None:
            continue
        standard, call, arguments, data, address = parts
        for wrong in call_problems(standard, call, arguments, data, address=address):
            here = (*path, wrong.field) if wrong.argument is None else (*path, wrong.field, wrong.argument)
            problems.append(source.problem(here, wrong.message))
    return problems


def own_token_problems(
    source: SourceDocument, path: FieldPath, contracts: Mapping[str, CallDescription | None]
) -> Iterator[Problem]:
    """Check what a digital part says about the merchant's own contract."""
    part = at(source.document, path)
    if not isinstance(part, dict):
        return
    name, token_id = part.get("contract"), part.get("token_id")
    if name is None:
        if token_id is not None:
            yield source.problem((*path, "token_id"), "is for a token on a contract of your own; name it too")
        return
    here = (*path, "contract")
    if part.get("delivery") != Delivery.TOKEN:
        yield source.problem(here, "is for what is delivered as a token")
    if part.get("royalty_bps"):
        yield source.problem((*path, "royalty_bps"), "is said by your contract, not by this installation")
    if not isinstance(name, str):
        return
    if name not in contracts:
        yield source.problem(here, f"{name[:40]} is none of the merchant's contracts")
        return
    call = contracts[name]
    if call is None:
        return
    numbered = at(part, ("edition", "kind")) == EditionKind.NUMBERED
    if call.names_serial and not numbered:
        yield source.problem(here, "its call takes a serial, so the edition has to be numbered")
    if call.standard is Standard.ERC721 and call.names_id and not numbered:
        yield source.problem(here, "gives each id once, so the edition has to be numbered")
    if token_id is not None and not call.names_id:
        yield source.problem((*path, "token_id"), "is chosen by the contract: its call takes no id")
    if isinstance(token_id, str | int) and str(token_id).isdecimal() and int(token_id) > _MOST_ID:
        yield source.problem((*path, "token_id"), "is too large for an id")


def _description(entry: Mapping[str, Any]) -> CallDescription | None:
    parts = _parts(entry)
    if parts is None or any(call_problems(*parts[:4], address=parts[4])):
        return None
    standard, call, arguments, data, _ = parts
    return CallDescription(standard, call, tuple(arguments), bytes.fromhex(data[2:]))


def _parts(entry: Any) -> tuple[Standard, str, list[Any], str, str] | None:
    """Return what describes a call, or None where its shape is wrong: that is reported elsewhere."""
    if not isinstance(entry, dict):
        return None
    standard, call, arguments = entry.get("standard"), entry.get("call"), entry.get("arguments")
    data, address = entry.get("data", "0x"), entry.get("address")
    texts = (standard, call, data, address)
    if not all(isinstance(text, str) for text in texts) or not isinstance(arguments, list):
        return None
    if standard not in set(Standard) or not all(isinstance(one, str | int) for one in arguments):
        return None
    return Standard(standard), str(call), arguments, str(data), str(address)
