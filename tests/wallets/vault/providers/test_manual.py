"""P18: cash is promised, collected by people, rounded where coins are missing, and accounted in parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.kernel.errors import ConflictError, InvalidError, NotFoundError
from gateway.kernel.money import Money
from tests.wallets.vault.providers.stands import Parts, Stand, cash_stand, parts
from tests.wallets.vault.shop import CUSTOMER
from wallets.vault.port import Capture, MethodKind, OperationStatus, PassedMethod, Refund
from wallets.vault.providers.cash_rounding import RULES, cash_amount
from wallets.vault.providers.manual import CashDesk
from wallets.vault.secret import Secret

S = OperationStatus


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with cash_stand(tmp_path) as made:
        yield made


def desk(stand: Stand) -> CashDesk:
    found = stand.provider.provider
    assert isinstance(found, CashDesk)
    return found


def chf(amount_minor: int) -> Money:
    return Money(amount_minor, "CHF")


async def waiting(stand: Stand, amount: Money) -> Capture:
    placed = await stand.placed(amount)
    request = Capture(stand.op(), placed.operation_id, amount)
    assert (await stand.vault.capture(request)).status is S.UNKNOWN
    return request


async def test_p18_tender_change_and_rounding_are_kept_apart(stand: Stand) -> None:
    request = await waiting(stand, chf(1998))
    result = await stand.service.confirm_cash(request.operation_id, chf(2050), "staff_1")
    assert (result.status, result.amount) == (S.SUCCEEDED, chf(1998))
    counted = await desk(stand).counted(request.operation_id)
    assert counted is not None
    assert (counted.tendered, counted.change, counted.rounding) == (chf(2050), chf(50), chf(2))
    assert counted.tendered - counted.change == counted.amount + counted.rounding
    assert counted.confirmed_by == "staff_1"


async def test_p18_less_than_what_is_owed_in_cash_is_refused(stand: Stand) -> None:
    request = await waiting(stand, chf(1998))
    with pytest.raises(InvalidError) as refused:
        await stand.service.confirm_cash(request.operation_id, chf(1995), "staff_1")
    assert (refused.value.code, refused.value.data) == ("cash.not_enough", {"owed_minor": 2000})
    with pytest.raises(InvalidError, match=r"cash\.currency"):
        await stand.service.confirm_cash(request.operation_id, Money(2000, "EUR"), "staff_1")
    found = await stand.vault.operation(request.operation_id)
    assert found is not None
    assert found.status is S.UNKNOWN


async def test_a_confirmation_counts_once(stand: Stand) -> None:
    request = await waiting(stand, chf(1000))
    first = await stand.service.confirm_cash(request.operation_id, chf(1000), "staff_1")
    assert await stand.service.confirm_cash(request.operation_id, chf(1000), "staff_1") == first
    for tendered, staff in ((chf(2000), "staff_1"), (chf(1000), "staff_2")):
        with pytest.raises(ConflictError, match=r"cash\.decided"):
            await stand.service.confirm_cash(request.operation_id, tendered, staff)
    with pytest.raises(ConflictError, match=r"cash\.decided"):
        await stand.service.decline_cash(request.operation_id, "staff_1")


async def test_what_was_not_collected_is_open_again(stand: Stand) -> None:
    placed = await stand.placed(chf(1000))
    first = Capture(stand.op(), placed.operation_id, chf(1000))
    await stand.vault.capture(first)
    declined = await stand.service.decline_cash(first.operation_id, "courier_1")
    assert (declined.status, declined.refusal) == (S.FAILED, "cash.not_collected")
    assert (await stand.taken(placed.operation_id, chf(1000))).status is S.SUCCEEDED


async def test_a_refund_leaves_the_drawer_exactly(stand: Stand) -> None:
    placed = await stand.placed(chf(1000))
    taken = await stand.taken(placed.operation_id, chf(1000))
    refund = Refund(stand.op(), taken.operation_id, chf(333))
    assert (await stand.vault.refund(refund)).status is S.UNKNOWN
    with pytest.raises(InvalidError, match=r"cash\.not_enough"):
        await stand.service.confirm_cash(refund.operation_id, chf(340), "staff_1")
    assert (await stand.service.confirm_cash(refund.operation_id, chf(335), "staff_1")).status is S.SUCCEEDED


async def test_only_what_waits_for_people_can_be_confirmed(stand: Stand) -> None:
    placed = await stand.placed(chf(1000))
    for operation_id in (placed.operation_id, stand.op()):
        with pytest.raises(NotFoundError, match=r"cash\.unknown"):
            await stand.service.confirm_cash(operation_id, chf(1000), "staff_1")
    request = Capture(stand.op(), placed.operation_id, chf(998))
    await stand.vault.capture(request)
    [(operation_id, _, amount, cash)] = await desk(stand).waiting()
    assert (operation_id, amount, cash) == (request.operation_id, chf(998), chf(1000))


async def test_a_vault_without_a_desk_takes_no_cash(tmp_path: Path) -> None:
    async with parts(tmp_path) as given:
        vault = given.open(_no_cash(given))
        with pytest.raises(InvalidError, match=r"vault\.method_kind"):
            await vault.store_method(CUSTOMER, PassedMethod(MethodKind.CASH, Secret("")))


def _no_cash(given: Parts) -> object:
    from tests.wallets.vault.providers.stands import simulated

    return simulated(given)


@pytest.mark.parametrize(
    ("country", "amount", "cash"),
    [
        ("CH", chf(1), 0),
        ("CH", chf(2), 0),
        ("CH", chf(3), 5),
        ("CH", chf(7), 5),
        ("CH", chf(8), 10),
        ("CH", Money(3, "EUR"), 3),
        ("DE", Money(3, "EUR"), 3),
        ("NL", Money(3, "EUR"), 5),
        (None, chf(3), 3),
        ("SE", Money(149, "SEK"), 100),
        ("SE", Money(150, "SEK"), 200),
        ("DK", Money(25, "DKK"), 50),
        ("DK", Money(24, "DKK"), 0),
        ("HU", Money(1_250, "HUF"), 1_500),
    ],
)
def test_p18_cash_is_rounded_by_country_and_currency(country: str | None, amount: Money, cash: int) -> None:
    assert cash_amount(amount, country).amount_minor == cash


def test_p18_rounding_is_never_more_than_half_a_step_and_rules_are_dated() -> None:
    for rule in RULES:
        for minor in range(2 * rule.step_minor + 1):
            cash = cash_amount(Money(minor, rule.currency), rule.country).amount_minor
            assert cash % rule.step_minor == 0
            assert abs(cash - minor) * 2 <= rule.step_minor
        assert rule.since < "2026"
        assert rule.source
