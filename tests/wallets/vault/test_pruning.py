"""Rows go when nobody needs them any more, and not a moment earlier."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from sqlalchemy import Table, func, select

from gateway.kernel.money import Money
from gateway.kernel.store.unit import UnitOfWork
from tests.wallets.vault.two_databases import Books, books
from wallets.vault.guardian import approve, decline
from wallets.vault.port import AllowanceId, Approval, ApprovalId, ApprovalState
from wallets.vault.pruning import DAY_MS, prune
from wallets.vault.tables import card_decline, guardian_approval, wallet_payload, webhook

__all__ = ["books"]


async def put(books: Books, table: Table, *rows: dict[str, Any]) -> None:
    for row in rows:
        await books.store().write(partial(_insert, table=table, row=row))


def _insert(uow: UnitOfWork, table: Table, row: dict[str, Any]) -> None:
    uow.core(table.insert().values(row))


async def left(books: Books, column: Any) -> list[Any]:
    return await books.store().read(
        lambda reader: [row[0] for row in reader.core(select(column).order_by(column))]
    )


def event(event_id: str, at_ms: int, state: str) -> dict[str, Any]:
    return {
        "provider": "simulated",
        "event_id": event_id,
        "type": "x",
        "body_digest": b"",
        "received_at_ms": at_ms,
        "state": state,
    }


async def test_webhooks_go_after_ninety_days_whatever_became_of_them(books: Books) -> None:
    now_ms = books.clock.now_ms()
    old, young = now_ms - 90 * DAY_MS, now_ms - 90 * DAY_MS + 1
    states = ("processed", "parked", "waiting", "received")
    await put(books, webhook, *(event(f"old_{state}", old, state) for state in states))
    await put(books, webhook, *(event(f"young_{state}", young, state) for state in states))
    assert await prune(books.store()) == {"vault_webhook": 4}
    assert await left(books, webhook.c.event_id) == sorted(f"young_{state}" for state in states)
    assert await prune(books.store()) == {}


async def test_a_payloads_digest_stays_until_the_payload_is_refused_by_itself(books: Books) -> None:
    now_ms = books.clock.now_ms()
    rows = [
        {"digest": b"over", "stored_at_ms": 0, "good_until_ms": now_ms - DAY_MS},
        {"digest": b"good", "stored_at_ms": 0, "good_until_ms": now_ms - DAY_MS + 1},
        {"digest": b"undated_old", "stored_at_ms": now_ms - 400 * DAY_MS, "good_until_ms": None},
        {"digest": b"undated_young", "stored_at_ms": now_ms - 400 * DAY_MS + 1, "good_until_ms": None},
    ]
    await put(books, wallet_payload, *rows)
    assert await prune(books.store()) == {"vault_wallet_payload": 2}
    assert [bytes(one) for one in await left(books, wallet_payload.c.digest)] == [b"good", b"undated_young"]


def approval(number: int, expires_at_ms: int, order: str = "ord_1") -> Approval:
    return Approval(
        ApprovalId(f"apr_{number:028x}"),
        AllowanceId(f"alw_{1:028x}"),
        "gua_1",
        "mer_1",
        order,
        Money(500, "EUR"),
        expires_at_ms,
    )


async def test_a_guardians_word_stays_while_any_word_on_the_order_could_be_used(books: Books) -> None:
    start_ms = books.clock.now_ms()
    soon, late = start_ms + DAY_MS, start_ms + 100 * DAY_MS
    for number, order, ends in ((1, "ord_1", soon), (2, "ord_2", soon), (3, "ord_2", late)):
        await books.store().write(partial(approve, approval=approval(number, ends, order)))
    books.clock.advance(DAY_MS)
    no = approval(4, soon, "ord_2")
    await books.store().write(lambda uow: decline(uow, no))
    books.clock.advance(180 * DAY_MS - 1)
    assert await prune(books.store()) == {}
    books.clock.advance(1)
    assert await prune(books.store()) == {"vault_guardian_approval": 1}
    assert len(await left(books, guardian_approval.c.approval_id)) == 3
    # A late repeat of what has gone approves nothing.
    repeat = approval(1, soon)
    assert await books.store().write(lambda uow: approve(uow, repeat)) is ApprovalState.EXPIRED
    books.clock.advance(99 * DAY_MS)
    assert await prune(books.store()) == {"vault_guardian_approval": 3}


async def test_declined_checks_of_a_card_go_when_their_day_is_over(books: Books) -> None:
    now_ms = books.clock.now_ms()
    await put(
        books,
        card_decline,
        {"decline_id": "cdc_1", "card_code": b"c", "at_ms": now_ms - DAY_MS},
        {"decline_id": "cdc_2", "card_code": b"c", "at_ms": now_ms - DAY_MS + 1},
    )
    assert await prune(books.store()) == {"vault_card_decline": 1}
    assert await left(books, card_decline.c.decline_id) == ["cdc_2"]


async def test_rows_go_a_few_at_a_time(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    old = books.clock.now_ms() - 91 * DAY_MS
    rows = [event(f"evt_{number}", old, "processed") for number in range(450)]
    await books.store().write(lambda uow: uow.core(webhook.insert(), rows))
    store = books.store()
    units: list[int] = []
    write = store.write

    async def counted(unit: Any, **options: Any) -> Any:
        done = await write(unit, **options)
        units.append(done)
        return done

    monkeypatch.setattr(store, "write", counted)
    assert await prune(store) == {"vault_webhook": 450}
    assert units[:3] == [200, 200, 50]
    assert (
        await books.store().read(
            lambda reader: reader.core(select(func.count()).select_from(webhook)).scalar()
        )
        == 0
    )
