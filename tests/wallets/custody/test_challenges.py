"""A message to sign is for one customer, device, address and chain, for five minutes and once."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_utils.crypto import keccak

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import VitrineError
from gateway.kernel.events.log import open_stream
from gateway.kernel.store.sqlite import SqliteStore
from tests.wallets.custody.accounts_on_chain import signed
from wallets.custody.accounts import Custody
from wallets.custody.challenges import (
    MOST_OPEN,
    MOST_TRIES,
    SKEW_MS,
    VALID_MS,
    Asker,
    LinkChallenge,
    LinkRules,
    begin_link,
    check_message,
    finish_link,
    site_of,
    take_try,
)
from wallets.custody.linking import (
    MOST_WALLETS,
    LinkedWallet,
    Proof,
    WalletKind,
    linked_wallet,
    linked_wallets,
    unlink_wallet,
)
from wallets.custody.local_signer import LocalSigner
from wallets.custody.proving import AddressProofs
from wallets.custody.sealed_seed import SealedSeed
from wallets.custody.siwe import SignInMessage, parse_message

KEY = Account.from_key(keccak(text="a wallet of somebody's own"))
OTHER = Account.from_key(keccak(text="another wallet"))
OURS = "0x000000000000000000000000000000000000dEaD"
ME, MY_PHONE, SOMEBODY = Asker("cus_1", "dev_1"), Asker("cus_1", "dev_2"), Asker("cus_2", "dev_3")


class NoContracts:
    async def code(self, address: str) -> bytes:
        return b""

    async def run(self, code: bytes) -> bytes:
        raise AssertionError


RULES = LinkRules(
    domain="shop.example:8443",
    uri="https://shop.example:8443",
    chain_id=31337,
    reserved=frozenset([OURS]),
    prover=AddressProofs(NoContracts()),
)


class Links:
    """The whole way, as a command goes it."""

    def __init__(self, store: SqliteStore, clock: ManualClock) -> None:
        self.store, self.clock = store, clock

    async def begin(
        self, asker: Asker = ME, account: Any = KEY, chain_id: int | None = None
    ) -> LinkChallenge:
        return await self.begin_at(account.address, asker, chain_id)

    async def begin_at(self, address: str, asker: Asker = ME, chain_id: int | None = None) -> LinkChallenge:
        return await self.store.write(lambda uow: begin_link(uow, RULES, asker, address, chain_id))

    async def answer(self, text: str, asker: Asker = ME, account: Any = KEY) -> LinkedWallet:
        return await self.send(text, signed(account, text), asker)

    async def send(self, text: str, signature: str, asker: Asker = ME) -> LinkedWallet:
        message = check_message(RULES, text, self.clock.now_ms())
        await self.store.write(lambda uow: take_try(uow, asker, message))
        kind = await RULES.prover.prove(message.address, message.text, signature)
        proof = Proof(message.text, signature, kind)
        return await self.store.write(lambda uow: finish_link(uow, asker, message, proof))

    async def linked(self, asker: Asker = ME, account: Any = KEY) -> LinkedWallet:
        return await self.answer((await self.begin(asker, account)).message, asker, account)


@pytest.fixture
async def links(custody_store: SqliteStore, clock: ManualClock) -> Links:
    for customer in ("cus_1", "cus_2"):
        await custody_store.write(lambda uow, customer=customer: open_stream(uow, customer))
    return Links(custody_store, clock)


def events(folder: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(folder / "gateway.db") as connection:
        return connection.execute("SELECT type, body FROM event ORDER BY seq").fetchall()


async def code_of(work: Any) -> str:
    with pytest.raises(VitrineError) as error:
        await work
    return error.value.code


async def test_a_message_says_who_asks_for_what_and_until_when(links: Links) -> None:
    asked = await links.begin()
    issued, expires = "2026-09-21T14:13:20.000Z", "2026-09-21T14:18:20.000Z"
    assert asked.message == (
        "shop.example:8443 wants you to sign in with your Ethereum account:\n"
        f"{KEY.address}\n\n"
        "Link this wallet to my account. This moves nothing and buys nothing.\n\n"
        "URI: https://shop.example:8443\nVersion: 1\nChain ID: 31337\n"
        f"Nonce: {asked.nonce}\nIssued At: {issued}\nExpiration Time: {expires}\n"
        "Resources:\n- urn:vitrine:customer:cus_1\n- urn:vitrine:device:dev_1"
    )
    assert len(asked.nonce) == 24 and asked.nonce.isalnum() and asked.nonce.isascii()
    assert asked.expires_at_ms == links.clock.now_ms() + VALID_MS


@pytest.mark.parametrize(
    ("public_url", "domain", "uri"),
    [
        ("https://shop.example", "shop.example", "https://shop.example"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "[::1]:8080", "http://[::1]:8080"),
        # A browser's own words for the same place: wallets compare the message with them.
        ("https://Shop.EXAMPLE:443/", "shop.example", "https://shop.example/"),
        ("http://shop.example:80", "shop.example", "http://shop.example"),
        ("http://shop.example:443", "shop.example:443", "http://shop.example:443"),
        ("https://b\u00fccher.example/l\u00e4den", "xn--bcher-kva.example",
         "https://xn--bcher-kva.example/l%C3%A4den"),
        ("https://me:secret@shop.example/a%20b", "shop.example", "https://shop.example/a%20b"),
    ],
)  # fmt: skip
def test_a_message_names_the_place_as_browsers_do(public_url: str, domain: str, uri: str) -> None:
    assert site_of(public_url) == (domain, uri)
    message = SignInMessage(domain, KEY.address, uri, 1, "12345678", "2026-01-01T00:00:00Z")
    assert parse_message(message.text) == message


@pytest.mark.parametrize("public_url", ["shop.example", "https://", "https://shop.example:port", ""])
def test_an_address_without_a_host_is_no_place_to_sign_in(public_url: str) -> None:
    with pytest.raises(ValueError, match="public address"):
        site_of(public_url)


async def test_nonces_do_not_repeat_or_follow_each_other(links: Links) -> None:
    nonces = [(await links.begin()).nonce for _ in range(MOST_OPEN)]
    assert len(set(nonces)) == MOST_OPEN
    assert len({nonce[:6] for nonce in nonces}) == MOST_OPEN


async def test_a_signed_message_links_the_wallet_and_is_kept_as_evidence(
    links: Links, tmp_path: Path
) -> None:
    asked = await links.begin()
    wallet = await links.answer(asked.message)
    assert (wallet.address, wallet.chain_id, wallet.kind) == (KEY.address, 31337, WalletKind.KEY)
    assert wallet.wallet_id.startswith("wal_")
    assert await links.store.read(lambda reader: linked_wallet(reader, "cus_1", wallet.wallet_id)) == wallet
    assert await links.store.read(lambda reader: linked_wallets(reader, "cus_1")) == [wallet]
    # Nobody else's.
    assert await links.store.read(lambda reader: linked_wallet(reader, "cus_2", wallet.wallet_id)) is None
    with sqlite3.connect(tmp_path / "gateway.db") as connection:
        (row,) = connection.execute("SELECT message, signature FROM linked_wallet").fetchall()
    assert row == (asked.message, signed(KEY, asked.message))
    assert [kind for kind, _ in events(tmp_path)] == ["wallet.linked"]


# --- Each check has its own code --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("was", "becomes", "code"),
    [
        ("shop.example:8443 wants", "shop.example.evil:8443 wants", "wallet.link_domain"),
        ("shop.example:8443 wants", "shop.example wants", "wallet.link_domain"),
        ("shop.example:8443 wants", "shop.example:443 wants", "wallet.link_domain"),
        ("shop.example:8443 wants", "https://shop.example:8443 wants", "wallet.link_domain"),
        ("shop.example:8443 wants", "SHOP.example:8443 wants", "wallet.link_domain"),
        ("shop.example:8443 wants", "me@shop.example:8443 wants", "wallet.link_domain"),
        ("URI: https://shop.example:8443", "URI: https://evil.example", "wallet.link_uri"),
        ("URI: https://shop.example:8443", "URI: http://shop.example:8443", "wallet.link_uri"),
        ("URI: https://shop.example:8443", "URI: https://shop.example:8443/", "wallet.link_uri"),
        ("Version: 1", "Version: 2", "wallet.link_version"),
        ("Chain ID: 31337", "Chain ID: 1", "wallet.link_chain"),
        (KEY.address, KEY.address.lower(), "wallet.link_address"),
        (KEY.address, OTHER.address, "wallet.link_address"),
        ("Issued At: 2026-09-21T14:13:20", "Issued At: 2026-09-21T14:13:51", "wallet.link_not_yet"),
        ("Expiration Time: 2026-09-21T14:18:20", "Expiration Time: 2026-09-21T14:13:20", "wallet.link_expired"),
        ("Expiration Time: 2026-09-21T14:18:20", "Expiration Time: 2027-09-21T14:13:20", "wallet.link_message"),
        ("Resources:", "Not Before: 2026-09-21T14:15:20Z\nResources:", "wallet.link_not_yet"),
        ("Resources:", "Not Before: 2026-09-21T14:13:20Z\nResources:", "wallet.link_message"),
        ("Resources:", "Request ID: a\nResources:", "wallet.link_message"),
        ("This moves nothing", "This moves something", "wallet.link_message"),
        ("customer:cus_1", "customer:cus_2", "wallet.link_message"),
        ("\nResources:", "\n\nResources:", "wallet.link_message"),
        ("Version: 1", "Version: 1 ", "wallet.link_version"),
        ("Issued At: 2026-09-21T14:13:20.000Z", "Issued At: 2026-09-21T14:13:20Z", "wallet.link_message"),
    ],
)  # fmt: skip
async def test_a_message_that_says_something_else_is_refused(
    links: Links, was: str, becomes: str, code: str
) -> None:
    """Also though it is signed by the right key: each with its own code."""
    asked = await links.begin()
    assert asked.message.count(was) == 1
    changed = asked.message.replace(was, becomes)
    assert await code_of(links.answer(changed)) == code
    await links.answer(asked.message)


async def test_one_more_line_end_is_refused(links: Links) -> None:
    asked = await links.begin()
    assert await code_of(links.answer(asked.message + "\n")) == "wallet.link_message"
    assert await code_of(links.answer(asked.message.replace("\n", "\r\n"))) == "wallet.link_message"


async def test_a_nonce_that_was_not_given_is_refused(links: Links) -> None:
    asked = await links.begin()
    for nonce in ("AAAAAAAAAAAAAAAAAAAAAAAA", "12345678", asked.nonce.swapcase()):
        assert await code_of(links.answer(asked.message.replace(asked.nonce, nonce))) == "wallet.link_nonce"
    two = asked.message.replace("\nIssued", f"\nNonce: {asked.nonce}\nIssued")
    assert await code_of(links.answer(two)) == "wallet.link_message"


async def test_only_the_device_that_asked_can_answer(links: Links) -> None:
    asked = await links.begin()
    assert await code_of(links.answer(asked.message, SOMEBODY)) == "wallet.link_nonce"
    assert await code_of(links.answer(asked.message, MY_PHONE)) == "wallet.link_nonce"
    assert (await links.answer(asked.message)).customer_id == "cus_1"


async def test_what_one_customer_signed_proves_nothing_for_another(links: Links) -> None:
    """Somebody begins with my address and has me sign; my signature names their account, theirs not mine."""
    theirs = await links.begin(SOMEBODY)
    mine = await links.begin()
    assert (
        await code_of(links.send(theirs.message, signed(KEY, mine.message), SOMEBODY))
        == "wallet.link_signature"
    )
    assert "urn:vitrine:customer:cus_2" in theirs.message
    retold = mine.message.replace(mine.nonce, theirs.nonce)
    assert await code_of(links.answer(retold, SOMEBODY)) == "wallet.link_message"


async def test_a_message_counts_once(links: Links) -> None:
    asked = await links.begin()
    wallet = await links.answer(asked.message)
    assert await code_of(links.answer(asked.message)) == "wallet.link_nonce"
    await links.store.write(lambda uow: unlink_wallet(uow, "cus_1", wallet.wallet_id))
    assert await code_of(links.answer(asked.message)) == "wallet.link_nonce"


async def test_a_message_is_good_for_five_minutes(links: Links) -> None:
    late, in_time = await links.begin(account=OTHER), await links.begin()
    links.clock.advance(VALID_MS - 1)
    await links.answer(in_time.message)
    links.clock.advance(1)
    assert await code_of(links.answer(late.message, account=OTHER)) == "wallet.link_expired"


async def test_a_clock_a_little_ahead_is_no_reason_to_refuse(links: Links) -> None:
    asked = await links.begin()
    assert check_message(RULES, asked.message, links.clock.now_ms() - SKEW_MS).nonce == asked.nonce
    with pytest.raises(VitrineError, match=r"wallet\.link_not_yet"):
        check_message(RULES, asked.message, links.clock.now_ms() - SKEW_MS - 1)


async def test_a_wrong_signature_can_be_mended_a_few_times(links: Links) -> None:
    asked = await links.begin()
    for _ in range(MOST_TRIES - 1):
        assert await code_of(links.answer(asked.message, account=OTHER)) == "wallet.link_signature"
    await links.answer(asked.message)
    asked = await links.begin(account=OTHER)
    for _ in range(MOST_TRIES):
        assert await code_of(links.send(asked.message, "0x00")) == "wallet.link_signature"
    assert await code_of(links.answer(asked.message, account=OTHER)) == "wallet.link_nonce"


# --- Who may link what ------------------------------------------------------------------------------


async def test_addresses_of_ours_are_nobodys_to_link(links: Links) -> None:
    custodial = await Custody(LocalSigner(SealedSeed(bytes(64))), links.store).ensure_account("cus_2")
    assert await code_of(links.begin_at(custodial)) == "wallet.link_reserved"
    assert await code_of(links.begin_at(OURS)) == "wallet.link_reserved"
    assert await code_of(links.begin_at(OURS.lower())) == "wallet.link_reserved"
    assert await code_of(links.begin(chain_id=1)) == "wallet.link_chain"
    await links.begin(chain_id=31337)


async def test_an_address_without_a_checksum_gets_one_and_a_wrong_one_is_refused(links: Links) -> None:
    for written in (KEY.address.lower(), "0x" + KEY.address[2:].upper(), KEY.address):
        assert f"\n{KEY.address}\n" in (await links.begin_at(written)).message
    with pytest.raises(VitrineError) as refused:
        await links.begin_at("0x" + KEY.address[2:].swapcase())
    assert (refused.value.code, refused.value.param) == ("wallet.link_address", "$.body.address")


async def test_an_address_has_one_owner_at_a_time(links: Links) -> None:
    mine = await links.linked()
    # That it is taken is told to whoever controls it, and not before.
    theirs = await links.begin(SOMEBODY)
    assert await code_of(links.answer(theirs.message, SOMEBODY)) == "wallet.linked_elsewhere"
    await links.store.write(lambda uow: unlink_wallet(uow, "cus_1", mine.wallet_id))
    wallet = await links.answer(theirs.message, SOMEBODY)
    assert wallet.customer_id == "cus_2" and wallet.wallet_id != mine.wallet_id


async def test_linking_again_changes_nothing(links: Links, tmp_path: Path) -> None:
    first = await links.linked()
    assert await links.linked() == first
    assert len(await links.store.read(lambda reader: linked_wallets(reader, "cus_1"))) == 1
    assert len(events(tmp_path)) == 1


async def test_a_link_ends_once_and_only_by_its_owner(links: Links, tmp_path: Path) -> None:
    wallet = await links.linked()

    async def unlink(customer: str) -> None:
        await links.store.write(lambda uow: unlink_wallet(uow, customer, wallet.wallet_id))

    assert await code_of(unlink("cus_2")) == "wallet.not_found"
    await unlink("cus_1")
    assert await code_of(unlink("cus_1")) == "wallet.not_found"
    assert [kind for kind, _ in events(tmp_path)] == ["wallet.linked", "wallet.unlinked"]
    assert await links.store.read(lambda reader: linked_wallets(reader, "cus_1")) == []


async def test_only_so_many_messages_at_once(links: Links) -> None:
    for _ in range(MOST_OPEN):
        await links.begin()
    with pytest.raises(VitrineError, match=r"wallet\.link_too_many") as error:
        await links.begin()
    assert error.value.retry_after_ms == VALID_MS
    await links.begin(SOMEBODY)
    links.clock.advance(VALID_MS)
    await links.begin()


async def test_only_so_many_wallets_of_one_customer(links: Links) -> None:
    accounts = [Account.from_key(keccak(text=f"wallet {number}")) for number in range(MOST_WALLETS + 1)]
    for account in accounts[:-1]:
        await links.linked(account=account)
        links.clock.advance(VALID_MS)
    assert await code_of(links.begin(account=accounts[-1])) == "wallet.too_many"
    # One that is linked may be linked again.
    await links.linked(account=accounts[0])
