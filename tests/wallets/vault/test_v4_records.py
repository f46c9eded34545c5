"""V1 to V6, V12, V15, V18: what a stored card looks like, and that it opens nowhere but where it belongs."""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.wallets.vault.faults import FaultyProvider
from tests.wallets.vault.own_databases import Vaults, vaults
from tests.wallets.vault.shop import CUSTOMER, card, eur
from wallets.vault import methods
from wallets.vault.cards import is_luhn_valid
from wallets.vault.crypto import RecordUnreadableError, open_record
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.kms import KeysUnavailableError
from wallets.vault.kms_local import LocalKms
from wallets.vault.port import CardEntry, MethodKind, OperationStatus, PassedMethod, StoredMethod
from wallets.vault.providers import test_cards
from wallets.vault.providers.port import AuthorizeOrder, ClearCard, PassedInstrument, ProviderAnswer
from wallets.vault.secret import Secret
from wallets.vault.service import VaultService
from wallets.vault.tokenizing import MethodStore, keep_passed

__all__ = ["vaults"]
NUMBERS = (test_cards.VISA, test_cards.MASTERCARD, test_cards.AMEX)
RECORD = ("kek_id", "wrapped_key", "nonce", "ciphertext")


async def pay(vaults: Vaults, vault: EmbeddedVault, method: StoredMethod) -> Any:
    shop = vaults.shop(vault)
    terms = shop.terms(method, eur(5), customer_id=method.customer_id)
    return await vault.authorize(shop.request(terms, eur(5), customer_id=method.customer_id))


async def row_of(vault: EmbeddedVault, method: StoredMethod) -> Any:
    values = {"payment_method_id": method.payment_method_id}
    return await vault.store.read(lambda reader: reader.row(methods.GET, values))


async def refuses_to_open(vaults: Vaults, vault: EmbeddedVault, method: StoredMethod) -> None:
    effects = await vault.acquirer.effects()
    result = await pay(vaults, vault, method)
    assert (result.status, result.refusal) == (OperationStatus.FAILED, "vault.record_unreadable")
    assert await vault.acquirer.effects() == effects, "nothing reached the provider"


@pytest.mark.parametrize(
    "columns",
    [names for count in (1, 2, 3) for names in itertools.combinations(RECORD[1:], count)],
    ids="+".join,
)
async def test_v15_swapped_ciphertexts_do_not_open(vaults: Vaults, columns: tuple[str, ...]) -> None:
    vault = await vaults.open()
    shop = vaults.shop(vault)
    mine, other = await shop.method(), await shop.method(test_cards.MASTERCARD)
    for column in columns:
        vaults.sql(
            f"UPDATE vault_method SET {column} = (SELECT {column} FROM vault_method"
            " WHERE payment_method_id = :other) WHERE payment_method_id = :mine",
            mine=mine.payment_method_id,
            other=other.payment_method_id,
        )
    await refuses_to_open(vaults, vault, mine)


async def test_v15_a_record_given_to_another_customer_or_version_does_not_open(vaults: Vaults) -> None:
    vault = await vaults.open()
    method = await vaults.shop(vault).method()
    vaults.sql("UPDATE vault_method SET customer_id = 'cus_eve'")
    await refuses_to_open(vaults, vault, dataclasses.replace(method, customer_id="cus_eve"))
    vaults.sql(f"UPDATE vault_method SET customer_id = '{CUSTOMER}', record_version = 2")
    await refuses_to_open(vaults, vault, method)
    vaults.sql("UPDATE vault_method SET record_version = 1, format_version = 2")
    await refuses_to_open(vaults, vault, method)
    vaults.sql("UPDATE vault_method SET format_version = 1")
    assert (await pay(vaults, vault, method)).status is OperationStatus.SUCCEEDED


