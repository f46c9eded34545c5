"""A player lets a game see what they own; the game equips what is bought and takes back what is returned."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_utils.crypto import keccak
from sqlalchemy import update
from typer.testing import CliRunner

from gateway.cli import app as cli
from gateway.commands import merchant as merchants
from gateway.commands import worlds as commands
from gateway.kernel.store.unit import UnitOfWork
from gateway.orders import ownership
from gateway.orders.mint_facts import MintFacts
from gateway.settings import Settings
from samples.headset.client import CommandError, Headset
from tests.support.buying import buy, ended, order_body, quote, until
from tests.support.gateway import QUICK, OpenGateway, free_port, opened, served
from tests.support.invariants import violations
from tests.support.postgres import PORT, require_server
from tests.support.seed import HARBOUR, SAMPLES, Seed
from tests.support.world_server import WorldServer, check_signature
from tests.wallets.custody.accounts_on_chain import signed
from wallets.custody.tables import custody_account
from wallets.minting.holdings import Held
from wallets.minting.model import MintOutcome, OutcomeKind, SkipCode
from wallets.minting.tables import mint


class Game:
    """A world's server that asks the gateway with its key."""

    def __init__(self, shop: OpenGateway, key: str, server: WorldServer) -> None:
        self.shop, self.key, self.server = shop, key, server
        shop.secrets.add(key)

    async def get(self, path: str, status: int = 200, **query: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = await self.shop.http.get(f"/v1/world{path}", params=query, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def items(self, player_id: str) -> list[Any]:
        return list((await self.get(f"/players/{player_id}/items"))["items"])

    async def public_keys(self) -> list[str]:
        found = (await self.shop.http.get("/v1/webhook-keys")).json()["keys"]
        return [key["public_key"] for key in found]


@pytest.fixture
async def shop(seed: Seed, tmp_path: Path) -> AsyncIterator[OpenGateway]:
    async with opened(seed, tmp_path / "data", private_webhooks=True) as found:
        yield found


async def game(shop: OpenGateway, name: str, server: WorldServer) -> Game:
    store = shop.gateway.context.store
    key = await commands.add_world(store, name, title=name.title(), webhook_url=server.url, private=True)
    return Game(shop, key, server)


async def allow(headset: Headset, world_id: str, *scopes: str) -> str:
    """Allow a world and return what it calls the player."""
    body = {"world_id": world_id, "scopes": list(scopes or ("items",))}
    return str((await headset.command("world.allow", body))["player_id"])


async def test_what_is_bought_is_equipped_at_once_and_taken_back_when_it_is_returned(
    shop: OpenGateway,
) -> None:
    ada = await shop.customer("visa")
    async with WorldServer() as server, shop.headset(ada) as headset:
        aurora = await game(shop, "aurora", server)
        player_id = await allow(headset, "aurora")
        assert (await aurora.get("/players"))["players"][0]["player_id"] == player_id
        assert await aurora.items(player_id) == []

        order_id = await buy(headset, ada, "KUPPEL-LAMP:digital")
        await headset.event("token.minted", order_id=order_id)
        minted_at = time.monotonic()
        (received,) = await server.has(1)
        assert time.monotonic() - minted_at < 1
        check_signature(received, await aurora.public_keys())
        notice = received.document
        assert notice["type"] == "item.granted"
        assert notice["data"]["player_id"] == player_id
        (item,) = await aurora.items(player_id)
        told = notice["data"]["item"]
        assert told == item, "a notice says what the list says"
        assert item["sku"] == "KUPPEL-LAMP" and item["state"] == "owned" and item["token_id"]
        model = await shop.http.get(item["model_url"])
        assert model.content[:4] == b"glTF"
        assert "wallet" not in item and "transaction_hash" not in item

        await ended(headset, order_id)
        (mine,) = (await headset.command("wallet.list", {}))["items"]
        assert to_the_second(mine["acquired_at"]) == item["acquired_at"]
        assert model.request.url.path == mine["model_url"]
        await shop.refund(order_id)
        await headset.event("order.refunded", order_id=order_id)
        _, received = await server.has(2)
        check_signature(received, await aurora.public_keys())
        notice = received.document
        assert notice["type"] == "item.revoked"
        assert notice["data"]["item_id"] == item["item_id"] and notice["data"]["reason"] == "returned"
        assert await aurora.items(player_id) == []
        pages = (await aurora.get("/notices"))["notices"]
        assert [page["id"] for page in pages] == [one.notice_id for one in server.received]
        assert [page["data"] for page in pages] == [one.document["data"] for one in server.received]
    await shop.check()


async def test_an_entitlement_is_granted_and_revoked_in_its_order(shop: OpenGateway) -> None:
    ada = await shop.customer("visa", merchant=HARBOUR)
    async with WorldServer() as server, shop.headset(ada) as headset:
        aurora = await game(shop, "aurora", server)
        player_id = await allow(headset, "aurora")
        order_id = await buy(headset, ada, "KNOTS-BOOK:digital", merchant=HARBOUR)
        await ended(headset, order_id)
        (item,) = await aurora.items(player_id)
        assert item["kind"] == "entitlement" and item["merchant"] == HARBOUR
        await shop.refund(order_id, merchant=HARBOUR)
        await server.has(2)
        assert server.types() == ["item.granted", "item.revoked"]
        assert [one.document["data"]["seq"] for one in server.received] == [1, 2]
        assert server.received[1].document["data"]["reason"] == "revoked"
        assert await aurora.items(player_id) == []
    await shop.check()


async def test_a_world_sees_its_own_players_and_nobody_else(shop: OpenGateway) -> None:
    ada, bea = await shop.customer("visa"), await shop.customer("visa")
    async with WorldServer() as one, WorldServer() as two, shop.headset(ada) as hers:
        aurora, borealis = await game(shop, "aurora", one), await game(shop, "borealis", two)
        here = await allow(hers, "aurora")
        async with shop.headset(bea) as theirs:
            there = await allow(theirs, "borealis")
            order_id = await buy(theirs, bea, "KUPPEL-LAMP:digital")
            await theirs.event("token.minted", order_id=order_id)
        await two.has(1)
        assert one.received == []
        for asked in (there, "ply_" + "0" * 32, "x" * 64):
            refused = await aurora.get(f"/players/{asked}/items", status=404)
            assert refused["code"] == "player.not_found"
        assert [one["player_id"] for one in (await aurora.get("/players"))["players"]] == [here]
        assert (await aurora.get("/notices"))["notices"] == []
        assert len((await borealis.get("/notices"))["notices"]) == 1
        # The keys of others open nothing here, and a world's key nothing elsewhere.
        for key in (ada.token, shop.keys["atelier-nord"], "vwk_unknown"):
            answer = await shop.http.get("/v1/world/players", headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == 401
        for path in ("/v1/merchant/orders", "/v1/wallet", "/v1/worlds"):
            answer = await shop.http.get(path, headers={"Authorization": f"Bearer {aurora.key}"})
            assert answer.status_code == 401
    await shop.check()


async def test_two_worlds_cannot_tell_that_they_have_a_player_in_common(shop: OpenGateway) -> None:
    ada = await shop.customer("visa")
    async with WorldServer() as one, WorldServer() as two, shop.headset(ada) as headset:
        aurora, borealis = await game(shop, "aurora", one), await game(shop, "borealis", two)
        here, there = await allow(headset, "aurora"), await allow(headset, "borealis")
        order_id = await buy(headset, ada, "KNOTS-BOOK:digital", merchant=HARBOUR)
        await ended(headset, order_id)
        ((left,), (right,)) = await aurora.items(here), await borealis.items(there)
        assert here != there and left["item_id"] != right["item_id"]
        (mine,) = await one.has(1)
        (theirs,) = await two.has(1)
        for received in (mine, theirs):
            for hidden in (ada.customer_id, order_id, "leg_", "ord_", "cus_"):
                assert hidden.encode() not in received.body
        assert mine.notice_id != theirs.notice_id
        refused = await aurora.get(f"/players/{here}/items", status=400, after=right["item_id"])
        assert refused["code"] == "message.invalid"
    await shop.check()


async def test_after_a_revoked_consent_the_world_finds_no_such_player_and_hears_nothing(
    shop: OpenGateway,
) -> None:
    ada = await shop.customer("visa")
    async with WorldServer() as server, shop.headset(ada) as headset:
        aurora = await game(shop, "aurora", server)
        player_id = await allow(headset, "aurora")
        first = await buy(headset, ada, "KUPPEL-LAMP:digital")
        await headset.event("token.minted", order_id=first)
        await server.has(1)
        await headset.command("world.revoke", {"world_id": "aurora"}, key="revoke")
        await aurora.get(f"/players/{player_id}", status=404)
        await aurora.get(f"/players/{player_id}/items", status=404)
        second = await buy(headset, ada, "KUPPEL-LAMP:digital")
        await ended(headset, second)
        # Nor is what happened before told now; allowing again gives the same name and what is owned.
        assert (await aurora.get("/notices"))["notices"] == []
        assert (await headset.command("world.list"))["worlds"][0]["state"] == "revoked"
        again = await headset.command("world.allow", {"world_id": "aurora"}, key="again")
        assert again["player_id"] == player_id and again["state"] == "allowed"
        assert len(await aurora.items(player_id)) == 2
        assert len(server.received) == 1
        # The answer to a repeated key does not undo what came after it.
        await headset.command("world.revoke", {"world_id": "aurora"}, key="revoke-2")
        repeated = await headset.command("world.allow", {"world_id": "aurora"}, key="again")
        assert repeated["replayed"] and repeated["state"] == "revoked"
        await aurora.get(f"/players/{player_id}", status=404)
    await shop.check()


async def test_a_token_for_one_world_speaks_for_that_world_alone(shop: OpenGateway) -> None:
    ada = await shop.customer("visa")
    issued = await shop.merchant(
        "POST", f"/customers/{ada.customer_id}/device-tokens", json={"world_id": "aurora"}
    )
    shop.secrets.add(issued["token"])
    async with WorldServer() as server, shop.headset(ada) as own:
        await game(shop, "aurora", server)
        await game(shop, "borealis", server)
        await allow(own, "borealis")
        async with shop.headset(ada, token=issued["token"]) as inside:
            player_id = await allow(inside, "aurora")
            for command in ("world.allow", "world.revoke"):
                with pytest.raises(CommandError) as refused:
                    await inside.command(command, {"world_id": "borealis"})
                assert refused.value.code == "world.other"
            seen = (await inside.command("world.list"))["worlds"]
            assert [(one["world_id"], one["player_id"]) for one in seen] == [("aurora", player_id)]
        with pytest.raises(CommandError) as refused:
            await own.command("world.allow", {"world_id": "nowhere"})
        assert refused.value.code == "world.not_found"
    await shop.check()


async def test_wallets_are_shown_only_to_worlds_that_may_see_them(shop: OpenGateway) -> None:
    ada = await shop.customer("visa")
    async with WorldServer() as one, WorldServer() as two, shop.headset(ada) as headset:
        aurora, borealis = await game(shop, "aurora", one), await game(shop, "borealis", two)
        plain = await allow(headset, "aurora")
        trusted = await allow(headset, "borealis", "items", "wallets")
        order_id = await buy(headset, ada, "KUPPEL-LAMP:digital")
        await headset.event("token.minted", order_id=order_id)
        address = (await headset.command("wallet.list"))["address"]
        page = await borealis.get(f"/players/{trusted}/items")
        assert page["wallets"] == [{"kind": "account", "address": address, "chain_id": None}]
        assert page["items"][0]["wallet"] == address
        (told,) = await two.has(1)
        assert told.document["data"]["item"]["wallet"] == address
        page = await aurora.get(f"/players/{plain}/items")
        (told,) = await one.has(1)
        assert address not in str(page) and address.encode() not in told.body
    await shop.check()


async def test_a_server_that_is_away_holds_up_nobody_and_gets_all_when_it_is_back(shop: OpenGateway) -> None:
    ada = await shop.customer("visa")
    down = True
    async with (
        WorldServer(answer=lambda received: 503 if down else 204) as away,
        WorldServer(answer=lambda received: None) as hangs,
        WorldServer() as well,
        shop.headset(ada) as headset,
    ):
        for name, server in (("away", away), ("hangs", hangs), ("well", well)):
            await game(shop, name, server)
            await allow(headset, name)
        orders = [await buy(headset, ada, "KUPPEL-LAMP:digital") for _ in range(3)]
        for order_id in orders:
            await ended(headset, order_id)
        await well.has(3, within_s=2)
        assert len({one.notice_id for one in well.received}) == 3
        assert hangs.most_open == 1  # in order: the second waits for the first
        down = False
        await away.until(lambda: len({one.notice_id for one in away.received}) == 3, within_s=15)
        numbers = [one.document["data"]["seq"] for one in away.received]
        assert numbers == sorted(numbers)


async def test_a_notice_that_was_not_sent_survives_a_restart_and_keeps_its_id(shop: OpenGateway) -> None:
    ada = await shop.customer("visa")
    async with WorldServer(answer=lambda received: None) as server:
        async with shop.headset(ada) as headset:
            await game(shop, "aurora", server)
            await allow(headset, "aurora")
            order_id = await buy(headset, ada, "KUPPEL-LAMP:digital")
            await ended(headset, order_id)
            (before,) = await server.has(1)
        server.answer = lambda received: 204
        await shop.restart()
        _, after = await server.has(2)
        assert after.notice_id == before.notice_id and after.body == before.body

        async def is_delivered() -> bool:
            return shop.evidence.count("webhook_notice", "state = 'delivered'") == 1

        await until(is_delivered)
    await shop.check()


async def test_a_token_that_is_lost_in_a_reorganization_is_taken_back(seed: Seed, tmp_path: Path) -> None:
    async with opened(seed, tmp_path / "data", private_webhooks=True, confirmations=50) as shop:
        ada = await shop.customer("visa")
        async with WorldServer() as server, shop.headset(ada) as headset:
            aurora = await game(shop, "aurora", server)
            player_id = await allow(headset, "aurora")
            order_id = await buy(headset, ada, "KUPPEL-LAMP:digital")
            await ended(headset, order_id)
            (item,) = await aurora.items(player_id)
            await _record(shop, OutcomeKind.REOPENED, "sent")
            (item,) = await aurora.items(player_id)
            assert item["state"] == "unsettled", "its block is gone, and it will be in another one"
            await _record(shop, OutcomeKind.SKIPPED, "skipped")
            await headset.event("order.refunded", order_id=order_id)
            await server.has(2)
            assert server.types() == ["item.granted", "item.revoked"]
            lost = server.received[1].document["data"]
            assert lost["item_id"] == item["item_id"] and lost["reason"] == "lost"
            assert await aurora.items(player_id) == []


async def _record(shop: OpenGateway, kind: OutcomeKind, mint_state: str) -> None:
    """Record what a lane would record of a reorganization."""
    (leg,) = shop.evidence.rows("SELECT * FROM leg")
    outcome = MintOutcome(
        leg["leg_id"], leg["order_id"], kind, 1, None, "0x0", 1, skip_reason=SkipCode.SOLD_OUT
    )
    facts = MintFacts(shop.gateway.context.process)

    def record(uow: UnitOfWork) -> None:
        uow.core(update(mint).values(state=mint_state, skip_reason=None))
        facts.record(uow, [outcome])

    await shop.gateway.context.store.write(record)


async def test_a_token_in_another_wallet_of_the_player_is_told_as_moved(shop: OpenGateway) -> None:
    ada = await shop.customer("visa")
    async with WorldServer() as one, WorldServer() as two, shop.headset(ada) as headset:
        aurora, borealis = await game(shop, "aurora", one), await game(shop, "borealis", two)
        player_id = await allow(headset, "aurora")
        await allow(headset, "borealis", "items", "wallets")
        order_id = await buy(headset, ada, "KUPPEL-LAMP:digital")
        await ended(headset, order_id)
        (leg,) = shop.evidence.rows("SELECT * FROM leg")
        source, target = "0x" + "11" * 20, "0x" + "22" * 20
        await shop.gateway.context.store.write(
            lambda uow: ownership.moved(uow, leg["leg_id"], source=source, target=target)
        )
        plain, trusted = (await one.has(2))[1].document, (await two.has(2))[1].document
        assert plain["type"] == trusted["type"] == "item.moved"
        assert trusted["data"]["from"] == source and trusted["data"]["to"] == target
        assert target not in str(plain) and source not in str(plain)
        assert plain["data"]["item"]["item_id"] == (await aurora.items(player_id))[0]["item_id"]
        assert len((await borealis.get("/notices"))["notices"]) == 2
    await shop.stop()


async def test_what_has_left_a_wallet_of_the_players_own_is_not_listed(
    shop: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await shop.customer("visa")
    async with WorldServer() as server, shop.headset(ada) as headset:
        aurora = await game(shop, "aurora", server)
        player_id = await allow(headset, "aurora", "items", "wallets")
        order_id = await buy(headset, ada, "KUPPEL-LAMP:digital:2")
        await ended(headset, order_id)
        (item,) = await aurora.items(player_id)
        assert "verified_at" not in item, "we hold the key: nobody else can have moved it"
        # The customer takes the key of their account: it is a wallet like any outside from now on.
        await shop.gateway.context.store.write(
            lambda uow: uow.core(update(custody_account).values(exported_at_ms=uow.now_ms))
        )
        (item,) = await aurora.items(player_id)
        assert item["verified_at"] and item["quantity"] == 2, "asked of the chain"

        class Left:
            def __init__(self, amount: int | None) -> None:
                self.amount = amount

            async def held(self, asked: Any) -> Any:
                now_ms = shop.gateway.context.clock.now_ms()
                return {} if self.amount is None else {key: Held(self.amount, now_ms) for key in asked}

        holdings = shop.gateway.context.holdings
        for amount, quantity in ((1, 1), (5, 2), (None, 2)):
            monkeypatch.setattr(holdings, "held", Left(amount).held)
            (item,) = await aurora.items(player_id)
            assert item["quantity"] == quantity and (item["verified_at"] is None) == (amount is None)
        monkeypatch.setattr(holdings, "held", Left(0).held)
        assert await aurora.items(player_id) == []
        # Copies of an open edition are alike: what is left is shared out once, also over pages.
        await ended(headset, await buy(headset, ada, "KUPPEL-LAMP:digital:2"))
        monkeypatch.setattr(holdings, "held", Left(3).held)
        found, after = [], {}
        for _ in range(2):
            page = await aurora.get(f"/players/{player_id}/items", limit=1, **after)
            found += [item["quantity"] for item in page["items"]]
            after = {"after": page["next"]}
        assert found == [2, 1]
    await shop.stop()


async def test_a_token_in_a_linked_wallet_belongs_to_whoever_has_linked_it(shop: OpenGateway) -> None:
    ada, bea = await shop.customer("visa"), await shop.customer("visa")
    own = Account.from_key(keccak(text="a wallet that two worlds see"))
    async with WorldServer() as server, shop.headset(ada) as hers, shop.headset(bea) as theirs:
        aurora = await game(shop, "aurora", server)
        here, there = await allow(hers, "aurora", "items", "wallets"), await allow(theirs, "aurora")
        wallet_id = await link(hers, own)
        quoted = await quote(hers, "KUPPEL-LAMP:digital")
        body = order_body(quoted, ada.methods["visa"]) | {"mint_to": {"wallet_id": wallet_id}}
        order_id = (await hers.command("order.place", body))["order_id"]
        await ended(hers, order_id)
        await server.has(2)
        assert server.types() == ["items.changed", "item.granted"]
        told = server.received[1].document["data"]["item"]
        assert told["wallet"] == own.address
        page = await aurora.get(f"/players/{here}/items")
        (item,) = page["items"]
        assert item.pop("verified_at"), "the chain was asked"
        assert told == item
        assert [one["kind"] for one in page["wallets"]] == ["account", "linked"]

        (mine,) = (await hers.command("wallet.list", {}))["items"]
        assert mine["wallet"] == {"kind": "linked", "wallet_id": wallet_id, "address": own.address}
        assert to_the_second(mine["acquired_at"]) == item["acquired_at"]
        await hers.command("wallet.unlink", {"wallet_id": wallet_id}, key="unlink")
        await server.has(3)
        (mine,) = (await hers.command("wallet.list", {}))["items"]
        assert mine["wallet"] == {"kind": "outside", "wallet_id": None, "address": own.address}
        assert server.types()[2] == "items.changed"
        assert await aurora.items(here) == []
        await link(theirs, own)
        await server.has(4)
        assert server.received[3].document["data"]["player_id"] == there
        (same,) = await aurora.items(there)
        assert same["token_id"] == item["token_id"] and same["item_id"] != item["item_id"]
        assert "wallet" not in same
    await shop.check()


def to_the_second(time: str) -> str:
    """Cut the milliseconds off, as worlds are told times."""
    return f"{time[:19]}.000Z" if "." in time else time


async def link(headset: Headset, own: Any) -> str:
    """Link a wallet of the customer's own and return its id."""
    asked = await headset.command("wallet.link.begin", {"address": own.address})
    body = {"message": asked["message"], "signature": signed(own, asked["message"])}
    return str((await headset.command("wallet.link", body))["wallet"]["wallet_id"])


async def test_consents_over_http_are_those_over_the_socket(shop: OpenGateway) -> None:
    ada = await shop.customer("visa")
    headers = {"Authorization": f"Bearer {ada.token}"}
    async with WorldServer() as server, shop.headset(ada) as headset:
        aurora = await game(shop, "aurora", server)
        body = {"scopes": ["items"], "expires_at": "2999-01-01T00:00:00Z"}
        answer = await shop.http.put("/v1/worlds/aurora", headers=headers, json=body)
        assert answer.json()["code"] == "idempotency.key_required"
        keyed = {**headers, "Idempotency-Key": "one"}
        allowed = (await shop.http.put("/v1/worlds/aurora", headers=keyed, json=body)).json()
        assert (await headset.event("world.allowed"))["body"]["player_id"] == allowed["player_id"]
        assert (await headset.command("world.list"))["worlds"] == [
            {name: value for name, value in allowed.items() if name != "replayed"}
        ]
        for wrong in (
            {"scopes": []},
            {"scopes": ["wallets"]},
            {"scopes": ["items", "items"]},
            {"scopes": ["items", "money"]},
            {"expires_at": "2001-01-01T00:00:00Z"},
            {"expires_at": "2999-13-01T00:00:00Z"},
            {"expires_at": "tomorrow"},
        ):
            keyed = {**headers, "Idempotency-Key": str(wrong)[:200]}
            answer = await shop.http.put("/v1/worlds/aurora", headers=keyed, json=wrong)
            assert answer.status_code == 400 and answer.json()["code"] == "message.invalid", wrong
        keyed = {**headers, "Idempotency-Key": "two"}
        answer = await shop.http.delete("/v1/worlds/aurora", headers=keyed)
        assert answer.json()["state"] == "revoked"
        await headset.event("world.revoked")
        answer = await shop.http.delete("/v1/worlds/nowhere", headers={**headers, "Idempotency-Key": "three"})
        assert answer.json()["code"] == "world.not_allowed"
        await aurora.get(f"/players/{allowed['player_id']}", status=404)
    await shop.check()


@pytest.mark.timeout(120)
async def test_a_killed_gateway_loses_no_notice_and_sends_none_under_two_ids(
    seed: Seed, tmp_path: Path
) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    async with (
        WorldServer(answer=lambda received: None) as server,
        served(seed, folder, private_webhooks=True) as shop,
    ):
        # Beside the running gateway, as an operator does.
        runner = CliRunner(env={"VITRINE_PRIVATE_WEBHOOKS": "on"})
        given = ["worlds", "add", "aurora", "--webhook", server.url, "--data-dir", str(shop.data_dir)]
        added = await asyncio.to_thread(runner.invoke, cli, given)
        assert added.exit_code == 0, added.output
        shop.secrets.add(added.stdout.strip())
        ada = await shop.customer("visa")
        async with shop.headset(ada) as headset:
            await allow(headset, "aurora")
            for _ in range(3):
                order_id = await buy(headset, ada, "KUPPEL-LAMP:digital")
                await headset.event("token.minted", order_id=order_id)
            (before,) = await server.has(1)
        shop.kill()
        server.answer = lambda received: 204
        shop.start()
        await shop.until_ready()
        await server.has(4, within_s=10)
        assert server.received[1].notice_id == before.notice_id
        assert server.received[1].body == before.body
        numbers = [one.document["data"]["seq"] for one in server.received[1:]]
        assert numbers == [1, 2, 3]
        await shop.at_rest()
        shop.terminate()
        found = await asyncio.to_thread(violations, shop.data_dir, secrets=shop.secrets)
        assert not found, "\n".join(map(str, found))


async def test_on_postgresql_a_world_is_told_the_same(tmp_path: Path) -> None:
    database = require_server()
    name = database.create_database()
    url = f"postgresql://vitrine@/{name}?host={database.folder}&port={PORT}"
    port = free_port()
    shop = OpenGateway(f"http://127.0.0.1:{port}", {}, tmp_path / "data")
    settings = Settings(
        data_dir=shop.data_dir, database_url=url, port=port, mint=False, private_webhooks=True, **QUICK
    )
    await shop.start(settings)
    try:
        context = shop.gateway.context
        await merchants.import_catalog(context, SAMPLES / HARBOUR)
        merchant = context.catalog.current.merchant_by_slug(HARBOUR)
        shop.keys[HARBOUR] = await merchants.create_api_key(context, merchant.merchant_id, "tests")
        ada = await shop.customer("visa", merchant=HARBOUR)
        async with WorldServer() as server, shop.headset(ada) as headset:
            aurora = await game(shop, "aurora", server)
            player_id = await allow(headset, "aurora")
            orders = [await buy(headset, ada, "KNOTS-BOOK:digital", merchant=HARBOUR) for _ in range(2)]
            for order_id in orders:
                await ended(headset, order_id)
            await server.has(2)
            assert len(await aurora.items(player_id)) == 2
            await shop.refund(orders[0], merchant=HARBOUR)
            (_, _, last) = await server.has(3)
            check_signature(last, await aurora.public_keys())
            assert server.types() == ["item.granted", "item.granted", "item.revoked"]
            page = await aurora.get(f"/players/{player_id}/items", limit=1)
            assert len(page["items"]) == 1 and page["next"] is None and page["seq"] == 3
            await headset.command("world.revoke", {"world_id": "aurora"})
            assert (await aurora.get("/notices"))["notices"] == []
    finally:
        await shop.http.aclose()
        await shop.stop()
        database.drop_database(name)


async def test_items_and_notices_come_in_pages(shop: OpenGateway) -> None:
    ada = await shop.customer("visa", merchant=HARBOUR)
    async with WorldServer() as server, shop.headset(ada) as headset:
        aurora = await game(shop, "aurora", server)
        player_id = await allow(headset, "aurora")
        for item in ("KNOTS-BOOK", "LAGOON-HAT", "KNOTS-BOOK", "LAGOON-HAT", "KNOTS-BOOK"):
            order_id = await buy(headset, ada, f"{item}:digital", merchant=HARBOUR)
            await ended(headset, order_id)
        await server.has(5)
        found, after = [], {}
        for expected in (2, 2, 1):
            page = await aurora.get(f"/players/{player_id}/items", limit=2, **after)
            assert len(page["items"]) == expected
            found += [item["sku"] for item in page["items"]]
            after = {"after": page["next"]}
        assert found == ["KNOTS-BOOK", "LAGOON-HAT", "KNOTS-BOOK", "LAGOON-HAT", "KNOTS-BOOK"]
        assert page["next"] is None and page["seq"] == 5
        first = await aurora.get("/notices", limit=3)
        assert [one["data"]["seq"] for one in first["notices"]] == [1, 2, 3] and first["more"]
        rest = await aurora.get("/notices", after=first["next"])
        assert [one["data"]["seq"] for one in rest["notices"]] == [4, 5] and not rest["more"]
        assert (await aurora.get("/notices", after=rest["next"]))["next"] == 5
        about = await aurora.get("")
        assert about["seq"] == 5 and about["webhook_url"] == server.url
        for wrong in ({"after": "x"}, {"limit": 0}, {"limit": 101}):
            refused = await aurora.get(f"/players/{player_id}/items", status=400, **wrong)
            assert refused["code"] == "message.invalid"
    await shop.check()
