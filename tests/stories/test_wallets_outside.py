"""Tokens into wallets that customers brought: paid first, minted on the real chain, refused and chosen anew."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from eth_account import Account
from eth_utils.crypto import keccak

from samples.headset.client import CommandError, Headset
from tests.faults.recovery_victim import AFTER, BEFORE, serve_on, serve_until
from tests.support.buying import ended, legs, order_body, quote, show, told
from tests.support.gateway import Customer, OpenGateway, served
from tests.support.invariants import violations
from tests.support.paper_lane import link_unasked
from tests.support.seed import Seed
from tests.wallets.custody.accounts_on_chain import signed

LAMP = "KUPPEL-LAMP:digital"
OWN = Account.from_key(keccak(text="a wallet that is bought into"))
PLAIN = "0x" + "5a" * 20
"""An address without code, which takes every token."""


async def link(shop: OpenGateway, customer: Customer, wallet_id: str, address: str) -> None:
    """Link a wallet without asking anybody."""
    assert shop.gateway.minting is not None
    row = {
        "wallet_id": wallet_id,
        "customer_id": customer.customer_id,
        "chain_id": shop.gateway.minting.chain_id,
        "address": address,
        "kind": "contract",
        "message": "",
        "signature": "",
        "linked_at_ms": 0,
    }
    await shop.gateway.context.store.write(lambda uow: link_unasked(uow, row))


async def buy_into(headset: Headset, customer: Customer, wallet_id: str, *items: str) -> str:
    quoted = await quote(headset, *(items or (LAMP,)))
    body = order_body(quoted, customer.methods["visa"]) | {"mint_to": {"wallet_id": wallet_id}}
    return str((await headset.command("order.place", body))["order_id"])


async def test_a_token_is_minted_into_the_wallet_that_was_chosen_and_paid_for_before(
    shop: OpenGateway,
) -> None:
    customer = await shop.customer("visa")
    await link(shop, customer, "wal_mine", PLAIN)
    async with shop.headset(customer) as headset:
        order_id = await buy_into(headset, customer, "wal_mine")
        await ended(headset, order_id)
        types = told(headset, order_id)
        assert types.index("payment.captured") < types.index("token.minted")
        leg = legs(await show(headset, order_id))["mint"]
        assert (leg["wallet_id"], leg["recipient"], leg["state"]) == ("wal_mine", PLAIN, "captured")
        # Nobody here can take it back, and nothing waits for that.
        with pytest.raises(AssertionError, match="return_needs_holder"):
            await shop.refund(order_id)
    await shop.check()


async def test_a_wallet_that_refuses_is_changed_for_another_one(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    assert shop.gateway.minting is not None
    # A contract that does not take tokens: the token's own.
    await link(shop, customer, "wal_deaf", shop.gateway.minting.contract)
    await link(shop, customer, "wal_mine", PLAIN)
    async with shop.headset(customer) as headset:
        order_id = await buy_into(headset, customer, "wal_deaf", LAMP, "FJORD-MUG:physical")
        refused = await headset.event("token.undelivered", order_id=order_id)
        assert refused["body"]["reason"] == "receiver_refused"
        leg = legs(await show(headset, order_id))["mint"]
        assert (leg["state"], leg["choose_by"]) == ("undelivered", refused["body"]["choose_by"])
        # The mug is on its way whatever becomes of the token.
        await headset.event("shipment.delivered", order_id=order_id)
        body = {"order_id": order_id, "leg_id": leg["leg_id"], "wallet_id": "wal_mine"}
        first = await headset.command("order.choose_wallet", body, key="choice")
        again = await headset.command("order.choose_wallet", body, key="choice")
        assert not first["replayed"] and again["replayed"]
        await ended(headset, order_id)
        assert told(headset, order_id).count("token.minted") == 1
        assert legs(await show(headset, order_id))["mint"]["recipient"] == PLAIN
    await shop.check()
    assert shop.effects() == ["authorize", "capture", "capture"]


async def test_who_wants_no_other_wallet_gets_the_money_back(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    assert shop.gateway.minting is not None
    await link(shop, customer, "wal_deaf", shop.gateway.minting.contract)
    async with shop.headset(customer) as headset:
        order_id = await buy_into(headset, customer, "wal_deaf", "DUSK-PRINT:digital")
        await headset.event("token.undelivered", order_id=order_id)
        await headset.command("order.cancel", {"order_id": order_id})
        assert (await ended(headset, order_id))["type"] == "order.refunded"
        with pytest.raises(CommandError, match="not_undelivered"):
            leg = legs(await show(headset, order_id))["mint"]
            body = {"order_id": order_id, "leg_id": leg["leg_id"], "wallet_id": None}
            await headset.command("order.choose_wallet", body)
    await shop.check()
    assert shop.effects() == ["authorize", "capture", "refund"]


@pytest.mark.timeout(90)
@pytest.mark.parametrize("when", [BEFORE, AFTER])
@pytest.mark.parametrize(
    "point", ["captured_at_the_provider", "capture_recorded", "paid_first", "asked_to_mint", "minted"]
)
async def test_p8_a_purchase_into_a_wallet_killed_at_a_point_is_paid_and_minted_once(
    point: str, when: str, seed: Seed, tmp_path: Path
) -> None:
    async with served(seed, tmp_path) as server:
        customer = await server.customer("visa")
        async with server.headset(customer) as headset:
            asked = await headset.command("wallet.link.begin", {"address": OWN.address})
            body = {"message": asked["message"], "signature": signed(OWN, asked["message"])}
            wallet_id = (await headset.command("wallet.link", body))["wallet"]["wallet_id"]
        await asyncio.to_thread(server.terminate)
        server.start(serve_until, point, when, False)
        await server.until_ready()
        async with server.headset(customer) as headset:
            buying = asyncio.create_task(buy_into(headset, customer, wallet_id))
            await server.kills_itself()
            server.start(serve_on, False)
            order_id = await asyncio.wait_for(buying, 30)
            assert (await ended(headset, order_id, within_s=30))["type"] == "order.completed"
            types = [event["type"] for event in headset.events]
            assert types.count("token.minted") == types.count("payment.captured") == 1
            assert types.index("payment.captured") < types.index("token.minted")
        await server.at_rest(within_s=30)
        await asyncio.to_thread(server.terminate)
        found = await asyncio.to_thread(violations, server.data_dir, secrets=server.secrets)
        assert not found, "\n".join(map(str, found))
        assert server.effects() == ["authorize", "capture"]
