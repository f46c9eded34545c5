"""Events of several committers are handed on in the order in which they were numbered."""

from __future__ import annotations

from functools import partial

from gateway.kernel.store.delivery import DeliveryOrder


def test_a_later_turn_waits_for_the_earlier_ones():
    order, told = DeliveryOrder(), []
    first, second, third = order.take(), order.take(), order.take()
    order.finish(third, partial(told.append, "third"))
    order.finish(second, partial(told.append, "second"))
    assert told == []
    order.finish(first, partial(told.append, "first"))
    assert told == ["first", "second", "third"]


def test_a_turn_that_was_rolled_back_holds_nobody_up():
    order, told = DeliveryOrder(), []
    first, second = order.take(), order.take()
    order.finish(first, None)
    order.finish(second, partial(told.append, "second"))
    assert told == ["second"]