async def test_v15_a_flipped_bit_anywhere_in_the_row_closes_it(vaults: Vaults) -> None:
    vault = await vaults.open()
    row = await row_of(vault, await vaults.shop(vault).method())
    kms = vaults.kms
    assert await open_record(kms, methods.place_of(row), methods.record_of(row))
    for column in RECORD[1:]:
        stored = bytes(getattr(row, column))
        for bit in range(len(stored) * 8):
            changed = bytearray(stored)
            changed[bit // 8] ^= 1 << bit % 8
            spoiled = row._replace(**{column: bytes(changed)})
            with pytest.raises(RecordUnreadableError):
                await open_record(kms, methods.place_of(spoiled), methods.record_of(spoiled))


async def test_v15_each_record_has_its_own_data_key_and_a_96_bit_nonce(vaults: Vaults) -> None:
    vault = await vaults.open()
    shop = vaults.shop(vault)
    await asyncio.gather(*(shop.method(customer=f"cus_{number}") for number in range(20)))
    rows = vaults.sql("SELECT wrapped_key, nonce, ciphertext FROM vault_method")
    for position in range(3):
        assert len({bytes(row[position]) for row in rows}) == 20
    assert {len(row[1]) for row in rows} == {12}


async def test_v4_v6_no_column_holds_a_number_a_name_or_an_unwrapped_key(vaults: Vaults) -> None:
    vault = await vaults.open()
    shop = vaults.shop(vault)
    for number in NUMBERS:
        await pay(vaults, vault, await shop.method(number))
    row = await row_of(vault, (await vault.methods(CUSTOMER))[0])
    place = methods.place_of(row).associated_data()
    data_key = await vaults.kms.unwrap(row.kek_id, row.wrapped_key, place)
    everything = whole_database(vaults)
    for canary in [*(number.encode() for number in NUMBERS), b"Lovelace", data_key, data_key.hex().encode()]:
        assert canary not in everything
    assert b"mastercard" in everything, "the search finds what is there"


async def test_v3_nothing_answers_with_more_of_a_number_than_its_last_four(vaults: Vaults) -> None:
    vault = await vaults.open()
    shop = vaults.shop(vault)
    for number in NUMBERS:
        method = await shop.method(number)
        paid = await pay(vaults, vault, method)
        captured = await shop.capture(paid.operation_id, eur(5))
        page = await vault.operations_since("", 100)
        told = repr((method, paid, captured, page, await vault.methods(CUSTOMER)))
        assert method.last4 == number[-4:]
        for length in range(5, len(number) + 1):
            assert number[-length:] not in told
            assert number[:length] not in told


async def test_v1_v2_a_security_code_is_in_no_durable_row_on_any_way_out(vaults: Vaults) -> None:
    """Through approval, decline, a challenge, a wrong code and a malformed one."""
    vault = await vaults.open(deadline_ms=50)
    shop = vaults.shop(vault)
    canary = "9073"  # an Amex code has four digits
    for number in (
        test_cards.AMEX,
        test_cards.LOST_CARD,
        test_cards.CHALLENGE,
        test_cards.ANSWER_LOST,
        test_cards.WRONG_SECURITY_CODE,
    ):
        for code in (canary, canary[:3], canary * 3):
            try:
                method = await vault.tokenize(CUSTOMER, CardEntry.typed(number, 12, 2034, code, "A"))
            except Exception as error:
                assert canary not in f"{error!r}{error.__cause__!r}"
                continue
            await vault.authorize(shop.request(shop.terms(method, eur(5)), eur(5)))
    for row in vaults.sql("SELECT * FROM vault_method"):
        plain = await plain_text(vaults, vault, row[0])
        assert canary[:3] not in plain.replace(row[0], "")
    for table in tables_of(vaults):
        for row in vaults.sql(f"SELECT * FROM {table}"):
            assert not {canary, canary[:3], int(canary), int(canary[:3])} & {*map(comparable, row)}, table


async def plain_text(vaults: Vaults, vault: EmbeddedVault, payment_method_id: str) -> str:
    values = {"payment_method_id": payment_method_id}
    row = await vault.store.read(lambda reader: reader.row(methods.GET, values))
    return (await open_record(vaults.kms, methods.place_of(row), methods.record_of(row))).decode()


def comparable(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


async def test_v5_brute_force_over_the_last_four_finds_no_number_with_the_database_alone(
    vaults: Vaults,
) -> None:
    """All 100,000 or so numbers with this BIN and these last four: with the key one fits, without none does."""
    vault = await vaults.open()
    method = await vaults.shop(vault).method()
    row = await row_of(vault, method)
    number = test_cards.VISA
    # Four digits of the middle are left out, as if known: a tenth of a second instead of a quarter of an hour.
    candidates = [
        candidate
        for middle in range(10_000)
        if is_luhn_valid(candidate := f"{number[:8]}{middle:04}{method.last4}")
    ]
    assert number in candidates
    purpose = b"vitrine.vault.card-fingerprint.v1\x00"
    database = whole_database(vaults)
    # Everything in the database that could be a key, and the usual guesses without one.
    guesses = [b"", b"\0" * 32, method.payment_method_id.encode(), row.customer_id.encode()]
    guesses += [bytes(row.wrapped_key)[:32], bytes(row.nonce), row.fingerprint_key_id.encode()]
    for guess in guesses:
        for candidate in candidates:
            made = hmac.digest(guess, purpose + candidate.encode(), "sha256")
            assert made != bytes(row.fingerprint)
    key = (vaults.keys / f"mac-{row.fingerprint_key_id}.key").read_bytes()
    assert [
        c for c in candidates if hmac.digest(key, purpose + c.encode(), "sha256") == bytes(row.fingerprint)
    ] == [number]
    assert key not in database
    assert len(key) * 8 >= 128


async def test_v4_the_fingerprint_key_is_not_beside_the_database(vaults: Vaults) -> None:
    await vaults.open()
    for file in vaults.directory.iterdir():
        if file.is_file():
            for key in vaults.keys.glob("*.key"):
                assert key.read_bytes() not in file.read_bytes(), file.name


async def test_v18_fifty_concurrent_tokenizations_give_one_token(vaults: Vaults) -> None:
    """From two vault processes' worth of connections, so that the database decides."""
    first, second = await vaults.open(), await vaults.open()
    stored = await asyncio.gather(
        *((first, second)[number % 2].tokenize(CUSTOMER, card()) for number in range(50))
    )
    assert len({method.payment_method_id for method in stored}) == 1
    assert vaults.sql("SELECT count(*) FROM vault_method") == [(1,)]
    outcomes = vaults.sql("SELECT outcome FROM vault_audit WHERE action = 'method.store'")
    assert sorted(outcome for (outcome,) in outcomes) == ["known"] * 49 + ["ok"]


async def test_v18_a_customer_learns_nothing_of_another_customers_card(vaults: Vaults) -> None:
    vault = await vaults.open()
    shop = vaults.shop(vault)
    one, two = await shop.method(customer="cus_1"), await shop.method(customer="cus_2")
    assert one.payment_method_id != two.payment_method_id
    assert await vault.methods("cus_1") == [one]


async def test_v12_a_par_and_a_network_token_are_kept_where_the_provider_returns_them(vaults: Vaults) -> None:
    vault = await vaults.open()
    method = await vaults.shop(vault).method(test_cards.WITH_NETWORK_NUMBER)
    assert method.account_reference is not None
    assert len(method.account_reference) == 29
    await pay(vaults, vault, method)
    assert (await vault.methods(CUSTOMER))[0].account_reference == method.account_reference
    row = await row_of(vault, method)
    opened = methods.clear_card(await open_record(vaults.kms, methods.place_of(row), methods.record_of(row)))
    assert opened.network_token is not None
    token = opened.network_token.reveal()
    assert opened.number.reveal() == test_cards.WITH_NETWORK_NUMBER
    assert token.encode() not in whole_database(vaults)
    assert token not in repr(opened)


class TellsOnAuthorization(FaultyProvider):
    """Knows PAR and network token only once a card has been authorized."""

    async def verify(self, card: ClearCard) -> ProviderAnswer:
        return replace(await super().verify(card), account_reference=None, network_token=None)

    async def authorize(self, order: AuthorizeOrder) -> ProviderAnswer:
        answer = await super().authorize(order)
        return replace(answer, account_reference="V0" + "A" * 27, network_token=Secret("4895370000000007"))


async def test_v12_they_are_also_kept_when_they_come_with_an_authorization(vaults: Vaults) -> None:
    vault = await vaults.open()
    provider = TellsOnAuthorization(vault.acquirer)
    service = VaultService(vault.store, provider, vaults.kms, vaults.clock, vaults.ids)
    method = await service.tokenize(CUSTOMER, card())
    assert method.account_reference is None
    shop = vaults.shop(vault)
    for _ in range(2):
        paid = await service.authorize(shop.request(shop.terms(method, eur(5)), eur(5)))
        assert paid.status is OperationStatus.SUCCEEDED
    assert (await vault.methods(CUSTOMER))[0].account_reference == "V0" + "A" * 27
    row = await row_of(vault, method)
    assert row.record_version == 2, "once"
    opened = methods.clear_card(await open_record(vaults.kms, methods.place_of(row), methods.record_of(row)))
    assert opened.network_token == Secret("4895370000000007")


async def test_a_passed_method_is_a_record_too_and_single_use_ones_are_not_recognized(vaults: Vaults) -> None:
    vault = await vaults.open()
    into = MethodStore(vault.store, vaults.kms, vault.ring, vaults.ids)
    mandate = PassedMethod(MethodKind.SEPA_DEBIT, Secret("mandate-canary-77"), "ING", "4321")
    one, two = [await keep_passed(into, CUSTOMER, mandate, "bank") for _ in range(2)]
    assert one == two
    assert (one.kind, one.brand, one.last4, one.expiry_year) == ("sepa_debit", "ING", "4321", 0)
    wallet = PassedMethod(MethodKind.GOOGLE_PAY, Secret("payload-canary-78"), "visa", "1111", 12, 2030)
    tokens = {(await keep_passed(into, CUSTOMER, wallet, "acquirer")).payment_method_id for _ in range(2)}
    assert len(tokens) == 2
    assert b"canary" not in whole_database(vaults)
    row = await row_of(vault, one)
    plain = await open_record(vaults.kms, methods.place_of(row), methods.record_of(row))
    assert methods.instrument(row.kind, plain) == PassedInstrument(
        MethodKind.SEPA_DEBIT, Secret("mandate-canary-77")
    )


async def test_keys_that_are_away_fail_the_payment_and_say_so(vaults: Vaults, monkeypatch: Any) -> None:
    vault = await vaults.open()
    method = await vaults.shop(vault).method()

    async def away(self: LocalKms, *arguments: Any) -> bytes:
        raise KeysUnavailableError("no answer")

    monkeypatch.setattr(LocalKms, "unwrap", away)
    result = await pay(vaults, vault, method)
    assert (result.status, result.refusal) == (OperationStatus.FAILED, "vault.keys_unavailable")
    assert await vault.acquirer.effects() == []
    monkeypatch.setattr(LocalKms, "generate_data_key", away)
    from gateway.kernel.errors import UnavailableError

    with pytest.raises(UnavailableError) as caught:
        await vault.tokenize("cus_new", card())
    assert caught.value.code == "vault.keys_unavailable"
    assert vaults.sql("SELECT outcome FROM vault_audit ORDER BY audit_id DESC LIMIT 1") == [
        ("vault.keys_unavailable",)
    ]


def tables_of(vaults: Vaults) -> list[str]:
    if vaults.url:
        found = vaults.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    else:
        found = vaults.sql("SELECT name FROM sqlite_master WHERE type = 'table'")
    return [name for (name,) in found]


def whole_database(vaults: Vaults) -> bytes:
    """Every value of every table as bytes, and on SQLite the files."""
    parts: list[bytes] = []
    for table in tables_of(vaults):
        for row in vaults.sql(f"SELECT * FROM {table}"):
            parts += [
                bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
                for value in row
            ]
    if not vaults.url:
        parts += [file.read_bytes() for file in Path(vaults.directory).glob("vault.db*")]
    return b"\n".join(parts)
