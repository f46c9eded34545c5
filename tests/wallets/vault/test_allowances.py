"""Scopes, limits and standing allowances (V26), through a whole vault."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import ConflictError, InvalidError, NotFoundError
from gateway.kernel.money import Money
from tests.wallets.vault.shop import CUSTOMER, HOUR_MS, ORDER, Shop, eur, refused
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.port import (
    AllowanceId,
    AllowanceReason,
    AllowanceTerms,
    Authorize,
    Increment,
    Initiation,
    Limit,
    OperationResult,
    OperationStatus,
    SpentItem,
)
from wallets.vault.providers import test_cards

S = OperationStatus


@pytest.fixture
def vault(own_vault: EmbeddedVault) -> EmbeddedVault:
    """In this process; `test_allowances_apart` asks both through the port."""
    return own_vault


WORLD: dict[str, Any] = {
    "world_id": "wld_1",
    "session_id": "ses_1",
    "device_key": "thumbprint",
    "items": (SpentItem("hats", eur(300)),),
}


async def in_a_world(shop: Shop, **changes: Any) -> AllowanceTerms:
    """Terms with every scope of a world, for many orders."""
    terms = shop.terms(
        await shop.method(),
        eur(2_000),
        order_id=None,
        reason=AllowanceReason.RECURRING,
        channel=frozenset({"ar", "metaverse"}),
        max_uses=100,
        expires_at_ms=shop.clock.now_ms() + 30 * 24 * HOUR_MS,
        world_id="wld_1",
        session_id="ses_1",
        device_key="thumbprint",
        category="hats",
        max_item=eur(400),
        max_per_hour=eur(1_000),
    )
    return replace(terms, **changes)


def buys(shop: Shop, terms: AllowanceTerms, amount: int, **changes: Any) -> Authorize:
    return shop.request(terms, eur(amount), **{**WORLD, **changes})


async def test_v26_an_allowance_with_every_scope_pays_inside_them(vault: EmbeddedVault, shop: Shop) -> None:
    terms = await in_a_world(shop)
    assert (await vault.authorize(buys(shop, terms, 300))).status is S.SUCCEEDED
    assert (await vault.authorize(buys(shop, terms, 300, channel="metaverse"))).status is S.SUCCEEDED


@pytest.mark.parametrize(
    ("change", "code", "limit"),
    [
        ({"channel": "web"}, "allowance.channel_mismatch", None),
        ({"world_id": "wld_2"}, "allowance.world_mismatch", None),
        ({"session_id": None}, "allowance.session_mismatch", None),
        ({"device_key": "other"}, "allowance.device_key_mismatch", None),
        ({"items": (SpentItem("shoes", eur(1)),)}, "allowance.category_mismatch", None),
        ({"items": ()}, "allowance.items_missing", None),
        (
            {"items": (SpentItem("hats", eur(450)),)},
            "allowance.item_exceeded",
            Limit("max_item", "EUR", 400, 0, 450),
        ),
    ],
)
async def test_v26_a_refusal_and_its_limit_are_stored(
    vault: EmbeddedVault, shop: Shop, change: dict[str, Any], code: str, limit: Limit | None
) -> None:
    terms = await in_a_world(shop)
    request = buys(shop, terms, 300, **change)
    first = await vault.authorize(request)
    assert (refused(first), first.limit) == (code, limit)
    assert await vault.authorize(request) == first
    assert await vault.operation(request.operation_id) == first
    assert await vault.acquirer.effects() == []


async def test_v26_the_limit_per_hour_rolls_and_says_when_there_is_room(
    vault: EmbeddedVault, shop: Shop, clock: ManualClock
) -> None:
    terms = await in_a_world(shop, max_amount=eur(100_000))
    began_ms = clock.now_ms()
    for _ in range(3):
        assert (await vault.authorize(buys(shop, terms, 300))).status is S.SUCCEEDED
        clock.advance(10 * 60_000)
    over = await vault.authorize(buys(shop, terms, 200))
    assert refused(over) == "allowance.hour_exceeded"
    assert over.limit == Limit("max_per_hour", "EUR", 1_000, 900, 200, began_ms + HOUR_MS)
    assert over.limit.over_by == 100
    clock.advance(began_ms + HOUR_MS - clock.now_ms() - 1)
    assert refused(await vault.authorize(buys(shop, terms, 200))) == "allowance.hour_exceeded"
    clock.advance(1)
    assert (await vault.authorize(buys(shop, terms, 200))).status is S.SUCCEEDED
    assert (await vault.authorize(buys(shop, terms, 200))).status is S.SUCCEEDED
    standing = await vault.allowance(terms.allowance_id)
    assert standing is not None
    assert (standing.used, standing.used_last_hour, standing.used_count) == (eur(1_300), eur(1_000), 5)


async def test_a_refused_spend_leaves_the_hour_and_the_allowance_as_they_were(
    vault: EmbeddedVault, shop: Shop
) -> None:
    terms = await in_a_world(shop)
    assert (await vault.authorize(buys(shop, terms, 800))).status is S.SUCCEEDED
    for _ in range(3):
        assert refused(await vault.authorize(buys(shop, terms, 201))) == "allowance.hour_exceeded"
    assert (await vault.authorize(buys(shop, terms, 200))).status is S.SUCCEEDED


async def test_what_is_voided_or_declined_gives_the_hour_back(vault: EmbeddedVault, shop: Shop) -> None:
    terms = await in_a_world(shop)
    first = buys(shop, terms, 900)
    assert (await vault.authorize(first)).status is S.SUCCEEDED
    assert (await shop.void(first.operation_id, eur(400))).status is S.SUCCEEDED
    again = buys(shop, terms, 500)
    assert (await vault.authorize(again)).status is S.SUCCEEDED
    assert refused(await vault.authorize(buys(shop, terms, 1))) == "allowance.hour_exceeded"
    assert (await shop.void(again.operation_id)).status is S.SUCCEEDED
    assert (await vault.authorize(buys(shop, terms, 500))).status is S.SUCCEEDED

    poor = await in_a_world(
        shop, payment_method_id=(await shop.method(test_cards.INSUFFICIENT_FUNDS)).payment_method_id
    )
    for _ in range(3):
        assert (await vault.authorize(buys(shop, poor, 900))).status is S.DECLINED


async def test_the_amount_and_the_uses_that_are_left_are_said(vault: EmbeddedVault, shop: Shop) -> None:
    terms = shop.terms(await shop.method(), eur(100), max_uses=2)
    assert (await vault.authorize(shop.request(terms, eur(60)))).status is S.SUCCEEDED
    over = await vault.authorize(shop.request(terms, eur(41)))
    assert (refused(over), over.limit) == (
        "allowance.amount_exceeded",
        Limit("max_amount", "EUR", 100, 60, 41),
    )
    assert (await vault.authorize(shop.request(terms, eur(40)))).status is S.SUCCEEDED
    often = await vault.authorize(shop.request(terms, eur(1)))
    assert (refused(often), often.limit) == ("allowance.uses_exceeded", Limit("max_uses", "uses", 2, 2, 1))


async def test_a_standing_allowance_is_granted_read_spent_and_revoked(
    vault: EmbeddedVault, shop: Shop, clock: ManualClock
) -> None:
    terms = await in_a_world(shop)
    granted = await vault.grant(terms)
    assert granted == await vault.grant(terms) == await vault.allowance(terms.allowance_id)
    assert (granted.terms, granted.used, granted.used_count) == (terms, eur(0), 0)
    assert (granted.left, granted.uses_left, granted.used_last_hour) == (eur(2_000), 100, eur(0))
    for number in range(3):
        order = f"ord_{number}"
        spent = await vault.authorize(buys(shop, granted.terms, 300, order_id=order))
        assert spent.status is S.SUCCEEDED
    found = await vault.allowance(terms.allowance_id)
    assert found is not None
    assert (found.used, found.left, found.uses_left) == (eur(900), eur(1_100), 97)
    await vault.revoke(terms.allowance_id)
    found = await vault.allowance(terms.allowance_id)
    assert found is not None and found.revoked_at_ms == clock.now_ms()
    assert refused(await vault.authorize(buys(shop, terms, 1))) == "allowance.revoked"
    assert (await vault.grant(terms)).revoked_at_ms is not None


async def test_a_plain_allowance_reads_back_as_it_was_granted(vault: EmbeddedVault, shop: Shop) -> None:
    terms = shop.terms(await shop.method(), eur(100))
    assert await vault.allowance(terms.allowance_id) is None
    await vault.authorize(shop.request(terms, eur(60)))
    found = await vault.allowance(terms.allowance_id)
    assert found is not None
    assert (found.terms, found.used, found.left, found.used_last_hour) == (terms, eur(60), eur(40), None)
    assert (await vault.grant(terms)) == found


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        ({"max_item": Money(1, "GBP")}, InvalidError, "allowance.terms_invalid"),
        ({"max_amount": eur(0)}, InvalidError, "vault.amount_invalid"),
        ({"expires_at_ms": 1}, InvalidError, "allowance.expired"),
        ({"customer_id": "cus_other"}, NotFoundError, "vault.method_unknown"),
        ({"payment_method_id": "pm_none"}, NotFoundError, "vault.method_unknown"),
    ],
)
async def test_an_allowance_that_cannot_be_spent_is_not_granted(
    vault: EmbeddedVault, shop: Shop, change: dict[str, Any], error: type[Exception], code: str
) -> None:
    terms = shop.terms(await shop.method(), eur(100), **change)
    with pytest.raises(error, match=code):
        await vault.grant(terms)
    assert await vault.allowance(terms.allowance_id) is None


async def test_v26_terms_do_not_change_after_the_grant_whatever_the_field(
    vault: EmbeddedVault, shop: Shop
) -> None:
    terms = await in_a_world(shop)
    await vault.grant(terms)
    for more in (
        replace(terms, world_id=None),
        replace(terms, max_per_hour=eur(99_999)),
        replace(terms, channel="ar"),
        replace(terms, category=None),
        replace(terms, guardian_id="gua_1"),
        replace(terms, not_before_ms=1),
    ):
        assert refused(await vault.authorize(buys(shop, more, 1))) in (
            "allowance.terms_conflict",
            "allowance.guardian_approval_required",
        )
        with pytest.raises(ConflictError, match=r"allowance\.terms_conflict"):
            await vault.grant(more)


async def test_a_revocation_that_overtakes_a_grant_holds(vault: EmbeddedVault, shop: Shop) -> None:
    terms = shop.terms(await shop.method(), eur(100), allowance_id=shop.ids.new(AllowanceId))
    await vault.revoke(terms.allowance_id)
    assert await vault.allowance(terms.allowance_id) is None
    with pytest.raises(ConflictError, match=r"allowance\.revoked"):
        await vault.grant(terms)


async def test_a_request_without_the_customer_says_why(vault: EmbeddedVault, shop: Shop) -> None:
    terms = shop.terms(await shop.method(), eur(100))
    request = shop.request(terms, eur(1), initiation=Initiation.MERCHANT)
    assert refused(await vault.authorize(request)) == "vault.initiation_invalid"


async def test_an_allowance_of_one_order_needs_no_statement_more_than_before(shop: Shop) -> None:
    """The purchase path: grant and operation, each one insert; the method is read once."""
    from gateway.kernel.store.unit import UnitOfWork
    from wallets.vault.authorizing import begin_authorize
    from wallets.vault.model import request_digest

    request = shop.request(shop.terms(await shop.method(), eur(100)), eur(100))
    seen: list[str] = []

    class Counting(UnitOfWork):
        def run(self, statement: Any, params: Any) -> int:
            seen.append("write")
            return super().run(statement, params)

        def row(self, statement: Any, params: Any = None) -> Any:
            seen.append("read")
            return super().row(statement, params)

    def unit(uow: UnitOfWork) -> None:
        del seen[:]
        counting = Counting(uow._dialect, uow._cursor, uow._connection, uow.now_ms, uow._ids)
        begin_authorize(counting, request, request_digest(request), shop.vault._providers)
        uow.wrote = True

    await shop.vault.store.write(unit)
    assert seen == ["read", "write", "write"]
    assert (request.customer_id, request.order_id) == (CUSTOMER, ORDER)


async def test_v26_an_authorization_that_is_raised_counts_for_every_limit(
    vault: EmbeddedVault, shop: Shop
) -> None:
    terms = await in_a_world(shop, max_amount=eur(1_200))
    first = buys(shop, terms, 600)
    assert (await vault.authorize(first)).status is S.SUCCEEDED

    async def raised(amount: int) -> OperationResult:
        return await vault.increment(Increment(shop.op(), first.operation_id, eur(amount)))

    over = await raised(401)
    assert (refused(over), over.limit and over.limit.over_by) == ("allowance.hour_exceeded", 1)
    assert (await raised(400)).status is S.SUCCEEDED
    found = await vault.allowance(terms.allowance_id)
    assert found is not None
    assert (found.used, found.used_last_hour, found.used_count) == (eur(1_000), eur(1_000), 1)
    shop.clock.advance(2 * HOUR_MS)
    past = await raised(201)
    assert (refused(past), past.limit) == (
        "allowance.amount_exceeded",
        Limit("max_amount", "EUR", 1_200, 1_000, 201),
    )


@pytest.mark.parametrize(
    "channel",
    [" ", "", "ar web", frozenset[str](), frozenset({"ar", ""}), frozenset({"ar", "a b"})],
    ids=["blank", "empty", "two in one", "none", "an empty one", "one with a blank"],
)
async def test_v26_a_channel_that_is_blank_or_has_a_blank_allows_nothing(
    vault: EmbeddedVault, shop: Shop, channel: str | frozenset[str]
) -> None:
    """Stored, it would be read as other channels than were named."""
    method = await shop.method()
    terms = shop.terms(method, eur(10), channel=channel)
    with pytest.raises(InvalidError, match=r"allowance\.terms_invalid"):
        await vault.grant(terms)
    asked = channel if isinstance(channel, str) else "ar"
    result = await vault.authorize(shop.request(terms, eur(10), channel=asked))
    assert refused(result) == "allowance.terms_invalid"
    assert await vault.allowance(terms.allowance_id) is None
