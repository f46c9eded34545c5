"""Three-way reconciliation (L8): every difference is found, none is invented, and the money adds up."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from gateway.kernel.store.unit import Store
from gateway.ledger import accounts
from gateway.ledger.days import DAY_MS, start_of
from gateway.ledger.verifying import verify
from gateway.payments.settlement import bank as banking
from gateway.payments.settlement.files import SettlementFile, read_file
from gateway.payments.settlement.importing import import_file
from gateway.payments.settlement.model import OPERATOR, Outcome
from tests.payments.settlement.world import (
    DAY,
    World,
    bank_file,
    bank_lines,
    found_in,
    line,
    reconciled,
    settlement_file,
    with_payouts,
)
from wallets.vault.providers.settlement import BankLine, SettlementLine, bank_csv, settlement_csv

CLEARING, BANK = (accounts.clearing("simulated"), "EUR"), (accounts.bank("main"), "EUR")
FEES, SUSPENSE = (accounts.card_fees("simulated"), "EUR"), (accounts.SUSPENSE, "EUR")


async def some_trade(world: World, chance: random.Random) -> list[SettlementLine]:
    """Charges, refunds, a payout to a customer, a chargeback with its fee, in two currencies."""
    lines = [
        await world.did("charge", chance.randint(1, 50_000), currency=chance.choice(("EUR", "EUR", "JPY")))
        for _ in range(20)
    ]
    lines += [await world.did("refund", chance.randint(1, 500)) for _ in range(4)]
    lines.append(await world.did("payout", 700))
    taken = next(one for one in lines if one.type == "charge" and one.currency == "EUR")
    lines.append(line("chargeback", -taken.gross_minor, reference=taken.provider_reference))
    lines.append(line("fee", 0, reference=taken.provider_reference, fee=1500))
    return lines


async def test_l8_what_agrees_has_no_differences_and_ends_at_the_bank(world: World, store: Store) -> None:
    lines = with_payouts(await some_trade(world, random.Random(1)))
    bank = bank_lines(lines)
    _, report = await reconciled(store, settlement_file(lines), bank_file(bank))
    assert report.differences == []
    assert report.outcomes == {"matched": len(lines) + len(bank)}
    balances = await world.balances()
    # gross - fees - refunds - chargebacks = payout = bank line, to the cent, in each currency.
    for currency in ("EUR", "JPY"):
        of_it = [one for one in lines if one.currency == currency and one.type != "merchant_payout"]
        gross = sum(one.gross_minor for one in of_it)
        fees = sum(one.fee_minor for one in of_it)
        assert report.gross["paid out", currency] == gross - fees == report.gross["received", currency]
        assert balances[accounts.bank("main"), currency] == gross - fees
        assert balances[accounts.card_fees("simulated"), currency] == fees
    taken = next(-one.gross_minor for one in lines if one.type == "chargeback")
    assert balances[accounts.CHARGEBACKS, "EUR"] == taken
    assert CLEARING not in balances and SUSPENSE not in balances
    assert await verify(store) == []


async def faulty(world: World) -> tuple[list[SettlementLine], set[tuple[Outcome, str]]]:
    """A day's file with one of each fault, among lines that agree."""
    good = [await world.did("charge", 1000 + number) for number in range(8)]
    good += [await world.did("refund", 250)]
    missing = await world.did("charge", 4000)
    wrong, dear, twice = [await world.did("charge", amount) for amount in (5000, 6000, 7000)]
    unknown = line("charge", 4321, operation_id=f"op_{start_of(DAY):012x}{99:016x}", reference="sim_x")
    undone = await world.did("charge", 999, state="unknown")
    wrong = line(
        "charge", 5001, operation_id=wrong.operation_id, reference=wrong.provider_reference, key="stl_wrong"
    )
    dear = replace(dear, fee_minor=dear.fee_minor + 7, net_minor=dear.net_minor - 7)
    again = replace(twice, line_key="stl_again")
    # Done on the day before, settled with this day.
    late = await world.did("charge", 8100, at_ms=start_of(DAY) - 3_600_000)
    late = replace(late, batch=f"{DAY}/EUR", payout_id=good[0].payout_id, available_on=good[0].available_on)
    lines = [*good, wrong, dear, twice, again, unknown, undone, late]
    random.Random(5).shuffle(lines)
    return with_payouts(lines), {
        (Outcome.MISSING_AT_PROVIDER, missing.operation_id),
        (Outcome.AMOUNT_DIFF, "stl_wrong"),
        (Outcome.FEE_DIFF, dear.line_key),
        (Outcome.DUPLICATE, [one for one in lines if one.operation_id == twice.operation_id][1].line_key),
        (Outcome.MISSING_HERE, unknown.line_key),
        (Outcome.MISSING_HERE, undone.line_key),
        (Outcome.LATE, late.line_key),
    }


