"""A customer links a wallet of their own from a headset, and takes the key of their account."""

from __future__ import annotations

import base64
import json
import logging
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_account import Account
from eth_utils.crypto import keccak
from joserfc import jwe
from joserfc.jwk import OKPKey

from gateway.orders.tables import leg
from samples.headset.client import CommandError, Headset
from tests.support.authenticating import with_passkey
from tests.support.authenticator import SoftAuthenticator
from tests.support.buying import buy, ended
from tests.support.gateway import Customer, OpenGateway
from tests.support.localhost import at_localhost
from tests.support.seed import Seed
from tests.wallets.custody.accounts_on_chain import signed

OWN = Account.from_key(keccak(text="the customer's own wallet"))


@pytest.fixture
async def passkey_shop(seed: Seed, tmp_path: Path) -> AsyncIterator[OpenGateway]:
    async with at_localhost(seed, tmp_path, delegated_authentication=True) as found:
        yield found


async def refused(headset: Headset, type: str, body: dict[str, Any]) -> str:
    with pytest.raises(CommandError) as error:
        await headset.command(type, body)
    return str(error.value.code)


async def rest(shop: OpenGateway, customer: Customer, method: str, path: str, **given: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {customer.token}", "Idempotency-Key": uuid.uuid4().hex}
    return await shop.http.request(method, f"/v1/wallet{path}", headers=headers, **given)


async def test_a_wallet_is_linked_from_the_headset_and_seen_over_http(shop: OpenGateway) -> None:
    customer, other = await shop.customer(), await shop.customer()
    async with shop.headset(customer) as headset, shop.headset(other) as stranger:
        asked = await headset.command("wallet.link.begin", {"address": OWN.address})
        domain = shop.base_url.removeprefix("http://")
        assert asked["message"].startswith(f"{domain} wants you to sign in with your Ethereum account:\n")
        answer = {"message": asked["message"], "signature": signed(OWN, asked["message"])}
        assert await refused(stranger, "wallet.link", answer) == "wallet.link_nonce"
        phished = asked["message"].replace(domain, "vitrine.example", 1)
        body = {"message": phished, "signature": signed(OWN, phished)}
        assert await refused(headset, "wallet.link", body) == "wallet.link_domain"
        wallet = (await headset.command("wallet.link", answer))["wallet"]
        event = await headset.event("wallet.linked")
        assert event["body"]["address"] == OWN.address
        assert (await rest(shop, customer, "GET", "/links")).json() == {"wallets": [wallet]}
        # Somebody who controls the key as well is told that it is taken.
        theirs = await stranger.command("wallet.link.begin", {"address": OWN.address})
        answer = {"message": theirs["message"], "signature": signed(OWN, theirs["message"])}
        assert await refused(stranger, "wallet.link", answer) == "wallet.linked_elsewhere"
        ended = await rest(shop, customer, "DELETE", f"/links/{wallet['wallet_id']}")
        assert ended.json()["wallet_id"] == wallet["wallet_id"]
        await headset.event("wallet.unlinked")
        assert (await stranger.command("wallet.link", answer))["wallet"]["address"] == OWN.address
    await shop.check()


async def test_a_wallet_is_linked_over_http_alone(shop: OpenGateway) -> None:
    customer = await shop.customer()
    begun = await rest(shop, customer, "POST", "/links/begin", json={"address": OWN.address})
    assert begun.headers["cache-control"] == "no-store"
    message = begun.json()["message"]
    body = {"message": message, "signature": "0x" + "11" * 65}
    wrong = await rest(shop, customer, "POST", "/links", json=body)
    assert (wrong.status_code, wrong.json()["code"]) == (400, "wallet.link_signature")
    body["signature"] = signed(OWN, message)
    linked = await rest(shop, customer, "POST", "/links", json=body)
    assert linked.json()["wallet"]["kind"] == "key"
    contract = shop.gateway.minting
    assert contract is not None
    for address, code in (
        (contract.contract, "wallet.link_reserved"),
        ("0x" + "00" * 20, "wallet.link_reserved"),
        ("0x" + OWN.address[2:].swapcase(), "wallet.link_address"),
    ):
        answer = await rest(shop, customer, "POST", "/links/begin", json={"address": address})
        assert (answer.json()["code"], answer.json()["param"]) == (code, "$.body.address")
    malformed = await rest(shop, customer, "POST", "/links/begin", json={"address": "0x12"})
    assert (malformed.json()["code"], malformed.json()["param"]) == ("message.invalid", "$.body.address")
    lower = await rest(shop, customer, "POST", "/links/begin", json={"address": OWN.address.lower()})
    assert OWN.address in lower.json()["message"]
    await shop.check()


async def test_an_id_that_is_none_is_no_failure_of_ours(shop: OpenGateway) -> None:
    customer = await shop.customer()
    for length, status in ((40, 404), (400, 400)):
        answer = await rest(shop, customer, "DELETE", f"/links/{'w' * length}")
        assert answer.status_code == status, answer.text
    answer = await rest(shop, customer, "POST", f"/key-exports/{'w' * 400}", json={"credential": {}})
    assert answer.json()["code"] == "message.invalid"
    await shop.check()


# --- The key of the account -------------------------------------------------------------------------


class Export:
    """A client that wants the key: its public key, and what it was asked to approve."""

    def __init__(self, shop: OpenGateway, customer: Customer) -> None:
        self.shop, self.customer = shop, customer
        self.recipient = OKPKey.generate_key("X25519")
        self.export_id, self.address, self.options = "", "", {}

    async def begin(self) -> httpx.Response:
        body = {"recipient": self.recipient.as_dict(private=False)}
        answer = await rest(self.shop, self.customer, "POST", "/key-exports", json=body)
        if answer.is_success:
            found = answer.json()
            self.export_id, self.address, self.options = (
                found["export_id"], found["address"], found["passkey"],
            )  # fmt: skip
        return answer

    async def approve(self, credential: Any) -> httpx.Response:
        path = f"/key-exports/{self.export_id}"
        return await rest(self.shop, self.customer, "POST", path, json={"credential": credential})

    def opened(self, answer: httpx.Response) -> str:
        """Return the private key, 64 hexadecimal digits."""
        content = json.loads(jwe.decrypt_compact(answer.json()["key"], self.recipient).plaintext or b"")
        assert content["address"] == self.address
        return str(content["private_key"].removeprefix("0x"))


def refusal(answer: httpx.Response) -> str:
    assert not answer.is_success
    return str(answer.json()["code"])


def forms_of_key(key: str) -> list[bytes]:
    """Return the ways in which a key might have been written."""
    raw = bytes.fromhex(key)
    encoded = [base64.b64encode(raw), base64.urlsafe_b64encode(raw).rstrip(b"=")]
    return [key.encode(), key.upper().encode(), raw, raw[::-1], str(int(key, 16)).encode(), *encoded]


async def test_a_customer_takes_the_key_of_their_account_and_it_is_written_nowhere(
    passkey_shop: OpenGateway, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    shop = passkey_shop
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset:
        device = await with_passkey(shop, headset, customer)
        export = Export(shop, customer)
        begun = await export.begin()
        assert begun.is_success, begun.text
        wallet = await headset.command("wallet.list", {})
        assert wallet["address"] in (None, export.address)
        answer = await export.approve(device.get(export.options))
        assert answer.is_success, answer.text
        assert answer.headers["cache-control"] == "no-store"
        key = export.opened(answer)
        assert Account.from_key(key).address == export.address
        event = await headset.event("wallet.key_exported")
        assert event["body"] == {
            "export_id": export.export_id,
            "address": export.address,
            "device_id": event["body"]["device_id"],
        }
        # Once: what was approved is used up, and so is the assertion.
        assert refusal(await export.approve(device.get(export.options))) == "wallet.export_decided"
        told = json.dumps([one["body"] for one in headset.events]).encode()
    (row,) = shop.evidence.rows("SELECT * FROM key_export WHERE exported_at_ms IS NOT NULL")
    assert row["passkey_id"] and row["customer_id"] == customer.customer_id
    (account,) = shop.evidence.rows("SELECT * FROM custody_account WHERE exported_at_ms IS NOT NULL")
    assert account["address"] == export.address
    said = "".join(capsys.readouterr()).encode() + caplog.text.encode() + told + answer.content
    files = {path: path.read_bytes() for path in shop.data_dir.rglob("*") if path.is_file()}
    sealed = answer.json()["key"].encode()
    for form in forms_of_key(key):
        assert form not in said
        assert not [path for path, content in files.items() if form in content]
    assert not [path for path, content in files.items() if sealed in content]
    assert any(export.address.encode() in content for content in files.values()), (
        "the search finds what is there"
    )
    await shop.check()


async def test_only_a_verified_passkey_of_the_customer_over_this_very_act_counts(
    passkey_shop: OpenGateway,
) -> None:
    shop = passkey_shop
    customer, other = await shop.customer("challenge"), await shop.customer("challenge")
    async with shop.headset(customer) as headset, shop.headset(other) as others:
        # No passkey yet: nothing to approve with.
        assert refusal(await Export(shop, customer).begin()) == "wallet.export_unavailable"
        device, theirs = await with_passkey(shop, headset, customer), await with_passkey(shop, others, other)
        export, second = Export(shop, customer), Export(shop, customer)
        await export.begin()
        await second.begin()
        assert export.options["challenge"] != second.options["challenge"]
        # Another export's challenge, another customer's passkey, another origin, a sleeping owner.
        assert refusal(await export.approve(device.get(second.options))) == "passkey.refused"
        assert refusal(await export.approve(theirs.get(export.options))) == "passkey.refused"
        device.verified = False
        assert refusal(await export.approve(device.get(export.options))) == "passkey.refused"
        device.verified, device.origin = True, "https://vitrine.example"
        assert refusal(await export.approve(device.get(export.options))) == "passkey.refused"
        device.origin = shop.base_url
        assert refusal(await export.approve({"id": device.id})) == "passkey.refused"
        # Another device of the same customer, and another customer with their own passkey.
        stolen = Export(shop, Customer(customer.customer_id, await shop.token(customer.customer_id), {}, ""))
        stolen.export_id = export.export_id
        assert refusal(await stolen.approve(device.get(export.options))) == "wallet.export_unknown"
        foreign = Export(shop, other)
        foreign.export_id = export.export_id
        assert refusal(await foreign.approve(theirs.get(export.options))) == "wallet.export_unknown"
        assert not shop.evidence.rows("SELECT * FROM custody_account WHERE exported_at_ms IS NOT NULL")
        # A passkey that seems to exist twice is removed and gives nothing.
        assert (await second.approve(device.get(second.options))).is_success
        device.count = 0
        assert refusal(await export.approve(device.get(export.options))) == "passkey.revoked"
        assert (await headset.command("passkey.list", {}))["passkeys"] == []
        given = shop.evidence.rows("SELECT export_id FROM key_export WHERE exported_at_ms IS NOT NULL")
        assert [row["export_id"] for row in given] == [second.export_id]
    await shop.check()


async def test_an_approval_of_a_payment_gives_no_key(passkey_shop: OpenGateway) -> None:
    """A page that shows a payment and has the passkey sign for the key instead signs another challenge."""
    shop = passkey_shop
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset:
        device = await with_passkey(shop, headset, customer)
        export = Export(shop, customer)
        await export.begin()
        forged = SoftAuthenticator(shop.base_url)
        assert refusal(await export.approve(forged.get(export.options))) == "passkey.refused"
        recipient = {"recipient": OKPKey.generate_key("X25519").as_dict(private=True)}
        answer = await rest(shop, customer, "POST", "/key-exports", json=recipient)
        assert refusal(answer) == "wallet.export_recipient"
        assert (await export.approve(device.get(export.options))).is_success
    await shop.check()


async def test_no_key_is_given_while_a_token_may_have_to_come_back(passkey_shop: OpenGateway) -> None:
    shop = passkey_shop
    customer = await shop.customer("visa", "challenge")
    store = shop.gateway.context.store
    async with shop.headset(customer) as headset:
        device = await with_passkey(shop, headset, customer)
        order_id = await buy(headset, customer, "KUPPEL-LAMP:digital")
        await ended(headset, order_id)
        export = Export(shop, customer)
        await export.begin()
        mine = leg.update().where(leg.c.order_id == order_id)
        # As if its capture were still under way.
        await store.write(lambda uow: uow.core(mine.values(state="fulfilled")))
        assert refusal(await export.approve(device.get(export.options))) == "wallet.export_waits"
        assert refusal(await Export(shop, customer).begin()) == "wallet.export_waits"
        assert not shop.evidence.rows("SELECT * FROM custody_account WHERE exported_at_ms IS NOT NULL")
        await store.write(lambda uow: uow.core(mine.values(state="captured")))
        assert (await export.approve(device.get(export.options))).is_success
    await shop.check()


async def test_without_passkeys_no_key_is_given(shop: OpenGateway) -> None:
    customer = await shop.customer()
    assert refusal(await Export(shop, customer).begin()) == "wallet.export_unavailable"
