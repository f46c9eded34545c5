"""How often one card number may fail its check within a day, however many pages, customers or callers try it.

Somebody who tries codes or expiries on a number needs many checks of it; its holder needs a few. Declined
checks are kept for the day in which they count, under a code of the number that needs a key of the KMS, so
that neither a restart nor another process of the same vault begins anew. Checks under way are counted by
each process for itself.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field

from sqlalchemy import bindparam, func, select

from gateway.kernel.errors import InvalidError
from gateway.kernel.ids import Id
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, Store, UnitOfWork
from wallets.vault.keys import KeyRing
from wallets.vault.kms import KeysUnavailableError, KeyUseError, Kms
from wallets.vault.port import DeclineClass
from wallets.vault.secret import Secret
from wallets.vault.tables import card_decline

MOST_DECLINED = 10
WITHIN_MS = 24 * 3_600_000
_KNOWN_FOR_S = 1.0
"""For so long checks of one number at once share a look at what is kept."""
_PURPOSE = b"vitrine.vault.card-testing.v1\x00"

_COUNT = Statement(
    select(func.count().label("declined")).where(
        card_decline.c.card_code == bindparam("card_code"), card_decline.c.at_ms > bindparam("since_ms")
    )
)
_INSERT = insert_into(card_decline)


class CardDeclineId(Id):
    prefix = "cdc"


@dataclass(slots=True, eq=False)
class _Card:
    """What this process knows of a number while somebody checks it. Changed between awaits only."""

    code: bytes
    """What the number is known by, under the current key."""
    users: int = 0
    under_way: int = 0
    declined: int = 0
    known_until_s: float = -math.inf
    """Until when ``declined`` counts without another look, on the monotonic clock."""
    heard: int = 0
    """Declines that were heard here."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a check ends; the next end sets another one."""

    def hear_decline(self) -> None:
        """Count a decline that was just written."""
        self.heard += 1
        self.declined += 1

    def end(self) -> None:
        """Let go of one check, and have those that wait look again."""
        self.under_way -= 1
        ended, self.changed = self.changed, asyncio.Event()
        ended.set()


class Check:
    """One check of a card, as a context. A generator in its place costs three times as much."""

    __slots__ = ("_card", "_now_ms", "_number", "_testing")

    def __init__(self, testing: CardTesting, number: Secret, now_ms: int) -> None:
        self._testing = testing
        self._number = number
        self._now_ms = now_ms
        self._card: _Card | None = None

    async def __aenter__(self) -> None:
        self._card = await self._testing.begin(self._number, self._now_ms)

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        assert self._card is not None
        await self._testing.end(self._card, error)


class CardTesting:
    """Counts declined checks. Checks under way count as if declined; more than fit wait for their end."""

    def __init__(self, store: Store, kms: Kms, ring: KeyRing) -> None:
        self._store = store
        self._kms = kms
        self._ring = ring
        self._cards: dict[bytes, _Card] = {}
        """Those that are being checked now."""

    def check(self, number: Secret, now_ms: int) -> Check:
        """``async with`` this around the check of a card; InvalidError ``card.declined`` from inside counts.

        Entering raises InvalidError ``card.declined`` where the number has failed too often, KeyUseError.
        """
        return Check(self, number, now_ms)

    async def begin(self, number: Secret, now_ms: int) -> _Card:
        """Wait until the card may be checked. Every one begun must be ended."""
        codes = await self._codes(number, now_ms)
        card = self._cards.setdefault(codes[0], _Card(codes[0]))
        card.users += 1
        try:
            await self._wait(card, codes)
        except BaseException:
            self._let_go(card)
            raise
        return card

    async def end(self, card: _Card, error: BaseException | None) -> None:
        """Count a check that was declined, and let the next one begin."""
        try:
            if isinstance(error, InvalidError) and error.code == "card.declined":
                await self._store.write(lambda uow: _keep(uow, card.code))
                card.hear_decline()
        finally:
            card.end()
            self._let_go(card)

    def _let_go(self, card: _Card) -> None:
        card.users -= 1
        if not card.users:
            self._cards.pop(card.code, None)

    async def _codes(self, number: Secret, now_ms: int) -> list[bytes]:
        """What the number is known by: under the current key, and those that were current within the day."""
        keys = await self._ring.keys()
        data = _PURPOSE + number.reveal().encode()
        codes = [await self._kms.mac(keys.fingerprint_key_id, data)]
        for older in keys.older_fingerprint_keys:
            if older.retired_at_ms is None or older.retired_at_ms > now_ms - WITHIN_MS:
                try:
                    codes.append(await self._kms.mac(older.key_id, data))
                except KeysUnavailableError:
                    raise
                except KeyUseError:
                    continue  # destroyed, and with it what was counted under it
        return codes

    async def _wait(self, card: _Card, codes: list[bytes]) -> None:
        while True:
            declined = await self._declined(card, codes)
            if declined >= MOST_DECLINED:
                raise InvalidError(
                    "card.declined",
                    "This card was refused too often; try again tomorrow.",
                    data={"network_code": "", "decline_class": DeclineClass.SOFT_RETRY_LATER.value},
                )
            if declined + card.under_way < MOST_DECLINED:
                card.under_way += 1
                return
            await card.changed.wait()

    async def _declined(self, card: _Card, codes: list[bytes]) -> int:
        """Return how many checks were declined; what other processes heard may be missing for a second."""
        while time.monotonic() >= card.known_until_s:
            heard = card.heard
            declined = await self._store.read(lambda reader: _declined(reader, codes))
            # A decline that was written meanwhile may be in this count or not.
            if card.heard == heard:
                card.declined, card.known_until_s = declined, time.monotonic() + _KNOWN_FOR_S
        return card.declined


def _declined(reader: Reader, codes: list[bytes]) -> int:
    since_ms = reader.now_ms - WITHIN_MS
    found = (reader.row(_COUNT, {"card_code": code, "since_ms": since_ms}) for code in codes)
    return sum(row.declined for row in found if row is not None)


def _keep(uow: UnitOfWork, code: bytes) -> None:
    uow.run(_INSERT, {"decline_id": uow.new_id(CardDeclineId), "card_code": code, "at_ms": uow.now_ms})
