"""Gas by merchant and day of UTC: set aside when mints are claimed, corrected when their transaction ends.

The estimate that is set aside is the gas limit of the transaction, so what is used is never more. A claim
that would go over a merchant's limit holds that merchant's mints and takes the others'. Only mints count:
what editions, returns and the setup cost is the installation's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import bindparam, func, select

from gateway.kernel.documents import decode
from gateway.kernel.store.statements import Statement, insert_new, upsert
from gateway.kernel.store.unit import Reader, UnitOfWork
from wallets.minting import gas
from wallets.minting.model import MintState, Receiver
from wallets.minting.moves import mint_move
from wallets.minting.tables import chain_tx, gas_day, gas_limit, mint, own_contract, token_item

log = structlog.get_logger(__name__)

DAY_MS = 86_400_000
MOST_MERCHANTS = 100
"""Merchants with held mints that one look considers."""

_NEW_DAY = insert_new(gas_day)
_ACCOUNT = Statement(
    select(gas_day.c.reserved, gas_day.c.used)
    .where(gas_day.c.merchant_id == bindparam("merchant"), gas_day.c.day == bindparam("day"))
    .with_for_update()
)
_LIMIT = Statement(select(gas_limit.c.per_day).where(gas_limit.c.merchant_id == bindparam("merchant")))
_PUT_LIMIT = upsert(gas_limit, ["merchant_id"], lambda new: {"per_day": new.per_day})
_DROP_LIMIT = Statement(gas_limit.delete().where(gas_limit.c.merchant_id == bindparam("merchant")))
_LIMITS = Statement(select(gas_limit))
_RESERVE = Statement(
    gas_day.update()
    .where(gas_day.c.merchant_id == bindparam("merchant"), gas_day.c.day == bindparam("of_day"))
    .values(reserved=gas_day.c.reserved + bindparam("estimate"), used=gas_day.c.used + bindparam("spent"))
)
_SHARES = Statement(
    select(chain_tx.c.gas_shares, chain_tx.c.created_at_ms).where(chain_tx.c.tx_id == bindparam("tx"))
)
_HOLD = mint_move(MintState.QUEUED, MintState.HELD, mint.c.leg_id == bindparam("leg_id_"))
_RELEASE = mint_move(
    MintState.HELD,
    MintState.QUEUED,
    mint.c.leg_id.in_(
        select(mint.c.leg_id)
        .where(mint.c.state == MintState.HELD.value, mint.c.merchant_id == bindparam("merchant"))
        .order_by(mint.c.queued_at_ms)
        .limit(bindparam("count"))
        .scalar_subquery()
    ),
)
# Merchants one by one along the index: counting them all would read every held mint.
_NEXT_HELD = Statement(
    select(func.min(mint.c.merchant_id).label("merchant_id")).where(
        mint.c.state == MintState.HELD.value, mint.c.merchant_id > bindparam("after")
    )
)
_FIRST_HELD = Statement(
    select(mint.c.receiver, own_contract.c.gas)
    .select_from(
        mint.outerjoin(token_item, token_item.c.item_number == mint.c.item_number).outerjoin(
            own_contract, own_contract.c.contract_id == token_item.c.own_contract_id
        )
    )
    .where(mint.c.state == MintState.HELD.value, mint.c.merchant_id == bindparam("merchant"))
    .order_by(mint.c.queued_at_ms)
    .limit(1)
)
_HELD = Statement(
    select(mint.c.merchant_id, func.count().label("count"))
    .where(mint.c.state == MintState.HELD.value)
    .group_by(mint.c.merchant_id)
)
_OF_DAY = Statement(select(gas_day).where(gas_day.c.day == bindparam("day")).order_by(gas_day.c.merchant_id))


@dataclass(frozen=True, slots=True)
class GasAccount:
    """A merchant's gas of one day. ``limit`` 0 is none; ``held`` counts mints that wait for the next day."""

    merchant_id: str
    day: int
    reserved: int
    used: int
    limit: int
    held: int

    @property
    def left(self) -> int | None:
        """What may still be claimed, None without a limit."""
        return max(self.limit - self.reserved - self.used, 0) if self.limit else None


def day_of(at_ms: int) -> int:
    """Return the day of UTC, counted from the epoch."""
    return at_ms // DAY_MS


def set_gas_limit(uow: UnitOfWork, merchant_id: str, per_day: int | None) -> None:
    """Give a merchant a limit of its own (0: none), or None: the installation's holds."""
    if per_day is None:
        uow.run(_DROP_LIMIT, {"merchant": merchant_id})
    else:
        uow.run(_PUT_LIMIT, {"merchant_id": merchant_id, "per_day": per_day})


def gas_accounts(reader: Reader, per_day: int) -> list[GasAccount]:
    """Return today's accounts by merchant; ``per_day`` is the limit of those without one of their own."""
    day = day_of(reader.now_ms)
    limits = {row.merchant_id: row.per_day for row in reader.rows(_LIMITS)}
    held = {row.merchant_id: row.count for row in reader.rows(_HELD)}
    today = {row.merchant_id: row for row in reader.rows(_OF_DAY, {"day": day})}
    return [
        GasAccount(
            merchant_id,
            day,
            today[merchant_id].reserved if merchant_id in today else 0,
            today[merchant_id].used if merchant_id in today else 0,
            limits.get(merchant_id, per_day),
            held.get(merchant_id, 0),
        )
        for merchant_id in sorted({*today, *held, *limits})
    ]