async def test_l8_one_of_each_fault_is_found_and_none_is_invented(world: World, store: Store) -> None:
    lines, expected = await faulty(world)
    _, report = await reconciled(store, settlement_file(lines), bank_file(bank_lines(lines)))
    assert found_in(report) == expected
    assert len(report.differences) == len(expected)
    balances = await world.balances()
    # The bank has what was paid out; what nobody explains is in suspense; what is missing stays in clearing.
    assert balances[BANK] == -next(one.net_minor for one in lines if one.type == "merchant_payout")
    assert balances[CLEARING] == 4000
    assert balances[SUSPENSE] == -(1 + 7000 + 4321 + 999)
    fees = sum(one.fee_minor for one in lines)
    assert balances[FEES] == fees
    assert await verify(store) == []


@pytest.mark.parametrize("seed", range(6))
async def test_l8_random_faults_are_exactly_what_is_found(world: World, store: Store, seed: int) -> None:
    chance = random.Random(seed)
    lines, expected = [], set()
    for number in range(60):
        kind = chance.choice(("charge", "charge", "refund", "payout"))
        own = await world.did(kind, chance.randint(100, 9000))
        match chance.choice(("ok", "ok", "ok", "missing", "amount", "fee", "twice", "late")):
            case "missing":
                expected.add((Outcome.MISSING_AT_PROVIDER, own.operation_id))
                continue
            case "amount":
                own = line(
                    kind,
                    own.gross_minor + chance.choice((-1, 1)),
                    operation_id=own.operation_id,
                    reference=own.provider_reference,
                    at_ms=own.occurred_at_ms,
                )
                expected.add((Outcome.AMOUNT_DIFF, own.line_key))
            case "fee":
                own = replace(own, fee_minor=own.fee_minor + 1, net_minor=own.net_minor - 1)
                expected.add((Outcome.FEE_DIFF, own.line_key))
            case "twice":
                other = replace(own, line_key=f"{own.line_key}_again")
                lines.append(other)
                expected.add((Outcome.DUPLICATE, own.line_key))
            case "late":
                own = replace(own, occurred_at_ms=own.occurred_at_ms - DAY_MS)
                expected.add((Outcome.LATE, own.line_key))
            case _:
                pass
        lines.append(own)
        if chance.random() < 0.1:
            lines.append(line("charge", 50 + number, reference=f"sim_nobody_{number}"))
            expected.add((Outcome.MISSING_HERE, lines[-1].line_key))
    lines = with_payouts(lines)
    _, report = await reconciled(store, settlement_file(lines), bank_file(bank_lines(lines)))
    assert found_in(report) == expected and len(report.differences) == len(expected)
    assert await verify(store) == []


async def test_l8_an_operation_that_the_provider_names_only_its_own_way_is_matched(
    world: World, store: Store
) -> None:
    """Two captures of one name: each line takes the one of its amount."""
    first, second = await world.did("charge", 1500), await world.did("charge", 2500)
    lines = [
        replace(second, operation_id="", line_key="a"),
        replace(first, operation_id="", line_key="b"),
    ]
    _, report = await reconciled(store, settlement_file(with_payouts(lines)))
    assert report.differences == []


