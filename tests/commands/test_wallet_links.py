"""Linking wallets as a client does it: keys, replays, races, other devices, and a gateway that does not mint."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_utils.crypto import keccak

from gateway.commands import customer as customers
from gateway.commands import merchant as merchants
from gateway.identity.model import DevicePrincipal
from gateway.kernel.errors import VitrineError
from gateway.protocol.documents import REPLIES
from gateway.protocol.events import EVENTS
from gateway.protocol.messages import WalletLink, WalletLinkBegin, WalletLinks, WalletUnlink
from tests.support.stepped_gateway import MINUTE, SteppedGateway, stepped_gateway
from tests.wallets.custody.accounts_on_chain import signed
from wallets.custody.challenges import LinkRules, Prover
from wallets.custody.linking import WalletKind
from wallets.custody.proving import AddressProofs
from wallets.minting.chain.port import ChainUnavailable
from wallets.minting.own_calls import describe
from wallets.minting.own_contracts import OwnContract, put_contract

KEY = Account.from_key(keccak(text="a wallet of the customer's own"))


class FakeChain:
    """A chain with plain accounts only, which can be away."""

    away = False

    async def code(self, address: str) -> bytes:
        if self.away:
            raise ChainUnavailable("away")
        return b""

    async def run(self, code: bytes) -> bytes:
        raise AssertionError


class Client:
    """A device of a customer."""

    def __init__(self, stepped: SteppedGateway, who: DevicePrincipal, chain: FakeChain) -> None:
        self.stepped, self.who, self.chain = stepped, who, chain

    async def _perform(self, kind: Any, name: str, body: dict[str, Any], key: str | None = None) -> Any:
        message = {"id": "1", "type": name, "body": body}
        if kind.changes:
            message["key"] = key or uuid.uuid4().hex
        reply = await customers.perform(self.stepped.context, self.who, kind.model_validate(message))
        REPLIES[name].model_validate(reply)
        return reply

    async def begin(self, address: str = KEY.address) -> Any:
        return await self._perform(WalletLinkBegin, "wallet.link.begin", {"address": address})

    async def link(self, message: str, signature: str = "", key: str | None = None) -> Any:
        body = {"message": message, "signature": signature or signed(KEY, message)}
        return await self._perform(WalletLink, "wallet.link", body, key)

    async def links(self) -> Any:
        return (await self._perform(WalletLinks, "wallet.links", {}))["wallets"]

    async def unlink(self, wallet_id: str, key: str | None = None) -> Any:
        return await self._perform(WalletUnlink, "wallet.unlink", {"wallet_id": wallet_id}, key)

    async def other_device(self, customer_id: str | None = None) -> Client:
        context, merchant = self.stepped.context, self.stepped.merchant
        customer_id = customer_id or self.who.customer_id
        token = await merchants.issue_token(context, merchant, customer_id, kind="headset", name="")
        return Client(self.stepped, token.device, self.chain)

    async def somebody_else(self) -> Client:
        context, merchant = self.stepped.context, self.stepped.merchant
        return await self.other_device(await merchants.register(context, merchant, uuid.uuid4().hex))


@pytest.fixture
async def client(plain_seed: Path, tmp_path: Path) -> AsyncIterator[Client]:
    async with stepped_gateway(plain_seed, tmp_path) as stepped:
        chain = FakeChain()
        prover: Prover = AddressProofs(chain)
        rules = LinkRules("shop.example", "https://shop.example", 31337, frozenset(), prover)
        stepped.context = replace(stepped.context, linking=rules)
        yield Client(stepped, stepped.who, chain)


async def refused(work: Any) -> str:
    with pytest.raises(VitrineError) as error:
        await work
    return error.value.code


def told(stepped: SteppedGateway) -> list[tuple[str, str]]:
    rows = stepped.rows("SELECT type, body FROM event WHERE type LIKE 'wallet.%' ORDER BY seq")
    for row in rows:
        EVENTS[row["type"]].model_validate_json(row["body"])
    return [(row["type"], row["body"]) for row in rows]


async def test_a_wallet_is_linked_listed_and_unlinked(client: Client) -> None:
    asked = await client.begin()
    wallet = (await client.link(asked["message"]))["wallet"]
    assert (wallet["address"], wallet["chain_id"], wallet["kind"]) == (KEY.address, 31337, WalletKind.KEY)
    assert await client.links() == [wallet]
    assert await (await client.somebody_else()).links() == []
    assert (await client.unlink(wallet["wallet_id"]))["replayed"] is False
    assert await client.links() == []
    assert [kind for kind, _ in told(client.stepped)] == ["wallet.linked", "wallet.unlinked"]


async def test_the_same_key_links_once_and_gets_the_same_answer(client: Client) -> None:
    asked = await client.begin()
    first = await client.link(asked["message"], key="k1")
    again = await client.link(asked["message"], key="k1")
    assert again == {**first, "replayed": True}
    assert await refused(client.link(asked["message"], "0x00", key="k1")) == "idempotency.conflict"
    assert await refused(client.link(asked["message"], key="k2")) == "wallet.link_nonce"
    wallet_id = first["wallet"]["wallet_id"]
    assert (await client.unlink(wallet_id, key="k3"))["replayed"] is False
    assert (await client.unlink(wallet_id, key="k3"))["replayed"] is True
    # The answer to a key stays what it was; it links nothing again.
    assert (await client.link(asked["message"], key="k1"))["replayed"] is True
    assert await client.links() == []


async def test_of_two_answers_at_once_one_links(client: Client) -> None:
    asked = await client.begin()
    answers = await asyncio.gather(
        *(client.link(asked["message"], key=f"k{number}") for number in range(4)), return_exceptions=True
    )
    assert len([one for one in answers if isinstance(one, dict)]) == 1
    assert {one.code for one in answers if isinstance(one, VitrineError)} == {"wallet.link_nonce"}
    assert len(await client.links()) == 1


async def test_two_customers_who_control_the_same_key_do_not_both_link_it(client: Client) -> None:
    other = await client.somebody_else()
    both = [(one, await one.begin()) for one in (client, other)]
    answers = await asyncio.gather(
        *(one.link(asked["message"]) for one, asked in both), return_exceptions=True
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["ConflictError", "dict"]
    assert len(await client.links()) + len(await other.links()) == 1


async def test_another_device_of_the_same_customer_cannot_answer(client: Client) -> None:
    asked = await client.begin()
    other = await client.other_device()
    assert await refused(other.link(asked["message"])) == "wallet.link_nonce"
    assert (await client.link(asked["message"]))["wallet"] in await other.links()


async def test_a_chain_that_is_away_leaves_the_message_open(client: Client) -> None:
    asked = await client.begin()
    client.chain.away = True
    assert await refused(client.link(asked["message"], key="k")) == "wallet.chain_unavailable"
    client.chain.away = False
    assert (await client.link(asked["message"], key="k"))["replayed"] is False


async def test_wrong_domain_chain_nonce_expiry_and_signature_have_codes_of_their_own(client: Client) -> None:
    text = (await client.begin())["message"]
    nonce = text.partition("Nonce: ")[2][:24]
    for changed, code in (
        (text.replace("shop.example wants", "shop-example.evil wants"), "wallet.link_domain"),
        (text.replace("Chain ID: 31337", "Chain ID: 1"), "wallet.link_chain"),
        (text.replace(nonce, nonce[::-1]), "wallet.link_nonce"),
    ):
        assert await refused(client.link(changed)) == code
    stranger = signed(Account.create(), text)
    assert await refused(client.link(text, stranger)) == "wallet.link_signature"
    client.stepped.clock.advance(5 * MINUTE)
    assert await refused(client.link(text)) == "wallet.link_expired"
    assert await client.links() == [] and told(client.stepped) == []


async def test_a_contract_that_mints_is_no_wallet(client: Client) -> None:
    """It might even sign; what is minted to it is in nobody's hands."""
    call = describe("erc721", "mint(address)", ["to"], b"")
    theirs = OwnContract(client.stepped.merchant.merchant_id, "cards", 31337, KEY.address, call)
    asked = await client.begin()
    await client.stepped.context.store.write(lambda uow: put_contract(uow, theirs))
    assert await refused(client.begin()) == "wallet.link_reserved"
    assert await refused(client.begin(KEY.address.lower())) == "wallet.link_reserved"
    assert await refused(client.link(asked["message"])) == "wallet.link_reserved"
    assert await client.links() == []


async def test_a_gateway_that_does_not_mint_links_nothing(plain_seed: Path, tmp_path: Path) -> None:
    async with stepped_gateway(plain_seed, tmp_path) as stepped:
        client = Client(stepped, stepped.who, FakeChain())
        assert await refused(client.begin()) == "minting.off"
        assert await client.links() == []
