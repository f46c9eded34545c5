"""Sending what the outbox holds: at least once, in order about each subject, without waiting for each other.

Every endpoint has a few places of its own, so one that is slow or away keeps nobody but itself waiting; and
nothing here takes a place of the tasks that purchases need. An attempt is claimed under a lease: after a
crash it is made again, under the same id.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import structlog

from gateway.kernel.clock import Clock
from gateway.kernel.precedence import Precedence
from gateway.kernel.store.unit import Lane, Reader, Store, UnitOfWork
from gateway.webhooks import outbox
from gateway.webhooks.egress import REFUSED_ADDRESS, TIMEOUT_S, Egress
from gateway.webhooks.model import (
    GIVEN_UP_MS,
    KEPT_MS,
    LEAST_ATTEMPTS,
    MOST_ATTEMPTS,
    Answer,
    Meaning,
    Notice,
    NoticeState,
    Sight,
    wait_before,
)
from gateway.webhooks.signing import SigningKeys, signed_headers

log = structlog.get_logger(__name__)

PER_ENDPOINT = 4
"""Notices under way to one endpoint at a time; never two about one subject."""
_LEASE_MS = 60_000
"""Longer than an attempt may take, so that nobody repeats one that is under way."""
_IDLE_S = 1.0
_SHORTEST_REST_MS, _LONGEST_REST_MS = 1_000, 60_000
"""How long an endpoint that does not answer is left alone, doubled each time."""
_LONGEST_ASKED_REST_MS = 3_600_000
_AN_OUTAGE = 2
"""So many different notices without an answer in between mean that the server was away."""
_LONG_LOOK_S, _LOOKING_SHARE = 0.005, 10.0
"""After a search so long that found nothing, the next one waits for so many times as long as that took."""
_TIDY_S = 600.0
_TIDY_PAGE = 500

assert _LEASE_MS > 2_000 * TIMEOUT_S


class Endpoints(Protocol):
    """What is known of those who are sent notices; the rows are another capability's."""

    def url_of(self, reader: Reader, endpoint_id: str) -> str | None:
        """Where notices go now; None: nowhere."""
        ...

    def sight(self, reader: Reader, endpoint_id: str, subject: str) -> Sight | None:
        """What the endpoint may be told about the subject now; None: nothing."""
        ...

    def stop(self, uow: UnitOfWork, endpoint_id: str, url: str, because: str) -> bool:
        """Have nothing more sent to this address; False if it is not the endpoint's any more."""
        ...


def _is_over(notice: Notice, answer: Answer, now_ms: int) -> bool:
    """Whether this attempt was the last. A server that has been away for days is not waited for while a long
    queue has its attempts one by one."""
    is_old = answer.meaning is Meaning.AWAY and now_ms - notice.created_at_ms > GIVEN_UP_MS
    return notice.attempt >= (LEAST_ATTEMPTS if is_old else MOST_ATTEMPTS)