async def test_l8_an_operation_around_midnight_is_not_reported_missing(world: World, store: Store) -> None:
    """Decided before midnight and recorded after it: its line is in the file of the day before."""
    midnight = start_of(DAY) + DAY_MS
    around = await world.did("charge", 1000, at_ms=midnight - 10)
    inside = await world.did("charge", 2000, at_ms=midnight + 5000)
    next_day = settlement_file(with_payouts([inside]), "next.csv")
    _, report = await reconciled(store, next_day)
    assert report.differences == []
    same_day = settlement_file(with_payouts([around]), "same.csv")
    _, report = await reconciled(store, same_day, next_day)
    assert report.differences == []


async def test_l8_an_operation_around_midnight_that_no_file_has_is_missing(
    world: World, store: Store
) -> None:
    midnight = start_of(DAY) + DAY_MS
    lost = await world.did("charge", 1000, at_ms=midnight - 10)
    one, two = await world.did("charge", 1), await world.did("charge", 2, at_ms=midnight + 5000)
    files = [settlement_file(with_payouts([own]), name) for own, name in ((one, "1.csv"), (two, "2.csv"))]
    _, report = await reconciled(store, *files)
    assert found_in(report) == {(Outcome.MISSING_AT_PROVIDER, lost.operation_id)}


async def test_l8_a_payout_that_is_not_the_sum_of_its_lines_is_found(world: World, store: Store) -> None:
    lines = with_payouts([await world.did("charge", 1000), await world.did("charge", 2000)])
    payout = lines[-1]
    lines[-1] = replace(payout, gross_minor=payout.gross_minor + 3, net_minor=payout.net_minor + 3)
    _, report = await reconciled(store, settlement_file(lines), bank_file(bank_lines(lines)))
    assert found_in(report) == {(Outcome.PAYOUT_DIFF, payout.payout_id)}
    assert (await world.balances())[SUSPENSE] == 3


async def test_l8_a_payout_that_has_not_arrived_and_one_that_is_short_are_found(
    world: World, store: Store
) -> None:
    lines = with_payouts([await world.did("charge", 1000), await world.did("charge", 2000, currency="JPY")])
    of_yen, of_euro = sorted(bank_lines(lines), key=lambda one: one.currency, reverse=True)
    short = replace(of_euro, amount_minor=of_euro.amount_minor - 5)
    _, report = await reconciled(store, settlement_file(lines), bank_file([short]))
    assert found_in(report) == {
        (Outcome.BANK_DIFF, short.line_key),
        (Outcome.MISSING_AT_BANK, of_euro.reference),
        (Outcome.MISSING_AT_BANK, of_yen.reference),
    }
    assert (await world.balances())[SUSPENSE] == -short.amount_minor


async def test_l8_a_cent_whose_text_names_a_payout_does_not_take_it(world: World, store: Store) -> None:
    lines = with_payouts([await world.did("charge", 1000)])
    (arrived,) = bank_lines(lines)
    cent = replace(arrived, line_key="bnk_cent", amount_minor=1, counterparty="A stranger")
    first, second = bank_file([cent], "first.csv"), bank_file([arrived], "second.csv")
    _, report = await reconciled(store, settlement_file(lines), first, second)
    assert found_in(report) == {(Outcome.BANK_DIFF, "bnk_cent")}
    balances = await world.balances()
    assert (balances[SUSPENSE], balances[BANK]) == (-1, arrived.amount_minor + 1)
    assert CLEARING not in balances