def left_today(uow: UnitOfWork, merchant_id: str, per_day: int) -> int | None:
    """Return what a merchant may still claim today, None without a limit, and lock its account."""
    names = {"merchant": merchant_id, "day": day_of(uow.now_ms)}
    account = uow.row(_ACCOUNT, names)
    if account is None:
        uow.run(_NEW_DAY, {"merchant_id": merchant_id, "day": names["day"], "reserved": 0, "used": 0})
        account = uow.row(_ACCOUNT, names)
    assert account is not None
    own = uow.row(_LIMIT, {"merchant": merchant_id})
    limit = per_day if own is None else own.per_day
    return max(limit - account.reserved - account.used, 0) if limit else None


def reserve(uow: UnitOfWork, shares: Mapping[str, int]) -> None:
    """Set the parts of a claimed transaction aside."""
    day = day_of(uow.now_ms)
    for merchant_id in sorted(shares):
        uow.run(
            _RESERVE, {"merchant": merchant_id, "of_day": day, "estimate": shares[merchant_id], "spent": 0}
        )


def settle(uow: UnitOfWork, tx_id: str, gas_used: int) -> None:
    """Put what an ended transaction used in place of what was set aside, on the day of its claim.

    A transaction ends once, so a reverted one and one whose fee was raised count once; one whose nonce went
    to somebody else used nothing.
    """
    row = uow.row(_SHARES, {"tx": tx_id})
    if row is None or row.gas_shares is None:
        return
    estimates: dict[str, int] = decode(row.gas_shares)
    used = gas.apportion(gas_used, estimates)
    for merchant_id in sorted(estimates):
        uow.run(
            _RESERVE,
            {
                "merchant": merchant_id,
                "of_day": day_of(row.created_at_ms),
                "estimate": -estimates[merchant_id],
                "spent": used[merchant_id],
            },
        )


def affordable(
    uow: UnitOfWork, queued: Sequence[Any], per_day: int, *, single: Callable[[Any], int | None]
) -> tuple[list[Any], list[Any]]:
    """Part queued mints into those their merchants may pay for today, in order, and those to hold.

    ``single`` gives the gas limit of a mint that has a transaction to itself, None for one in a batch.
    """
    left: dict[str, int | None] = {
        merchant_id: left_today(uow, merchant_id, per_day)
        for merchant_id in sorted({row.merchant_id for row in queued})
    }
    if all(most is None for most in left.values()):
        return list(queued), []
    # What a batch shares is charged to each merchant in full here; in the end it pays its part of it.
    needed = dict.fromkeys(left, gas.BASE)
    editions: set[int] = set()
    kept, held = [], []
    for row in queued:
        most = left[row.merchant_id]
        added = gas.MINT if row.item_number in editions else gas.MINT + gas.EDITION
        alone = single(row)
        if most is not None and (alone or needed[row.merchant_id] + added) > most:
            # Its later mints wait too, so that they keep their order.
            left[row.merchant_id] = 0
            held.append(row)
            continue
        needed[row.merchant_id] += added
        editions.add(row.item_number)
        kept.append(row)
    return kept, held


def hold(uow: UnitOfWork, rows: Sequence[Any]) -> None:
    """Take mints out of the lanes' way until their merchant has gas again."""
    if not rows:
        return
    uow.run_many(_HOLD, [{"leg_id_": row.leg_id} for row in rows])
    merchants = sorted({row.merchant_id for row in rows})
    count = len(rows)
    uow.after_commit(lambda: log.warning("mint.gas_used_up", merchants=merchants, held=count))


def release(uow: UnitOfWork, per_day: int, most: int) -> int:
    """Let held mints go on whose merchants have gas again, at most ``most`` of each; returns how many."""
    released = 0
    after = ""
    for _ in range(MOST_MERCHANTS):
        found = uow.row(_NEXT_HELD, {"after": after})
        if found is None or found.merchant_id is None:
            break
        after = found.merchant_id
        left = left_today(uow, after, per_day)
        first = uow.row(_FIRST_HELD, {"merchant": after})
        count = most
        if left is not None and first is not None:
            # The first one fits, whatever a batch would need.
            fitting = max(1, (left - gas.BASE - gas.EDITION) // gas.MINT)
            count = min(most, fitting) if left >= _alone(first) else 0
        if count > 0:
            released += uow.run(_RELEASE, {"merchant": after, "count": count})
    return released


def _alone(row: Any) -> int:
    """Return what a held mint needs by itself."""
    match Receiver(row.receiver):
        case Receiver.OWN:
            return int(row.gas or gas.OWN_CALL)
        case Receiver.CODE | Receiver.UNKNOWN:
            return gas.SINGLE_WITH_CODE
        case Receiver.PLAIN:
            return gas.BASE + gas.EDITION + gas.MINT