class Delivery:
    """The sender of one process. Any number of processes may share a database."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        egress: Egress,
        keys: SigningKeys,
        endpoints: Endpoints,
        write_body: Callable[[Notice], bytes],
        *,
        precedence: Precedence | None = None,
        per_endpoint: int = PER_ENDPOINT,
    ) -> None:
        """``write_body`` makes the bytes that are signed and sent."""
        self._store = store
        self._clock = clock
        self._egress = egress
        self._keys = keys
        self._endpoints = endpoints
        self._write_body = write_body
        self._precedence = precedence or Precedence()
        self._per_endpoint = per_endpoint
        self._under_way: set[asyncio.Task[None]] = set()
        self._places: Counter[str] = Counter()
        self._rests_until_ms: dict[str, int] = {}
        self._resting: dict[str, str] = {}
        """The addresses of those that rest."""
        self._refused: dict[str, str] = {}
        """Addresses to which nothing is sent and of which the log has been told."""
        self._failures: Counter[str] = Counter()
        self._heard: set[str] = set()
        """Endpoints that have taken a notice in this life of the program."""
        self._unheard: dict[str, set[str]] = {}
        """Notices that an endpoint gave no answer to since it took one; two are enough to know."""
        self._look_again_s: dict[str, float] = {}
        """When a search that found nothing may be made again, on the loop's clock."""
        self._wake = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._stopping = False
        self._tidied_at = 0.0
        store.signals.on(outbox.NOTICES_SIGNAL, self._wake.set)

    def start(self) -> None:
        """Begin, with what an earlier life left; call it on the running event loop."""
        assert self._loop is None
        self._stopping = False
        self._loop = asyncio.create_task(self._run(), name="webhooks")

    async def stop(self, *, within_s: float = 1.0) -> None:
        """Begin nothing more and wait a moment for what is under way; the rest is sent again."""
        self._stopping = True
        self._wake.set()
        if self._loop is not None:
            await self._loop
            self._loop = None
        await self.settled(within_s)
        for late in list(self._under_way):
            late.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def settled(self, within_s: float | None = None) -> None:
        """Wait for the attempts under way."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=within_s)

    async def step(self) -> float:
        """Begin every attempt that is due and has a place; returns how many seconds may pass before the next
        step, at most."""
        resting = dict(self._resting)

        def look(reader: Reader) -> tuple[dict[str, int], int, list[str]]:
            waiting = outbox.waiting_endpoints(reader)
            moved = [
                endpoint_id
                for endpoint_id, url in resting.items()
                if endpoint_id in waiting and self._endpoints.url_of(reader, endpoint_id) != url
            ]
            return waiting, reader.now_ms, moved

        waiting, now_ms, moved = await self._store.read(look)
        for endpoint_id in moved:
            # What the server at another address asked for is none of this one's business.
            self._end_rest(endpoint_id)
        wait_s = _IDLE_S
        for endpoint_id, due_at_ms in waiting.items():
            ready_at_ms = max(due_at_ms, self._rests_until_ms.get(endpoint_id, 0))
            if ready_at_ms > now_ms:
                wait_s = min(wait_s, (ready_at_ms - now_ms) / 1000)
            elif self._places[endpoint_id] < self._per_endpoint:
                try:
                    wait_s = min(wait_s, await self._begin(endpoint_id))
                except Exception:
                    # What is wrong with the notices of one keeps nobody else waiting.
                    log.exception("webhooks.not_begun", endpoint=endpoint_id)
        return wait_s

    async def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                await self._precedence.make_way()
                wait_s = await self.step()
                await self._tidy()
            except Exception:
                # The database is away or closing; notices are rows, so nothing is lost by waiting.
                log.exception("webhooks.step_failed")
                wait_s = _IDLE_S
            try:
                async with asyncio.timeout(max(wait_s, 0.005)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _begin(self, endpoint_id: str) -> float:
        """Begin what has a place; returns how many seconds may pass before it is looked at again."""
        early_s = self._look_again_s.get(endpoint_id, 0.0) - asyncio.get_running_loop().time()
        if early_s > 0:
            return early_s
        free = self._per_endpoint - self._places[endpoint_id]

        def search(reader: Reader) -> tuple[list[Any], float]:
            from_s = time.thread_time()
            return outbox.due_notices(reader, endpoint_id, free), time.thread_time() - from_s

        rows, took_s = await self._store.read(search)
        if not rows:
            # The first of each line is under way, or waits for its time. Thousands that wait behind it take
            # a while to look through, and others read too.
            rest_s = min(_LOOKING_SHARE * took_s, _IDLE_S) if took_s > _LONG_LOOK_S else 0.0
            self._look_again_s[endpoint_id] = asyncio.get_running_loop().time() + rest_s
            return _IDLE_S
        url, notices = await self._store.write(
            partial(self._claim, endpoint_id=endpoint_id, rows=rows), lane=Lane.BACKGROUND
        )
        for notice in notices:
            sending = asyncio.create_task(self._send(url, notice))
            self._places[endpoint_id] += 1
            self._under_way.add(sending)
            sending.add_done_callback(partial(self._landed, endpoint_id))
        return _IDLE_S

    def _claim(self, uow: UnitOfWork, endpoint_id: str, rows: list[Any]) -> tuple[str, list[Notice]]:
        """Lease what may still be told, and withdraw the rest: consent is looked at as late as possible."""
        url = self._endpoints.url_of(uow, endpoint_id)
        if url is None:
            outbox.keep_all(uow, endpoint_id)
            return "", []
        notices = []
        for row in rows:
            sight = self._endpoints.sight(uow, endpoint_id, row.subject)
            if sight is None or row.seq <= sight.after_seq:
                # What was written since a new consent began stays.
                bound = {} if sight is None else {"up_to": sight.after_seq}
                outbox.withdraw(uow, endpoint_id, row.subject, **bound)
                uow.signal(outbox.NOTICES_SIGNAL)
                continue
            notice = outbox.lease(uow, row, sight, _LEASE_MS)
            if notice is not None:
                notices.append(notice)
        return url, notices

    def _landed(self, endpoint_id: str, sending: asyncio.Task[None]) -> None:
        self._under_way.discard(sending)
        self._places[endpoint_id] -= 1
        self._wake.set()

    async def _send(self, url: str, notice: Notice) -> None:
        try:
            body = self._write_body(notice)
            headers = signed_headers(self._keys.signing(), notice.notice_id, body, self._clock.now_ms())
            answer = await self._egress.post(url, headers, body)
        except Exception:
            # A body that cannot be written, or a key that is gone: ours to mend, and it is tried again.
            log.exception("webhooks.not_sent", endpoint=notice.endpoint_id, notice_id=notice.notice_id)
            answer = Answer(status=None, error="not sent")
        self._note(notice.endpoint_id, url, notice.notice_id, answer)
        try:
            await self._store.write(
                partial(self._record, url=url, notice=notice, answer=answer), lane=Lane.BACKGROUND
            )
        except Exception:
            # The lease runs out and it is sent again, under its id.
            log.exception("webhooks.not_recorded", notice_id=notice.notice_id)

    def _note(self, endpoint_id: str, url: str, notice_id: str, answer: Answer) -> None:
        """Leave an endpoint alone for a while that does not answer, or that asks for it."""
        if answer.error == REFUSED_ADDRESS and self._refused.get(endpoint_id) != url:
            # Once: every notice that waits meets the same refusal, at every attempt.
            self._refused[endpoint_id] = url
            log.warning("webhooks.address_refused", endpoint=endpoint_id, setting="VITRINE_PRIVATE_WEBHOOKS")
        if answer.meaning is not Meaning.AWAY:
            self._refused.pop(endpoint_id, None)
            self._end_rest(endpoint_id)
            return
        self._resting[endpoint_id] = url
        unheard = self._unheard.setdefault(endpoint_id, set())
        if len(unheard) < _AN_OUTAGE:
            unheard.add(notice_id)
        rest_ms = min(_SHORTEST_REST_MS << min(self._failures[endpoint_id], 10), _LONGEST_REST_MS)
        self._failures[endpoint_id] += 1
        asked_ms = min(answer.retry_after_ms or 0, _LONGEST_ASKED_REST_MS)
        self._rests_until_ms[endpoint_id] = self._clock.now_ms() + max(rest_ms, asked_ms)

    def _record(self, uow: UnitOfWork, url: str, notice: Notice, answer: Answer) -> None:
        endpoint_id = notice.endpoint_id
        match answer.meaning:
            case Meaning.DELIVERED:
                outbox.end_notice(uow, notice, NoticeState.DELIVERED, answer)
                # A single notice that is never answered, among others that are, keeps its own times.
                unheard = self._unheard.get(endpoint_id, ())
                if endpoint_id not in self._heard or len(unheard) >= _AN_OUTAGE:
                    outbox.back_again(uow, endpoint_id)
                uow.after_commit(partial(self._hear, endpoint_id))
            case _ if not _is_over(notice, answer, uow.now_ms):
                wait_ms = wait_before(notice.attempt + 1, answer.retry_after_ms)
                outbox.try_later(uow, notice, answer, wait_ms)
            case _:
                self._give_up(uow, url, notice, answer)
        if answer.meaning is Meaning.GONE:
            self._stop_endpoint(uow, endpoint_id, url, "the server answered 410 Gone")

    def _end_rest(self, endpoint_id: str) -> None:
        for known in (self._failures, self._rests_until_ms, self._resting):
            known.pop(endpoint_id, None)

    def _hear(self, endpoint_id: str) -> None:
        self._heard.add(endpoint_id)
        self._unheard.pop(endpoint_id, None)

    def _give_up(self, uow: UnitOfWork, url: str, notice: Notice, answer: Answer) -> None:
        outbox.end_notice(uow, notice, NoticeState.FAILED, answer)
        log.error("webhooks.given_up", endpoint=notice.endpoint_id, notice_id=notice.notice_id)
        if not outbox.was_delivered_since(uow, notice.endpoint_id, notice.created_at_ms):
            self._stop_endpoint(uow, notice.endpoint_id, url, "no notice was taken in all attempts")

    def _stop_endpoint(self, uow: UnitOfWork, endpoint_id: str, url: str, because: str) -> bool:
        """Keep what waits for paging; False if it has another address by now, where that goes on."""
        if not self._endpoints.stop(uow, endpoint_id, url, because):
            return False
        outbox.keep_all(uow, endpoint_id)
        log.error("webhooks.stopped", endpoint=endpoint_id, because=because)
        return True

    async def _tidy(self) -> None:
        """Forget notices that ended long ago, a page at a time."""
        now = asyncio.get_running_loop().time()
        if now - self._tidied_at < _TIDY_S:
            return
        before_ms = self._clock.now_ms() - KEPT_MS
        gone = await self._store.write(
            partial(outbox.forget_old, before_ms=before_ms, most=_TIDY_PAGE), lane=Lane.BACKGROUND
        )
        if gone < _TIDY_PAGE:
            self._tidied_at = now
