"""V7 and V8: the written key architecture names every requirement and every key that the vault really has."""

from __future__ import annotations

import re

import pytest

from tests.documents.tables import ROOT
from wallets.vault.audit_keeping import RETENTION_MS
from wallets.vault.card_keys import BITS, HANDED_OUT_MS
from wallets.vault.keys import KIND_OF, KeyPurpose
from wallets.vault.kms import KeyKind

DAY_MS = 86_400_000
TEXT = (ROOT / "docs" / "vault-keys.md").read_text(encoding="utf-8")
LIFE = TEXT[TEXT.index("## The life of a key") : TEXT.index("## The audit trail")]
STRENGTH = {KeyKind.KEK: "AES-256", KeyKind.MAC: "HMAC-SHA-256"}


def row_of(first: str) -> list[str]:
    """The cells of the table's row that begins with this word."""
    found = re.search(rf"^\| {re.escape(first)}[^|]*\|(.+)\|$", TEXT, re.MULTILINE)
    assert found is not None, f"no row for {first}"
    return [cell.strip() for cell in found[1].split("|")]


@pytest.mark.parametrize("number", [f"3.6.1.{part}" for part in range(1, 5)])
def test_v7_each_requirement_of_the_architecture_is_answered(number: str) -> None:
    assert re.search(rf"\([^)]*{re.escape(number)}[^)]*\)", TEXT), number


@pytest.mark.parametrize("purpose", KeyPurpose)
def test_v7_each_key_of_the_register_has_its_place_strength_and_period(purpose: KeyPurpose) -> None:
    name = {KeyPurpose.AUDIT: "audit key"}.get(purpose, f"{purpose.value} key")
    _, place, strength, changed = row_of(name)
    assert place == "key service", "never beside what it protects"
    assert STRENGTH[KIND_OF[purpose]] in strength
    assert re.search(r"every \d+ months", changed)


def test_v7_keys_that_are_made_by_themselves_are_described_as_they_are() -> None:
    _, place, strength, changed = row_of("card key pairs")
    assert place == "records under the records key"
    assert strength == f"RSA-{BITS}"
    assert f"every {HANDED_OUT_MS // DAY_MS} days" in changed
    _, place, strength, _ = row_of("data key")
    assert "wrapped by the records key" in place and strength == "AES-256-GCM"


@pytest.mark.parametrize("number", [f"3.7.{part}" for part in range(1, 10)])
def test_v8_each_procedure_is_written_down(number: str) -> None:
    procedures = LIFE if number != "3.7.8" else TEXT
    assert re.search(rf"\([^)]*{re.escape(number)}(?![.\d])[^)]*\)", procedures), number


@pytest.mark.parametrize("key", ["records key", "fingerprints key", "audit key", "card key"])
def test_v8_what_to_do_is_written_for_each_key_that_may_be_exposed(key: str) -> None:
    found = re.search(rf"^\| {key} exposed[^|]*\|(.+)\|$", LIFE, re.MULTILINE)
    assert found is not None and "rotate" in found[1]


def test_v9_the_time_for_which_the_trail_is_kept_is_the_one_that_is_written() -> None:
    assert RETENTION_MS // DAY_MS == 395
    assert "thirteen months" in TEXT or "13 months" in TEXT
