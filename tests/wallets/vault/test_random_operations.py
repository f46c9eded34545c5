"""Any sequence of requests, repeats, faults, look-ups and reopenings keeps the books of both sides equal."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import TimeSortedIds
from tests.wallets.vault.shop import Shop, eur, sql
from wallets.vault.embedded import EmbeddedVault, open_embedded_vault
from wallets.vault.port import (
    Authorize,
    Capture,
    OperationKind,
    OperationResult,
    OperationStatus,
    Refund,
    StoredMethod,
    Void,
)
from wallets.vault.providers import test_cards

S = OperationStatus
K = OperationKind
CARDS = (
    test_cards.VISA,
    test_cards.VISA,
    test_cards.INSUFFICIENT_FUNDS,
    test_cards.CHALLENGE,
    test_cards.ANSWER_LOST,
    test_cards.NEVER_ARRIVES,
    test_cards.CAPTURE_ANSWER_LOST,
    test_cards.CAPTURE_NEVER_ARRIVES,
    test_cards.CAPTURE_DECLINED,
    test_cards.VOID_ANSWER_LOST,
    test_cards.REFUND_ANSWER_LOST,
)
_PICK = st.integers(0, 50)
_CARD = st.integers(0, len(CARDS) - 1)
STEP = st.one_of(
    st.tuples(st.just("authorize"), _CARD, st.sampled_from((0, 3, 4, 9, 10, 11))),
    st.tuples(st.just("capture"), _PICK, st.integers(0, 8)),
    st.tuples(st.just("capture"), _PICK, st.integers(1, 4)),
    st.tuples(st.just("void"), _PICK, st.integers(-3, 6)),
    st.tuples(st.just("refund"), _PICK, st.integers(0, 6)),
    st.tuples(st.just("repeat"), _PICK, st.integers(1, 3)),
    st.tuples(st.just("ask"), _PICK, st.just(0)),
    st.tuples(st.just("abandon"), _PICK, st.booleans().map(int)),
    st.tuples(st.just("decide"), _PICK, st.booleans().map(int)),
)
ROUND = st.tuples(st.lists(STEP, min_size=2, max_size=6), st.integers(0, 3).map(lambda chance: chance == 0))
Rounds = list[tuple[list[tuple[str, int, int]], bool]]
"""Steps that run at once, and whether the vault is closed and opened again afterwards."""


@dataclass
class World:
    directory: Path
    clock: ManualClock
    ids: TimeSortedIds
    vault: EmbeddedVault
    shop: Shop
    methods: list[StoredMethod]
    requests: list[Any] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    final: dict[str, OperationResult] = field(default_factory=dict)

    def note(self, result: OperationResult | None) -> None:
        """A final answer never changes."""
        if result is None or result.refusal == "vault.operation_conflict":
            return
        if result.action is not None:
            self.actions.append(result.action.action_id)
        known = self.final.get(result.operation_id)
        if known is not None:
            assert result == known
        elif result.status.is_final:
            self.final[result.operation_id] = result

    def pick(self, kinds: tuple[type, ...], index: int) -> Any:
        fitting = [request for request in self.requests if isinstance(request, kinds)]
        return fitting[index % len(fitting)] if fitting else None


async def send(world: World, request: Any) -> None:
    call: Any = {
        Authorize: world.vault.authorize,
        Capture: world.vault.capture,
        Void: world.vault.void,
        Refund: world.vault.refund,
    }[type(request)]
    world.note(await call(request))


def prepare(world: World, name: str, index: int, size: int) -> Any:
    """Return the coroutine of one step, or None where it has nothing to work on."""
    shop = world.shop
    if name == "authorize":
        method = world.methods[index]
        if size % 3 and world.requests and (earlier := world.pick((Authorize,), size)):
            request = shop.request(earlier.allowance, eur(size))
        else:
            request = shop.request(shop.terms(method, eur(10), max_uses=2), eur(size))
        world.requests.append(request)
        return send(world, request)
    if name in ("capture", "void", "refund"):
        parent = world.pick((Capture,) if name == "refund" else (Authorize,), index)
        if parent is None:
            return None
        operation_id, amount = shop.op(), eur(size)
        made: Any = {
            "capture": lambda: Capture(operation_id, parent.operation_id, amount),
            "void": lambda: Void(operation_id, parent.operation_id, None if size < 0 else amount),
            "refund": lambda: Refund(operation_id, parent.operation_id, amount),
        }
        request = made[name]()
        world.requests.append(request)
        return send(world, request)
    if name == "decide":
        if not world.actions:
            return None
        return world.vault.acquirer.complete_challenge(world.actions[index % len(world.actions)], bool(size))
    request = world.pick((object,), index)
    if request is None:
        return None
    if name == "repeat":

        async def repeat() -> None:
            await asyncio.gather(*(send(world, request) for _ in range(size)))

        return repeat()

    async def look() -> None:
        if name == "ask":
            world.note(await world.vault.operation(request.operation_id))
        elif size:
            world.note(await world.vault.abandon(request.operation_id))
        else:
            early = shop.request(shop.terms(world.methods[0], eur(5)), eur(5))
            world.note(await world.vault.abandon(early.operation_id))
            await send(world, early)
            assert world.final[early.operation_id].refusal == "vault.operation_abandoned"

    return look()


async def run(cards: list[int], rounds: Rounds) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        clock = ManualClock()
        ids = TimeSortedIds(clock)
        vault = await _open(directory, clock, ids)
        shop = Shop(vault, clock, ids)
        methods = [await shop.method(number) for number in CARDS]
        world = World(directory, clock, ids, vault, shop, methods)
        first: Rounds = [([("authorize", card, 9) for card in cards], False)]
        for steps, reopen in first + rounds:
            work = [prepare(world, *step) for step in steps]
            await asyncio.gather(*(each for each in work if each is not None))
            if reopen:
                await world.vault.close()
                world.vault = await _open(directory, clock, ids)
                world.shop = Shop(world.vault, clock, ids)
        await settle_everything(world)
        await check(world)
        await world.vault.close()


async def _open(directory: Path, clock: ManualClock, ids: TimeSortedIds) -> EmbeddedVault:
    return await open_embedded_vault(directory, clock, ids, deadline_ms=25, rehearse=True, strict=True)


async def settle_everything(world: World) -> None:
    for action_id in set(world.actions):
        await world.vault.acquirer.complete_challenge(action_id, True)
    unsettled = list(world.requests)
    for _ in range(100):
        # On a busy machine a look-up may miss its short deadline: that is honest, and asked again.
        answers = [await world.vault.operation(request.operation_id) for request in unsettled]
        for result in answers:
            assert result is not None
            world.note(result)
        unsettled = [request for request in unsettled if request.operation_id not in world.final]
        if not unsettled:
            return
    raise AssertionError(f"never settled: {unsettled}")


async def check(world: World) -> None:
    """Both sides agree on every effect, and no amount is exceeded."""
    world.clock.advance(10_000)
    page = await world.vault.operations_since("", 1_000)
    done = [each for each in page.operations if each.status is S.SUCCEEDED]
    effects = await world.vault.acquirer.effects()
    assert Counter((each.operation_id, each.kind, each.amount, each.parent_id) for each in done) == Counter(
        (each.operation_id, each.kind, each.amount, each.parent_id) for each in effects
    )
    taken: Counter[tuple[str | None, K]] = Counter()
    for each in done:
        assert each.amount is not None
        assert each.kind is not None
        taken[each.parent_id, each.kind] += each.amount.amount_minor
    for each in done:
        assert each.amount is not None
        if each.kind is K.AUTHORIZE:
            used = taken[each.operation_id, K.CAPTURE] + taken[each.operation_id, K.VOID]
            assert used <= each.amount.amount_minor
        if each.kind is K.CAPTURE:
            assert taken[each.operation_id, K.REFUND] <= each.amount.amount_minor
    check_rows(world, done, taken)


def check_rows(world: World, done: list[OperationResult], taken: Counter[tuple[str | None, K]]) -> None:
    """The running totals in the vault's rows are what the operations add up to."""
    held: Counter[str] = Counter()
    uses: Counter[str] = Counter()
    allowances = {
        request.operation_id: request.allowance
        for request in world.requests
        if isinstance(request, Authorize)
    }
    for each in done:
        if each.kind is K.AUTHORIZE:
            assert each.amount is not None
            left = each.amount.amount_minor - taken[each.operation_id, K.VOID]
            held[allowances[each.operation_id].allowance_id] += left
            uses[allowances[each.operation_id].allowance_id] += left > 0
    path = world.directory / "vault.db"
    for allowance_id, used, count in sql(
        path, "SELECT allowance_id, used_minor, used_count FROM vault_allowance"
    ):
        assert (used, count) == (held[allowance_id], uses[allowance_id])
    rows = sql(path, "SELECT operation_id, captured_minor, voided_minor, refunded_minor FROM vault_operation")
    for operation_id, captured, voided, refunded in rows:
        assert (captured, voided, refunded) == (
            taken[operation_id, K.CAPTURE],
            taken[operation_id, K.VOID],
            taken[operation_id, K.REFUND],
        )


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(_CARD, min_size=2, max_size=4), st.lists(ROUND, min_size=2, max_size=5))
def test_both_sides_agree_after_any_sequence(cards: list[int], rounds: Rounds) -> None:
    asyncio.run(run(cards, rounds))
