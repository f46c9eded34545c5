"""Names and short calls that the inventory tests share."""

from __future__ import annotations

from fulfillment import holds, pools
from fulfillment.model import Held, HoldLimits, Level, Want, edition_pool_id, stock_pool_id
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.kernel.subjects import CustomerId, DeviceId, MerchantId, OrderId, QuoteId

MERCHANT = MerchantId("mer_1")
ANNA = CustomerId("cus_anna")
GLASSES = DeviceId("dev_glasses")
LAMP = stock_pool_id(MERCHANT, "lamp", "berlin")
SHOE = stock_pool_id(MERCHANT, "shoe", "berlin")
SKIN = edition_pool_id(MERCHANT, "skin")
NO_LIMITS = HoldLimits(None, None, None, None)
MINUTE_MS = 60_000


def quote(number: int | str) -> QuoteId:
    return QuoteId(f"quo_{number}")


def order(number: int | str) -> OrderId:
    return OrderId(f"ord_{number}")


def stock(uow: UnitOfWork, on_hand: int, sku: str = "lamp", location_code: str = "berlin") -> str:
    return pools.set_pool(uow, merchant_id=MERCHANT, sku=sku, location_code=location_code, on_hand=on_hand)


def edition(uow: UnitOfWork, cap: int | None, *, numbered: bool = False) -> str:
    return pools.define_edition(uow, merchant_id=MERCHANT, sku="skin", cap=cap, numbered=numbered)


def take(
    uow: UnitOfWork,
    number: int | str,
    *wants: Want,
    customer: CustomerId = ANNA,
    device: DeviceId | None = GLASSES,
    limits: HoldLimits = NO_LIMITS,
    minutes: int = 10,
) -> list[Held]:
    return holds.hold(
        uow,
        quote_id=quote(number),
        customer_id=customer,
        device_id=device,
        wants=wants,
        expires_at_ms=uow.now_ms + minutes * MINUTE_MS,
        limits=limits,
    )


def level(reader: Reader, pool_id: str = LAMP) -> Level:
    found = pools.pool_level(reader, pool_id)
    assert found is not None
    return found


def counts(reader: Reader, pool_id: str = LAMP) -> tuple[int, int, int, int]:
    """Return on hand, held, reserved, available."""
    now = level(reader, pool_id)
    return now.on_hand, now.held, now.reserved, now.available
