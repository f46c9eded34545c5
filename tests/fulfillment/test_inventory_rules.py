"""Any sequence of everything that touches stock keeps its sums; a refusal writes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from fulfillment import expiry, inventory, pools, serials
from fulfillment.model import HoldLimits, Want, edition_pool_id, stock_pool_id
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import VitrineError
from gateway.kernel.ids import CountingIds
from gateway.kernel.store.schema import metadata
from gateway.kernel.store.unit import UnitOfWork
from tests.fulfillment.world import MERCHANT, order, quote, take

STOCK = [stock_pool_id(MERCHANT, sku, place) for sku in ("lamp", "shoe") for place in ("a", "b")]
EDITIONS = [edition_pool_id(MERCHANT, sku) for sku in ("skin", "hat")]
POOLS = STOCK + EDITIONS
QUANTITY = st.integers(1, 3)
LIMITS = HoldLimits(units_per_account=12, holds_per_account=8, units_per_device=None, holds_per_device=None)


class Inventory(RuleBasedStateMachine):
    holds = Bundle("holds")
    orders = Bundle("orders")

    @initialize()
    def open(self) -> None:
        self.raw = sqlite3.connect(":memory:", isolation_level=None)
        engine = create_engine(
            "sqlite://", creator=lambda: self.raw, poolclass=StaticPool, isolation_level="AUTOCOMMIT"
        )
        self.core = engine.connect()
        metadata.create_all(self.core)
        self.clock = ManualClock()
        self.ids = CountingIds()
        self.names = 0
        for place in ("a", "b"):
            for sku in ("lamp", "shoe"):
                self.unit(
                    lambda uow, sku=sku, place=place: pools.set_pool(
                        uow, merchant_id=MERCHANT, sku=sku, location_code=place, on_hand=3
                    )
                )
        self.unit(lambda uow: self.edition(uow, "skin", 5))
        self.unit(lambda uow: self.edition(uow, "hat", 5))

    def teardown(self) -> None:
        if hasattr(self, "raw"):
            self.core.close()
            self.raw.close()

    def edition(self, uow: UnitOfWork, sku: str, cap: int) -> str:
        return pools.define_edition(uow, merchant_id=MERCHANT, sku=sku, cap=cap, numbered=sku == "hat")

    def unit(self, work: Callable[[UnitOfWork], Any]) -> Any:
        """Run one unit as the store would; None for a refusal, which must not have written."""
        uow = UnitOfWork("sqlite", self.raw.cursor(), self.core, self.clock.now_ms(), self.ids)
        self.raw.execute("BEGIN")
        try:
            value = work(uow)
        except VitrineError:
            assert not uow.wrote
            self.raw.execute("ROLLBACK")
            return None
        self.raw.execute("COMMIT")
        return value

    def name(self) -> int:
        self.names += 1
        return self.names

    @rule(target=holds, wants=st.lists(st.tuples(st.sampled_from(POOLS), QUANTITY), min_size=1, max_size=3))
    def hold(self, wants: list[tuple[str, int]]) -> Any:
        number = self.name()
        held = self.unit(lambda uow: take(uow, number, *(Want(pool, n) for pool, n in wants), limits=LIMITS))
        return multiple() if held is None else (number, [each.hold_id for each in held])

    @rule(target=orders, held=holds)
    def reserve(self, held: tuple[int, list[Any]]) -> Any:
        return multiple() if self.reserve_order(held[0]) is None else held

    def reserve_order(self, number: int) -> Any:
        return self.unit(
            lambda uow: inventory.reserve(
                uow, quote_id=quote(number), order_id=order(number), expires_at_ms=uow.now_ms + 60_000
            )
        )

    @rule(held=orders, index=st.integers(0, 2), quantity=st.none() | QUANTITY, numbered=st.booleans())
    def consume(self, held: tuple[int, list[Any]], index: int, quantity: int | None, numbered: bool) -> None:
        hold_id = held[1][index % len(held[1])]
        if numbered:
            self.unit(lambda uow: serials.take_serials(uow, hold_id=hold_id))
        self.unit(lambda uow: inventory.consume(uow, hold_id=hold_id, quantity=quantity))

    @rule(target=orders, quantity=QUANTITY, made=QUANTITY)
    def buy_numbered_copies(self, quantity: int, made: int) -> Any:
        """The usual way of a numbered edition in one step, so that runs get deep enough to give back."""
        number = self.name()
        held = self.unit(lambda uow: take(uow, number, Want(EDITIONS[1], quantity)))
        if held is None or self.reserve_order(number) is None:
            return multiple()
        hold_id = held[0].hold_id
        self.unit(lambda uow: serials.take_serials(uow, hold_id=hold_id))
        self.unit(lambda uow: inventory.consume(uow, hold_id=hold_id, quantity=min(quantity, made)))
        return number, [hold_id]

    @rule(held=orders, pool=st.sampled_from(POOLS), quantity=QUANTITY)
    def consume_by_order(self, held: tuple[int, list[Any]], pool: str, quantity: int) -> None:
        self.unit(
            lambda uow: inventory.consume(uow, order_id=order(held[0]), pool_id=pool, quantity=quantity)
        )

    @rule(held=holds, index=st.integers(0, 2), quantity=st.none() | QUANTITY)
    def release_hold(self, held: tuple[int, list[Any]], index: int, quantity: int | None) -> None:
        hold_id = held[1][index % len(held[1])]
        self.unit(lambda uow: inventory.release(uow, hold_id=hold_id, quantity=quantity))

    @rule(held=holds, by_order=st.booleans())
    def release_all(self, held: tuple[int, list[Any]], by_order: bool) -> None:
        which: dict[str, Any] = {"order_id": order(held[0])} if by_order else {"quote_id": quote(held[0])}
        self.unit(lambda uow: inventory.release(uow, **which))

    @rule(held=orders)
    def number_copies(self, held: tuple[int, list[Any]]) -> None:
        for hold_id in held[1]:
            self.unit(lambda uow, hold_id=hold_id: serials.take_serials(uow, hold_id=hold_id))

    @rule(milliseconds=st.sampled_from([1, 60_000, 600_000]), limit=st.integers(1, 3))
    def time_passes(self, milliseconds: int, limit: int) -> None:
        self.clock.advance(milliseconds)
        self.unit(lambda uow: expiry.sweep(uow, limit=limit))

    @rule(pool=st.sampled_from(STOCK), delta=st.integers(-3, 3))
    def adjust(self, pool: str, delta: int) -> None:
        self.unit(lambda uow: pools.adjust(uow, pool, delta, "test"))

    @rule(on_hand=st.integers(0, 6), only_new=st.booleans())
    def count(self, on_hand: int, only_new: bool) -> None:
        self.unit(
            lambda uow: pools.set_pool(
                uow, merchant_id=MERCHANT, sku="lamp", location_code="a", on_hand=on_hand, only_new=only_new
            )
        )

    @rule(sku=st.sampled_from(["skin", "hat"]), cap=st.integers(1, 8))
    def recap(self, sku: str, cap: int) -> None:
        self.unit(lambda uow: self.edition(uow, sku, cap))

    @rule(pool=st.sampled_from(POOLS), quantity=QUANTITY, first=st.integers(1, 4))
    def put_back(self, pool: str, quantity: int, first: int) -> None:
        numbers = range(first, first + quantity)
        name = f"return {self.name()}"
        self.unit(
            lambda uow: pools.put_back(
                uow, pool_id=pool, quantity=quantity, reason="test", reference=name, numbers=numbers
            )
        )

    @invariant()
    def sums_hold(self) -> None:
        if not hasattr(self, "raw"):
            return
        query = """
            SELECT p.pool_id, p.kind, p.on_hand, p.held, p.reserved, p.issued, p.next_serial, p.numbered,
              (SELECT coalesce(sum(delta), 0) FROM inventory_adjustment a WHERE a.pool_id = p.pool_id),
              (SELECT coalesce(sum(consumed), 0) FROM inventory_hold h WHERE h.pool_id = p.pool_id),
              (SELECT coalesce(sum(quantity - consumed - released), 0) FROM inventory_hold h
                WHERE h.pool_id = p.pool_id AND state = 'held'),
              (SELECT coalesce(sum(quantity - consumed - released), 0) FROM inventory_hold h
                WHERE h.pool_id = p.pool_id AND state = 'reserved'),
              (SELECT count(*) FROM inventory_serial s WHERE s.pool_id = p.pool_id AND state != 'free'),
              (SELECT count(*) FROM inventory_serial s WHERE s.pool_id = p.pool_id),
              (SELECT count(*) FROM inventory_serial s WHERE s.pool_id = p.pool_id AND state = 'issued')
            FROM inventory_pool p"""
        for row in self.raw.execute(query):
            (_, kind, on_hand, held, reserved, issued, next_serial, numbered, delta, consumed) = row[:10]
            (sum_held, sum_reserved, serials_out, serials_known, serials_issued) = row[10:]
            assert min(on_hand, held, reserved, issued) >= 0
            assert on_hand - held - reserved >= 0
            assert (held, reserved) == (sum_held, sum_reserved)
            assert on_hand == delta - consumed
            assert serials_known == next_serial - 1
            assert serials_issued <= issued
            if kind == "edition":
                assert not numbered or next_serial - 1 <= on_hand + issued
                assert serials_out <= reserved + issued
            else:
                assert issued == 0
        # Numbers that are taken stand for copies still reserved, issued ones for copies that were made.
        misnumbered = """SELECT count(*) FROM inventory_hold h WHERE
            (SELECT count(*) FROM inventory_serial s WHERE s.hold_id = h.hold_id AND s.state = 'taken')
                > CASE state WHEN 'reserved' THEN quantity - consumed - released ELSE 0 END
            OR (SELECT count(*) FROM inventory_serial s WHERE s.hold_id = h.hold_id AND s.state = 'issued')
                > consumed"""
        assert self.raw.execute(misnumbered).fetchone() == (0,)
        free = "SELECT count(*) FROM inventory_serial WHERE (state = 'free') != (hold_id IS NULL)"
        assert self.raw.execute(free).fetchone() == (0,)
        unfinished = """SELECT count(*) FROM inventory_hold WHERE state IN ('consumed', 'released', 'expired')
            AND quantity != consumed + released"""
        assert self.raw.execute(unfinished).fetchone() == (0,)


Inventory.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
TestInventory = Inventory.TestCase