async def test_l8_lines_that_come_after_the_banks_leave_nothing_in_suspense(
    world: World, store: Store
) -> None:
    """Of one payout, in two files, and the bank's between them."""
    mine, theirs = await world.did("charge", 1000), await world.did("charge", 3000, merchant="mer_2")
    lines = with_payouts([mine, theirs])
    files = (
        settlement_file([mine, lines[-1]], "1.csv"),
        bank_file(bank_lines(lines)),
        settlement_file([theirs], "2.csv"),
    )
    await reconciled(store, *files[:2], merchant=OPERATOR)
    assert (await world.balances(OPERATOR))[SUSPENSE] == -theirs.net_minor
    done, report = await reconciled(store, files[2], merchant=OPERATOR)
    assert report.differences == [] and done[0].posted == 3
    assert await world.balances(OPERATOR) == {}
    for merchant, own in (("mer_1", mine), ("mer_2", theirs)):
        balances = await world.balances(merchant)
        assert balances[BANK] == own.net_minor and CLEARING not in balances
    again, _ = await reconciled(store, *files, merchant=OPERATOR)
    assert [one.posted for one in again] == [0, 0, 0]
    assert await verify(store) == []


async def test_l8_a_line_of_another_provider_does_not_explain_an_operation(
    world: World, store: Store
) -> None:
    own = await world.did("charge", 1000)
    lines = with_payouts([own])
    foreign = read_file("other.csv", settlement_csv([own]).encode(), provider="stripe")
    assert isinstance(foreign, SettlementFile)
    _, report = await reconciled(store, foreign)
    assert (Outcome.MISSING_HERE, own.line_key) in found_in(report)
    _, report = await reconciled(store, settlement_file(lines))
    assert report.differences == []


async def test_l8_every_bank_line_that_waits_is_looked_at_though_two_banks_count_alike(
    world: World, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(banking, "_CHUNK", 1)
    lines = with_payouts([await world.did("charge", 1000), await world.did("charge", 2000, currency="JPY")])
    for name, arrived in zip(("main", "second"), bank_lines(lines), strict=True):
        content = bank_csv([replace(arrived, line_key="1")]).encode()
        await import_file(store, read_file(f"{name}.csv", content, bank=name), "mer_1")
    _, report = await reconciled(store, settlement_file(lines))
    assert report.differences == []
    assert SUSPENSE not in await world.balances()
    assert (accounts.SUSPENSE, "JPY") not in await world.balances()


async def test_l8_money_that_nobody_explains_waits_in_suspense_until_its_payout_is_told(
    world: World, store: Store
) -> None:
    lines = with_payouts([await world.did("charge", 1000)])
    stray = BankLine("bnk_x", "2026-11-21", 42, "EUR", "Thank you!", "A friend")
    bank = bank_file([*bank_lines(lines), stray])
    _, report = await reconciled(store, bank)
    arrived = bank_lines(lines)[0]
    assert found_in(report) == {
        (Outcome.BANK_UNKNOWN, arrived.line_key),
        (Outcome.BANK_UNKNOWN, "bnk_x"),
    }
    assert (await world.balances())[SUSPENSE] == -arrived.amount_minor - 42
    _, report = await reconciled(store, settlement_file(lines), bank)
    assert found_in(report) == {(Outcome.BANK_UNKNOWN, "bnk_x")}
    balances = await world.balances()
    assert (balances[SUSPENSE], balances[BANK]) == (-42, arrived.amount_minor + 42)
    assert CLEARING not in balances


async def test_l8_each_merchants_books_get_their_own_share(world: World, store: Store) -> None:
    one = await world.did("charge", 1000, merchant="mer_1")
    two = await world.did("charge", 3000, merchant="mer_2")
    lines = with_payouts([one, two, line("fee", 0, reference="monthly", fee=99)])
    _, report = await reconciled(
        store, settlement_file(lines), bank_file(bank_lines(lines)), merchant=OPERATOR
    )
    assert report.differences == []
    for merchant, net in (("mer_1", one.net_minor), ("mer_2", two.net_minor), (OPERATOR, -99)):
        balances = await world.balances(merchant)
        assert balances[BANK] == net and CLEARING not in balances
