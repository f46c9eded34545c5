from __future__ import annotations

import pytest

from fulfillment import shipments
from fulfillment.backends.port import BackendLine, BackendUpdate, Tracking, UpdateKind
from fulfillment.model import Contradiction, FulfillmentLine, FulfillmentOrderId, HoldId
from fulfillment.states import FulfillmentState
from gateway.kernel.errors import InvalidError, NotFoundError
from gateway.kernel.store.unit import Store
from gateway.kernel.subjects import LegId
from tests.fulfillment.world import MERCHANT, order

S = FulfillmentState
ADDRESS = {"name": "Änna", "country": "DE", "lines": ["Weg 1"]}
LINES = [
    FulfillmentLine(LegId("leg_1"), "lamp", 2, "Lamp", HoldId("hold_1")),
    FulfillmentLine(LegId("leg_2"), "shoe", 1),
]
PARCEL = Tracking("embedded", "VT1")


async def created(store: Store) -> FulfillmentOrderId:
    return await store.write(
        lambda uow: shipments.create_fulfillment_order(
            uow,
            order_id=order(1),
            merchant_id=MERCHANT,
            location_code="berlin",
            backend="embedded",
            ship_to=ADDRESS,
            lines=LINES,
        )
    )


def update(
    reference: str, kind: UpdateKind, tracking: Tracking | None = None, reason: str | None = None
) -> BackendUpdate:
    return BackendUpdate("1", reference, kind, 1_000, tracking, reason)


async def told(store: Store, reference: str, kind: UpdateKind, **more: object) -> shipments.Recorded:
    return await store.write(lambda uow: shipments.record_update(uow, update(reference, kind, **more)))


def states(recorded: shipments.Recorded) -> list[FulfillmentState]:
    return [fact.state for fact in recorded]


async def test_a_fulfillment_order_is_stored_as_it_was_asked_for(store: Store) -> None:
    ful = await created(store)
    (found,) = await store.read(lambda reader: shipments.of_order(reader, order(1)))
    assert (found.fulfillment_order_id, found.state, found.lines) == (ful, S.CREATED, tuple(LINES))
    asked = shipments.for_backend(found)
    assert (asked.reference, asked.ship_to) == (ful, ADDRESS)
    assert asked.lines == (BackendLine("lamp", 2, "Lamp"), BackendLine("shoe", 1, ""))


async def test_an_empty_fulfillment_order_is_refused(store: Store) -> None:
    with pytest.raises(InvalidError, match=r"fulfillment\.empty"):
        await store.write(
            lambda uow: shipments.create_fulfillment_order(
                uow,
                order_id=order(1),
                merchant_id=MERCHANT,
                location_code="berlin",
                backend="embedded",
                ship_to=ADDRESS,
                lines=[],
            )
        )


async def test_every_step_is_a_fact_once(store: Store) -> None:
    ful = await created(store)
    sent = lambda uow: shipments.record_sent(uow, ful, backend_reference="par_1")  # noqa: E731
    assert states(await store.write(sent)) == [S.SENT]
    assert await store.write(sent) == ()
    steps = [(UpdateKind.ACCEPTED, None), (UpdateKind.DISPATCHED, PARCEL), (UpdateKind.DELIVERED, None)]
    for kind, tracking in steps:
        (fact,) = await told(store, ful, kind, tracking=tracking)
        assert (fact.state, fact.order_id, fact.at_ms) == (kind, order(1), 1_000)
        assert await told(store, ful, kind, tracking=tracking) == ()
    found = await store.read(lambda reader: shipments.load(reader, ful))
    assert (found.state, found.backend_reference, found.tracking) == (S.DELIVERED, "par_1", PARCEL)


async def test_a_dispatch_names_its_legs_and_reservations(store: Store) -> None:
    ful = await created(store)
    fact = (await told(store, ful, UpdateKind.DISPATCHED, tracking=PARCEL))[-1]
    assert fact.state == S.DISPATCHED
    assert (fact.lines, fact.tracking) == (tuple(LINES), PARCEL)


async def test_a_delivery_before_its_dispatch_gives_both_facts_in_order(store: Store) -> None:
    ful = await created(store)
    await told(store, ful, UpdateKind.ACCEPTED)
    assert states(await told(store, ful, UpdateKind.DELIVERED)) == [S.DISPATCHED, S.DELIVERED]
    assert await told(store, ful, UpdateKind.DISPATCHED, tracking=PARCEL) == ()
    found = await store.read(lambda reader: shipments.load(reader, ful))
    assert found.tracking == PARCEL


async def test_an_update_before_the_receipt_implies_it_was_sent(store: Store) -> None:
    ful = await created(store)
    assert states(await told(store, ful, UpdateKind.ACCEPTED)) == [S.SENT, S.ACCEPTED]
    late = await store.write(lambda uow: shipments.record_sent(uow, ful, backend_reference="par_1"))
    assert late == ()
    found = await store.read(lambda reader: shipments.load(reader, ful))
    assert (found.state, found.backend_reference) == (S.ACCEPTED, "par_1")


@pytest.mark.parametrize("kind", [UpdateKind.CANCELED, UpdateKind.REFUSED])
async def test_an_order_ends_before_dispatch(store: Store, kind: UpdateKind) -> None:
    ful = await created(store)
    (fact,) = await told(store, ful, kind, reason="none left")
    assert (fact.state, fact.reason) == (kind, "none left")
    assert await told(store, ful, UpdateKind.ACCEPTED) == ()


async def test_a_contradiction_is_told_once_and_changes_no_state(store: Store) -> None:
    ful = await created(store)
    await store.write(lambda uow: shipments.record_canceled(uow, ful))
    (told_against,) = await told(store, ful, UpdateKind.DISPATCHED, tracking=PARCEL)
    assert isinstance(told_against, Contradiction)
    assert (told_against.state, told_against.told) == (S.CANCELED, S.DISPATCHED)
    assert await told(store, ful, UpdateKind.DISPATCHED, tracking=PARCEL) == ()
    found = await store.read(lambda reader: shipments.load(reader, ful))
    assert (found.state, found.contradiction, found.tracking) == (S.CANCELED, "dispatched", PARCEL)


async def test_an_update_of_a_stranger_records_nothing(store: Store) -> None:
    assert await told(store, "ful_unknown", UpdateKind.DISPATCHED) == ()


async def test_recording_an_order_that_is_not_there_is_refused(store: Store) -> None:
    ful = FulfillmentOrderId("ful_unknown")
    with pytest.raises(NotFoundError, match=r"fulfillment\.order_unknown"):
        await store.write(lambda uow: shipments.record_dispatched(uow, ful, tracking=None))
    with pytest.raises(NotFoundError, match=r"fulfillment\.order_unknown"):
        await store.read(lambda reader: shipments.load(reader, ful))


async def test_each_outcome_has_its_function(store: Store) -> None:
    shipped, refused = await created(store), await created(store)
    for record, state in [
        (lambda uow: shipments.record_accepted(uow, shipped), S.ACCEPTED),
        (lambda uow: shipments.record_dispatched(uow, shipped, tracking=PARCEL), S.DISPATCHED),
        (lambda uow: shipments.record_delivered(uow, shipped), S.DELIVERED),
        (lambda uow: shipments.record_refused(uow, refused, reason="none"), S.REFUSED),
    ]:
        assert (await store.write(record))[-1].state == state
