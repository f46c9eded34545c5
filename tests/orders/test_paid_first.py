"""Tokens into wallets outside: paid before they are asked for, and never kept without token or money."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from gateway.kernel.documents import decode, encode
from gateway.kernel.errors import ConflictError, InvalidError, NotFoundError
from gateway.kernel.store.unit import UnitOfWork
from gateway.orders.choosing import leg_due
from gateway.orders.leaving import refuse_to_give_key
from gateway.orders.mint_facts import MintFacts
from gateway.orders.tables import quote
from gateway.orders.views import order_document
from tests.support.evidence import Row
from tests.support.invariants import violations
from tests.support.paper_lane import ACCOUNT, CHAIN_ID, PaperLane
from tests.support.stepped_gateway import DAY, SteppedGateway, stepped_gateway
from wallets.minting.model import Receiver
from wallets.minting.own_calls import describe
from wallets.minting.own_code import OwnCode
from wallets.minting.own_contracts import OwnContract, put_contract
from wallets.minting.requests import define_item
from wallets.minting.tables import mint

LAMP = "KUPPEL-LAMP:digital"
BOTH = "KUPPEL-LAMP:bundle"
PRICE = 1290
DEFERRED = ("liability:deferred_revenue", "EUR")


@pytest.fixture
async def shop(plain_seed: Path, tmp_path: Path) -> AsyncIterator[SteppedGateway]:
    async with stepped_gateway(plain_seed, tmp_path) as found:
        yield found
        broken = violations(tmp_path / "data", at_rest=False)
        assert not broken, "\n".join(map(str, broken))


@pytest.fixture
async def lane(shop: SteppedGateway) -> PaperLane:
    found = PaperLane(shop)
    await found.begin()
    await found.link("wal_1")
    await found.link("wal_2")
    return found


def leg(shop: SteppedGateway, order_id: str, kind: str = "mint") -> Row:
    return shop.legs(order_id)[kind]


def minted_to(shop: SteppedGateway, order_id: str) -> list[tuple[str, str, str | None]]:
    query = "SELECT recipient, state, holder_key FROM mint WHERE order_id = ? ORDER BY leg_id"
    return [(row["recipient"], row["state"], row["holder_key"]) for row in shop.rows(query, order_id)]


async def paid(shop: SteppedGateway, *items: str, card: str = "visa", wallet: str = "wal_1") -> str:
    """Buy into a linked wallet, and let the money come in; nothing is claimed yet."""
    placed = await shop.place(*items, card=card, body={"mint_to": {"wallet_id": wallet}})
    await shop.finish_work()
    return str(placed["order_id"])


async def undelivered(shop: SteppedGateway, lane: PaperLane, *items: str) -> str:
    """Buy into a wallet that refuses tokens."""
    lane.refusing.add("0x" + b"wal_1".hex().zfill(40))
    order_id = await paid(shop, *(items or (LAMP,)))
    await lane.run()
    return order_id


async def test_the_share_is_captured_before_the_mint_is_asked_for(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    placed = await shop.place(LAMP, body={"mint_to": {"wallet_id": "wal_1"}})
    order_id = placed["order_id"]
    await shop.work()
    # Authorized, and its capture is on its way: nothing could be claimed.
    assert leg(shop, order_id)["state"] == "started"
    assert minted_to(shop, order_id) == [] and await lane.claim() == 0
    await shop.work()
    assert leg(shop, order_id)["state"] == "paid"
    address = "0x" + b"wal_1".hex().zfill(40)
    assert minted_to(shop, order_id) == [(address, "queued", None)]
    # What is paid and not delivered is owed to the customer.
    assert shop.balances("liability:%") == {DEFERRED: -PRICE}
    assert shop.order(order_id)["state"] == "confirmed"
    await lane.run()
    assert leg(shop, order_id)["state"] == "captured"
    assert DEFERRED not in shop.balances("liability:%")
    assert shop.order(order_id)["state"] == "completed"
    events = [event for event in shop.events() if event.startswith(("payment", "token", "order"))]
    assert events[-3:] == ["payment.captured", "token.minted", "order.completed"]


async def test_a_custodial_token_is_captured_after_it_is_minted_as_before(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    order_id = (await shop.place(LAMP))["order_id"]
    await shop.finish_work()
    (found,) = minted_to(shop, order_id)
    assert found[:2] == (ACCOUNT, "queued") and found[2] is not None
    assert not shop.operations(order_id, "capture")
    await lane.run()
    await shop.finish_work()
    assert shop.order(order_id)["state"] == "completed"


async def test_an_account_whose_key_was_taken_is_paid_first_too(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    await lane.export()
    order_id = (await shop.place(LAMP))["order_id"]
    await shop.finish_work()
    assert leg(shop, order_id)["state"] == "paid"
    assert minted_to(shop, order_id) == [(ACCOUNT, "queued", None)]
    await lane.run()
    assert shop.order(order_id)["state"] == "completed"


async def test_the_key_is_not_given_while_a_token_is_on_its_way_that_may_have_to_come_back(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    async def is_refused(order_id: str) -> bool:
        try:
            await shop.store.read(lambda reader: refuse_to_give_key(reader, shop.who.customer_id))
        except ConflictError as error:
            assert (error.code, error.data) == ("wallet.export_waits", {"order_ids": [order_id]})
            return True
        return False

    order_id = (await shop.place(LAMP))["order_id"]
    # Not asked for yet: it would be paid first.
    assert not await is_refused(order_id)
    await shop.work()
    assert await is_refused(order_id)
    await lane.run()
    assert leg(shop, order_id)["state"] == "fulfilled" and await is_refused(order_id)
    await shop.finish_work()
    assert not await is_refused(order_id)
    await shop.take_back(order_id)
    assert await is_refused(order_id)
    await lane.run()
    await shop.finish_work()
    assert leg(shop, order_id)["state"] == "returned" and not await is_refused(order_id)
    # What goes outside was paid first.
    await paid(shop, LAMP)
    assert not await is_refused(order_id)


async def test_a_token_that_is_found_to_be_on_a_contract_without_a_way_back_holds_up_nobody(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    order_id = (await shop.place(LAMP, card="capture_declined"))["order_id"]
    await shop.finish_work()
    # Its edition was declared after its mint was asked for.
    await shop.store.write(lambda uow: uow.core(update(mint).values(receiver="own")))
    await lane.run()
    await shop.finish_work()
    assert leg(shop, order_id)["state"] == "returning"
    assert shop.events().count("payment.stuck") == 1


@pytest.mark.parametrize("wallet", ["wal_unknown", "wal_theirs", "wal_elsewhere"])
async def test_a_wallet_that_is_not_linked_here_by_this_customer_is_refused(
    shop: SteppedGateway, lane: PaperLane, wallet: str
) -> None:
    await lane.link("wal_theirs", customer_id="cus_other")
    await lane.link("wal_elsewhere", chain_id=1)
    with pytest.raises(ConflictError) as refused:
        await shop.place(LAMP, body={"mint_to": {"wallet_id": wallet}})
    assert refused.value.code == "wallet.not_linked"
    assert not shop.rows("SELECT * FROM customer_order")


async def test_unlinking_after_the_order_was_placed_changes_nothing(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    placed = await shop.place(LAMP, body={"mint_to": {"wallet_id": "wal_1"}})
    await lane.unlink("wal_1")
    await shop.finish_work()
    await lane.run()
    assert shop.order(placed["order_id"])["state"] == "completed"
    with pytest.raises(ConflictError, match="wallet"):
        await shop.place(LAMP, body={"mint_to": {"wallet_id": "wal_1"}})


async def test_the_wallet_belongs_to_what_a_key_was_used_for(shop: SteppedGateway, lane: PaperLane) -> None:
    quoted = await shop.quote(LAMP)
    first = await shop.place_command(quoted, body={"mint_to": {"wallet_id": "wal_1"}})
    await shop.perform(first)
    other = first.model_copy(
        update={"body": first.body.model_copy(update={"mint_to": None})},
    )
    with pytest.raises(InvalidError) as refused:
        await shop.perform(other)
    assert refused.value.code == "idempotency.conflict"


async def test_what_is_not_paid_is_never_minted(shop: SteppedGateway, lane: PaperLane) -> None:
    order_id = await paid(shop, LAMP, card="capture_declined")
    assert leg(shop, order_id)["state"] == "failed"
    assert minted_to(shop, order_id) == []
    assert shop.order(order_id)["state"] == "canceled"


async def test_a_canceled_mint_gives_everything_back(shop: SteppedGateway, lane: PaperLane) -> None:
    order_id = await paid(shop, LAMP)
    await shop.cancel(order_id)
    assert await lane.claim() == 0
    await shop.finish_work()
    assert leg(shop, order_id)["state"] == "returned"
    assert shop.order(order_id)["state"] == "refunded"
    assert shop.balances("liability:%") == shop.balances("income:%") == {}
    assert "token.minted" not in shop.events()


async def test_a_wallet_is_named_only_where_something_is_minted(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    for item in ("FJORD-MUG:physical", "HALM-CHAIR:digital"):
        quoted = await shop.quote(item)
        command = await shop.place_command(quoted, body={"mint_to": {"wallet_id": "wal_1"}})
        with pytest.raises(InvalidError) as refused:
            await shop.perform(command)
        assert (refused.value.code, refused.value.param) == ("wallet.nothing_to_mint", "$.body.mint_to")
        # The quote is still to be had.
        await shop.place_quoted(quoted)


@pytest.mark.parametrize(("wallet", "may_return"), [("wal_1", False), (None, True)])
async def test_that_items_can_be_returned_is_not_said_of_a_token_outside(
    shop: SteppedGateway, lane: PaperLane, wallet: str | None, may_return: bool
) -> None:
    body = {} if wallet is None else {"mint_to": {"wallet_id": wallet}}
    order_id = str((await shop.place(LAMP, body=body))["order_id"])
    await shop.finish_work()
    await lane.run()
    with pytest.raises(ConflictError) as refused:
        await shop.cancel(order_id)
    assert refused.value.message.startswith("It is too late to cancel")
    assert ("can be returned" in refused.value.message) is may_return


async def test_a_claimed_mint_is_not_canceled_and_arrives(shop: SteppedGateway, lane: PaperLane) -> None:
    order_id = await paid(shop, LAMP)
    await lane.claim()
    with pytest.raises(ConflictError) as refused:
        await shop.cancel(order_id)
    assert refused.value.code == "order.not_cancelable"
    await lane.settle()
    assert shop.order(order_id)["state"] == "completed"
    assert not shop.operations(order_id, "refund")


async def test_a_refund_that_is_asked_for_while_the_mint_is_claimed_is_refused_not_stuck(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    order_id = await paid(shop, LAMP)
    await lane.claim()
    with pytest.raises(ConflictError) as refused:
        await shop.take_back(order_id)
    assert refused.value.code == "order.not_refundable"
    await lane.settle()
    with pytest.raises(ConflictError) as refused:
        await shop.take_back(order_id)
    assert refused.value.code == "order.return_needs_holder"
    # Money can still be given back for nothing.
    await shop.ask_refund(order_id, 300)
    await shop.finish_work()
    assert shop.intent(order_id)["refunded_minor"] == 300
    assert leg(shop, order_id)["state"] == "captured"


async def test_a_token_outside_stays_when_the_rest_of_its_order_goes_back(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    order_id = await paid(shop, LAMP, "HALM-CHAIR:digital")
    await lane.run()
    await shop.take_back(order_id)
    await shop.finish_work()
    states = {kind: row["state"] for kind, row in shop.legs(order_id).items()}
    assert states == {"mint": "captured", "entitle": "returned"}
    assert shop.order(order_id)["state"] == "completed"


async def test_a_merchants_contract_that_is_not_on_the_chain_gives_the_money_back(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    order_id = await paid(shop, LAMP)
    contract = OwnContract(
        shop.merchant.merchant_id,
        "armour",
        CHAIN_ID,
        "0xde709f2102306220921060314715629080e2fb77",
        describe("erc1155", "mint(address,uint256)", ("to", "id"), b""),
    )

    def to_armour(uow: UnitOfWork) -> None:
        define_item(
            uow,
            item_number=int(uow.core(select(mint.c.item_number)).scalar_one()),
            sku="KUPPEL-LAMP",
            cap=None,
            numbered=False,
            own_contract_id=put_contract(uow, contract),
        )
        uow.core(update(mint).values(receiver=Receiver.OWN.value))

    await shop.store.write(to_armour)

    class Chain:
        async def code(self, address: str) -> bytes:
            return b""

    facts = MintFacts(shop.context.process)
    client: Any = Chain()
    assert await OwnCode(client, shop.store, CHAIN_ID, facts.record).look() == 1
    await shop.finish_work()
    assert shop.order(order_id)["state"] == "refunded"
    assert DEFERRED not in shop.balances("liability:%")


async def test_an_edition_that_is_sold_out_on_the_chain_gives_the_money_back(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    order_id = await paid(shop, LAMP)
    lane.sold_out = True
    await lane.run()
    await shop.finish_work()
    assert leg(shop, order_id)["state"] == "returned"
    assert shop.order(order_id)["state"] == "refunded"
    assert "order.leg_failed" in shop.events() and "token.undelivered" not in shop.events()


async def test_what_costs_nothing_is_not_captured_and_still_goes_outside(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    quoted = await shop.quote(LAMP)
    await shop.store.write(_cost_nothing)
    command = await shop.place_command(quoted, body={"mint_to": {"wallet_id": "wal_1"}})
    order_id = (await shop.perform(command))["order_id"]
    await shop.finish_work()
    assert (leg(shop, order_id)["state"], shop.operations(order_id, "capture")) == ("paid", [])
    await lane.run()
    assert shop.order(order_id)["state"] == "completed"


# --- Another wallet ---------------------------------------------------------------------------------


async def test_a_refused_token_waits_for_another_wallet(shop: SteppedGateway, lane: PaperLane) -> None:
    order_id = await undelivered(shop, lane)
    found = leg(shop, order_id)
    assert found["state"] == "undelivered"
    assert found["due_at_ms"] == shop.clock.now_ms() + 14 * DAY
    shown = await shop.store.read(
        lambda reader: order_document(reader, order_id, customer_id=shop.who.customer_id, merchant_id=None)
    )
    assert "choose_by" in shown["lines"][0]["legs"][0]
    assert shop.order(order_id)["state"] == "confirmed"
    await shop.choose_wallet(order_id, found["leg_id"], "wal_2")
    assert leg(shop, order_id)["state"] == "paid"
    await lane.run()
    assert minted_to(shop, order_id) == [("0x" + b"wal_2".hex().zfill(40), "final", None)]
    assert leg(shop, order_id)["wallet_id"] == "wal_2"
    assert shop.order(order_id)["state"] == "completed"
    assert len(shop.operations(order_id, "capture")) == 1


async def test_the_account_here_can_be_chosen_instead_and_its_token_can_be_returned(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    order_id = await undelivered(shop, lane)
    await shop.choose_wallet(order_id, leg(shop, order_id)["leg_id"], None)
    await lane.run()
    (found,) = minted_to(shop, order_id)
    assert found[:2] == (ACCOUNT, "final") and found[2] is not None
    await shop.take_back(order_id)
    await lane.run()
    await shop.finish_work()
    assert shop.order(order_id)["state"] == "refunded"


async def test_a_wallet_that_refuses_again_leaves_the_choice_open(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    order_id = await undelivered(shop, lane)
    lane.refusing.add("0x" + b"wal_2".hex().zfill(40))
    leg_id = leg(shop, order_id)["leg_id"]
    await shop.choose_wallet(order_id, leg_id, "wal_2")
    # It was claimed once: only what becomes of it decides now.
    with pytest.raises(ConflictError):
        await shop.cancel(order_id)
    await lane.run()
    assert leg(shop, order_id)["state"] == "undelivered"
    await shop.choose_wallet(order_id, leg_id, None)
    await lane.run()
    assert shop.order(order_id)["state"] == "completed"


async def test_only_one_of_two_choices_counts(shop: SteppedGateway, lane: PaperLane) -> None:
    order_id = await undelivered(shop, lane)
    leg_id = leg(shop, order_id)["leg_id"]
    await shop.choose_wallet(order_id, leg_id, "wal_2")
    with pytest.raises(ConflictError) as refused:
        await shop.choose_wallet(order_id, leg_id, None)
    assert refused.value.code == "leg.not_undelivered"
    await lane.run()
    assert leg(shop, order_id)["wallet_id"] == "wal_2"


async def test_a_choice_names_a_leg_of_the_order_and_a_wallet_of_the_customer(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    order_id = await undelivered(shop, lane)
    with pytest.raises(NotFoundError):
        await shop.choose_wallet(order_id, "leg_x", "wal_2")
    with pytest.raises(ConflictError) as refused:
        await shop.choose_wallet(order_id, leg(shop, order_id)["leg_id"], "wal_x")
    assert refused.value.code == "wallet.not_linked"
    assert leg(shop, order_id)["state"] == "undelivered"


async def test_who_wants_the_money_back_instead_cancels(shop: SteppedGateway, lane: PaperLane) -> None:
    order_id = await undelivered(shop, lane)
    leg_id = leg(shop, order_id)["leg_id"]
    await shop.cancel(order_id, leg_id)
    with pytest.raises(ConflictError):
        await shop.choose_wallet(order_id, leg_id, "wal_2")
    await shop.finish_work()
    assert shop.order(order_id)["state"] == "refunded"
    assert shop.intent(order_id)["refunded_minor"] == PRICE


async def test_after_the_deadline_the_money_goes_back_by_itself(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    order_id = await undelivered(shop, lane)
    await shop.wait(14 * DAY - 1)
    assert leg(shop, order_id)["state"] == "undelivered"
    await shop.wait(1)
    await shop.finish_work()
    assert leg(shop, order_id)["state"] == "returned"
    assert shop.order(order_id)["state"] == "refunded"
    assert len(shop.operations(order_id, "refund")) == 1


async def test_a_choice_and_the_deadline_meet_on_the_leg(shop: SteppedGateway, lane: PaperLane) -> None:
    order_id = await undelivered(shop, lane)
    leg_id = leg(shop, order_id)["leg_id"]
    shop.clock.advance(14 * DAY)
    # The sweep has read the leg before the choice, and comes after it.
    await shop.choose_wallet(order_id, leg_id, "wal_2")
    await shop.store.write(lambda uow: leg_due(uow, order_id, leg_id, shop.context.process))
    assert leg(shop, order_id)["state"] == "paid"
    await lane.run()
    await shop.finish_work()
    assert shop.order(order_id)["state"] == "completed"
    assert not shop.operations(order_id, "refund")


async def test_a_part_that_was_refunded_before_delivery_is_never_earned(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    order_id = await undelivered(shop, lane)
    await shop.ask_refund(order_id, 290)
    await shop.finish_work()
    assert shop.balances("liability:%") == {DEFERRED: -1000}
    assert shop.balances("income:%") == {}
    await shop.choose_wallet(order_id, leg(shop, order_id)["leg_id"], None)
    await lane.run()
    earned = sum((*shop.balances("income:%").values(), *shop.balances("liability:vat%").values()))
    assert earned == -1000
    assert DEFERRED not in shop.balances("liability:%")
    await shop.take_back(order_id)
    await lane.run()
    await shop.finish_work()
    assert shop.balances("income:%") == shop.balances("liability:%") == {}


async def test_what_was_paid_back_in_whole_before_it_was_delivered_is_not_delivered_any_more(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    order_id = await undelivered(shop, lane)
    leg_id = leg(shop, order_id)["leg_id"]
    await shop.ask_refund(order_id)
    # The money is on its way: nobody has the token for nothing.
    with pytest.raises(ConflictError) as refused:
        await shop.choose_wallet(order_id, leg_id, "wal_2")
    assert refused.value.code == "leg.not_undelivered"
    await shop.finish_work()
    assert leg(shop, order_id)["state"] == "returned"
    assert shop.order(order_id)["state"] == "refunded"
    assert shop.balances("income:%") == shop.balances("liability:%") == {}


async def test_what_is_being_paid_back_when_its_period_ends_is_not_delivered_meanwhile(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    placed = await shop.place(LAMP, body={"digital_start": "after_withdrawal_period"})
    order_id = placed["order_id"]
    await shop.finish_work()
    await shop.wait(13 * DAY)
    await shop.ask_refund(order_id)
    await shop.wait(8 * DAY)
    assert await lane.claim() == 0
    await shop.finish_work()
    assert shop.order(order_id)["state"] == "refunded"


async def test_a_queued_mint_that_was_paid_back_in_whole_is_taken_out_of_the_queue(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    order_id = await paid(shop, LAMP)
    await shop.ask_refund(order_id)
    await shop.finish_work()
    assert await lane.claim() == 0
    assert shop.order(order_id)["state"] == "refunded"


# --- With other legs --------------------------------------------------------------------------------


async def test_a_bundle_that_is_all_or_nothing_is_paid_for_once_its_parcel_is_promised(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    order_id = await paid(shop, BOTH)
    assert leg(shop, order_id)["state"] == "secured"
    await shop.ship()
    await shop.finish_work()
    assert leg(shop, order_id)["state"] == "paid"
    await lane.run()
    await shop.deliver()
    assert shop.order(order_id)["state"] == "completed"


async def test_a_token_that_is_not_minted_takes_the_parcel_of_its_line_back(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    order_id = await paid(shop, BOTH)
    await shop.ship()
    await shop.finish_work()
    lane.sold_out = True
    await lane.run()
    assert leg(shop, order_id, "ship")["state"] == "canceling"
    await shop.deliver()
    states = {kind: row["state"] for kind, row in shop.legs(order_id).items()}
    assert states == {"mint": "returned", "ship": "canceled"}
    assert shop.order(order_id)["state"] == "refunded"


async def test_a_parcel_is_not_canceled_once_the_token_of_its_line_is_outside(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    order_id = await paid(shop, BOTH)
    await shop.ship()
    await shop.finish_work()
    await lane.claim()
    with pytest.raises(ConflictError):
        await shop.cancel(order_id)
    await lane.settle()
    assert (leg(shop, order_id)["state"], leg(shop, order_id, "ship")["state"]) == ("captured", "accepted")
    with pytest.raises(ConflictError) as refused:
        await shop.cancel(order_id)
    assert refused.value.code == "order.not_cancelable"
    await shop.deliver()
    assert shop.order(order_id)["state"] == "completed"


async def test_a_token_that_was_lost_with_its_block_is_paid_back(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    order_id = await paid(shop, LAMP)
    await lane.claim()
    await lane.settle(final=False)
    assert shop.order(order_id)["state"] == "completed"
    await lane.lose()
    await shop.finish_work()
    assert leg(shop, order_id)["state"] == "returned"
    assert shop.order(order_id)["state"] == "refunded"
    assert shop.balances("income:%") == shop.balances("liability:%") == {}


def _cost_nothing(uow: UnitOfWork) -> None:
    """Make what is quoted a gift."""
    (row,) = uow.core(select(quote.c.plan))
    plan = decode(row.plan)
    plan |= {"total_minor": 0, "tax_minor": 0}
    for line in plan["lines"]:
        line |= {"unit_price_minor": 0, "total_minor": 0}
    for each in plan["legs"]:
        each |= {"amount_minor": 0, "tax_minor": 0}
    uow.core(quote.update().values(total_minor=0, plan=encode(plan)))
